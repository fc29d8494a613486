"""`kairos backup`: keeps what no log gives back: who decided what decides, the models, the strategies."""

import argparse
import asyncio
import os
from pathlib import Path

from services.adapters.backup_folder import (
    Backup,
    BackupFailed,
    ChainEnd,
    forget_older,
    lasting,
    read_backup,
    write_backup,
)
from services.commands.control_records import chain_of, read_control
from services.settings import Settings, read_settings

NAME = "backup"
HELP = "write the control topic, the models and every strategy to a folder, with hashes"
EXAMPLE = "kairos backup --into /backup --keep 14"
MODELS, STRATEGIES = "models", "strategies"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, how many to keep, or what to verify."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--into", type=Path, help="folder of backups: a new one is made under it, named by its time")
    what.add_argument("--verify", type=Path, metavar="BACKUP", help="only compare a backup with its hashes")
    parser.add_argument("--keep", type=int, help="remove all but so many of the newest (default: keep all)")


def run(args: argparse.Namespace) -> int:
    """Says what was kept. Raises BusUnavailable, ControlUnread, BackupFailed, BackupDamaged."""
    if args.verify is not None:
        _say(read_backup(args.verify), "is whole")
        return 0
    if args.keep is not None and args.keep < 1:
        raise BackupFailed(f"--keep: at least 1 (is {args.keep})")
    made = asyncio.run(back_up(read_settings(os.environ), args.into))
    _say(made, "was written and verified")
    if args.keep is not None:
        for gone in forget_older(args.into, args.keep):
            print(f"{gone} was removed")
    return 0


async def back_up(settings: Settings, into: Path) -> Backup:
    """Writes one and reads it again. A chain that does not verify is no state to come back to, so it is refused. Raises
    BusUnavailable, ControlUnread, BackupFailed."""
    log = await read_control(settings, NAME)
    head, faults = chain_of(log.deliveries)
    if faults:
        raise BackupFailed(f"the chain of acts has {faults} faults: see kairos audit verify; the last backup stands")
    sources = {MODELS: settings.model_path, STRATEGIES: settings.strategy_archive}
    chain = ChainEnd(sequence=head.sequence, hash=head.hash)
    return await asyncio.to_thread(write_backup, into, lasting(log.deliveries), log.partitions, chain, sources)


def _say(backup: Backup, what: str) -> None:
    models = len({name.split("/")[1] for name in backup.files if name.startswith(f"{MODELS}/")})
    strategies = len({name.split("/")[1] for name in backup.files if name.startswith(f"{STRATEGIES}/")})
    print(
        f"{backup.folder} {what}: {backup.records} control records, {backup.chain.sequence} acts up to "
        f"{backup.chain.hash}, {models} model versions, {strategies} strategies"
    )
