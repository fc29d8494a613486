"""`kairos replay`: publishes the Berka bank's history, paced or at full speed, with snapshots of the states."""

import argparse
import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.bootstrap import load_strategy, open_publisher
from services.settings import Settings, read_settings
from services.simulation.berka import end_of_day
from services.simulation.berka_events import berka_events
from services.simulation.cloud_events import TimedEvent, epoch_ms
from services.simulation.progress import progress
from services.simulation.replay import Replayer, ReplayProgress
from services.simulation.snapshots import StateReader, write_snapshot

NAME = "replay"
HELP = "publish the Berka bank's history as events; a customer is retail:<account_id>"
EXAMPLE = "kairos replay --data ../shared/data/berka --speed max --snapshot-at 1993-09-30 --snapshots var/snapshots"

CATCH_UP_SECONDS = 300.0
FOREVER_MS = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What to replay and how. `speed` is event seconds per second, None is as fast as the bus takes it; `snapshots`
    holds a Parquet file for the end of each of `snapshot_at`; `progress_file` makes the replay resumable."""

    data: Path
    speed: float | None = None
    until: date | None = None
    snapshot_at: tuple[date, ...] = ()
    snapshots: Path = field(default=Path("var/snapshots"))
    progress_file: Path | None = None
    resume: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, how fast, until when, and which snapshots."""
    parser.add_argument("--data", type=Path, required=True, help="folder with the Berka gzip files")
    parser.add_argument(
        "--speed", type=_speed, default=None, metavar="N|max", help="event seconds per second (default max)"
    )
    parser.add_argument("--until", type=date.fromisoformat, help="last day (default: the end of the log, 1994-03-30)")
    parser.add_argument(
        "--snapshot-at", type=date.fromisoformat, action="append", default=[], metavar="DATE",
        help="write all attributes as of the end of that day; may be repeated",
    )  # fmt: skip
    parser.add_argument("--snapshots", type=Path, default=Path("var/snapshots"), help="folder of the snapshots")
    parser.add_argument("--resume", action="store_true", help="go on where the last replay of this data stopped")
    parser.add_argument(
        "--progress-file", type=Path, default=Path("var/replay.progress.json"), help="where the progress is kept"
    )


def run(args: argparse.Namespace) -> int:
    """Publishes everything. Raises BerkaUnreadable, ProgressMismatch, BusUnavailable, StatesBehind."""
    plan = ReplayPlan(
        data=args.data,
        speed=args.speed,
        until=args.until,
        snapshot_at=tuple(sorted(args.snapshot_at)),
        snapshots=args.snapshots,
        progress_file=args.progress_file,
        resume=args.resume,
    )
    count = asyncio.run(replay_plan(read_settings(os.environ), plan))
    print(f"replayed {count:,} events")
    return 0


async def replay_into(settings: Settings, data: Path) -> None:
    """Publishes the whole log at full speed into a running deployment."""
    await replay_plan(settings, ReplayPlan(data=data))


async def replay_plan(settings: Settings, plan: ReplayPlan) -> int:
    """Carries out the plan and answers the number of events acknowledged in all."""
    events = berka_events(plan.data, plan.until)
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(open_publisher(settings))
        reader = await _reader(settings, stack) if plan.snapshot_at else None
        kept = _progress(plan, len(events))
        show = stack.enter_context(progress("replay", len(events), kept.acknowledged))
        replayer = Replayer(publisher=publisher, progress=kept, speed=plan.speed, on_progress=show)
        for day in plan.snapshot_at:
            moment = epoch_ms(end_of_day(day))
            await replayer.publish_until(events, moment)
            if reader is not None:
                await reader.wait_until_applied(replayer.positions, CATCH_UP_SECONDS)
                await _snapshot(reader, events, plan.snapshots / f"{day.isoformat()}.parquet", moment)
        await replayer.publish_until(events, FOREVER_MS)
        return kept.acknowledged


async def _reader(settings: Settings, stack: AsyncExitStack) -> StateReader:
    features = load_strategy(settings).features
    client = await stack.enter_async_context(RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY))
    return StateReader(store=RedisStateStore(client, RedisKeys(settings.namespace, features.layout)), features=features)


async def _snapshot(reader: StateReader, events: Sequence[TimedEvent], path: Path, at_ms: int) -> None:
    customers = sorted({timed.event.key for timed in events if timed.at_ms <= at_ms})
    write_snapshot(path, await reader.attributes(customers, at_ms), reader.features.names)


def _progress(plan: ReplayPlan, events: int) -> ReplayProgress:
    stream = f"berka of {events} events until {plan.until or 'the end'}"
    if plan.progress_file is None:
        return ReplayProgress(stream)
    plan.progress_file.parent.mkdir(parents=True, exist_ok=True)
    if plan.resume:
        return ReplayProgress.resume(stream, plan.progress_file)
    plan.progress_file.unlink(missing_ok=True)
    return ReplayProgress(stream, plan.progress_file)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if speed <= 0:
        raise argparse.ArgumentTypeError(f"a number above 0, or max (is {text!r})")
    return speed
