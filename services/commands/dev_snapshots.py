"""Snapshots of the simulated bank for the customer map: at the ends of months it has lived through, and as it goes on.

Each is made by `kairos snapshot` in a process of its own at a low priority.
"""

import asyncio
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

_LOOK_SECONDS = 1.0
_ARCHIVED_SECONDS = 12.0
"""After so long what was published stands in the archive, which `kairos dev` writes every five seconds."""
_log = logging.getLogger(__name__)


def history_days(first: date, last: date) -> list[date]:
    """The ends of the months between two days, and the last day; the first week's end where there is no other."""
    ends = [day for day in _days(first, last - timedelta(days=1)) if _ends_a_month(day)]
    early = first + timedelta(days=6)
    return sorted({*(ends or ([early] if early < last else [])), last})


async def keep_snapshots(
    zone: ZoneInfo, first: date, now_ms: Callable[[], int], environment: Mapping[str, str], log: Path
) -> None:
    """Makes those of the history as soon as the bank lives (`now_ms` not 0), and then one a month."""
    while not now_ms():  # noqa: ASYNC110 - the figures of the traffic are plain numbers
        await asyncio.sleep(_LOOK_SECONDS)
    await asyncio.sleep(_ARCHIVED_SECONDS)
    last = _today(zone, now_ms()) - timedelta(days=1)
    await _make(history_days(first, last), environment, log)
    while True:
        today = _today(zone, now_ms())
        ends = [day for day in _days(last + timedelta(days=1), today - timedelta(days=1)) if _ends_a_month(day)]
        if ends:
            await asyncio.sleep(_ARCHIVED_SECONDS)
            await _make(ends, environment, log)
        last = today - timedelta(days=1)
        await asyncio.sleep(_LOOK_SECONDS)


async def _make(days: Sequence[date], environment: Mapping[str, str], log: Path) -> None:
    calm = [nice, "-n", "15"] if (nice := shutil.which("nice")) else []
    wanted = [word for day in days for word in ("--at", day.isoformat())]
    with log.open("ab") as said:
        process = await asyncio.create_subprocess_exec(
            *calm, sys.executable, "-m", "services", "snapshot", *wanted,
            env={**os.environ, **environment}, stdout=said, stderr=said,
        )  # fmt: skip
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
    if status:
        _log.warning("the snapshots of %s could not be made, see %s", ", ".join(map(str, days)), log)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _ends_a_month(day: date) -> bool:
    return (day + timedelta(days=1)).day == 1


def _today(zone: ZoneInfo, at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).date()
