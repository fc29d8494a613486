"""Faults of the disk under the archive."""

import asyncio
import os
import random
import shutil
import subprocess
from pathlib import Path

from loadtests.faults.battle import Battle

DISK_KB = 4_096
_BALLAST = "ballast"
_BLOCK = 65_536
"""Less is no room for a file: the writer removes what it could not finish, which frees what it had got."""


def mount_small_disk(folder: Path) -> bool:
    """A disk of a few megabytes where the archive will be, if this process may mount one; whether it did."""
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    command = [mount, "-t", "tmpfs", "-o", f"size={DISK_KB * 16}k", "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def unmount(folder: Path) -> None:
    """Takes the disk away again."""
    if (umount := shutil.which("umount")) is not None:
        subprocess.run([umount, "-l", str(folder)], check=False, capture_output=True)


async def archive_disk_full(battle: Battle, draw: random.Random) -> None:
    """The disk of the archive is full for a while: the archiver may end, nothing else notices, and nothing is missing
    afterwards."""
    archive = battle.system.settings.archive_path
    if not await asyncio.to_thread(os.path.ismount, archive):
        battle.figures["archive_disk_full_left_out"].append(1)
        return
    ballast = archive / _BALLAST
    await asyncio.to_thread(_fill, ballast)
    try:
        battle.system.roles["archiver"].expected = True  # it may end with an error: that is what it is for
        customers = list(battle.load.customers)
        await battle.load.send(*(battle.system.transaction(draw.choice(customers), 29) for _ in range(40)))
        await asyncio.sleep(draw.uniform(2.5, 3.5))  # longer than the archiver waits before it writes
        battle.expect(shutil.disk_usage(archive).free < _BLOCK, "the disk was not full")
    finally:
        ballast.unlink(missing_ok=True)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * _BLOCK)
        except OSError:
            return
