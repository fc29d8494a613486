"""Reading beside the event loop: what is kept, what is ended, and what is read of a real archive."""

import asyncio
import os
import time
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest

from event_schemas.topics import DECISIONS, RESPONSES
from models.decision_log.archive_files import TimeRange
from services.adapters.parquet_archive import ParquetArchive
from services.adapters.reading_process import NICENESS, WAITING, ReadingProcess
from services.adapters.sampled_archive import SampledArchive
from services.observing_reads import Places, read_experiments, read_funnel
from services.ports import Delivery
from services.use_cases.explain_decision import ArchiveBusy
from services.use_cases.observing.funnel import Part, funnel
from services.use_cases.observing.funnel_log import sampled
from services.use_cases.observing.results_period import Period
from services.use_cases.observing.results_reading import AsOf, Kept, NothingArchived, ReadingFailed
from services.use_cases.wire_time import rfc3339

PERIOD = Period(first=date(2026, 11, 20), last=date(2026, 11, 21), zone=ZoneInfo("Asia/Shanghai"))
NOON = PERIOD.starts_ms[0] + 43_200_000


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at_ms = 0

    def now_ms(self) -> int:
        return self.at_ms


async def test_what_was_read_is_kept_for_a_while_and_read_once_for_all_who_ask() -> None:
    clock, reads, go = Hand(), list[int](), asyncio.Event()
    kept: Kept[int] = Kept(clock, 60_000)

    async def read() -> int:
        reads.append(len(reads))
        await go.wait()
        return reads[-1]

    asking = [asyncio.ensure_future(kept.get("week", read)) for _ in range(3)]
    await asyncio.sleep(0)
    asking[0].cancel()  # whoever goes away takes nothing from the others
    go.set()
    assert [found.found for found in await asyncio.gather(*asking[1:])] == [0, 0]
    clock.at_ms = 60_000
    assert (await kept.get("week", read)).at_ms == 0
    clock.at_ms = 60_001
    assert await kept.get("week", read) == AsOf(1, 60_001)
    assert reads == [0, 1]


async def test_a_failure_is_not_kept() -> None:
    kept: Kept[int] = Kept(Hand(), 60_000)
    outcomes = iter([ReadingFailed("no"), 7])

    async def read() -> int:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(ReadingFailed):
        await kept.get("week", read)
    assert (await kept.get("week", read)).found == 7


async def test_the_process_gives_way_ends_what_takes_too_long_and_goes_on() -> None:
    process = ReadingProcess()
    try:
        pid = await process.run(60, os.getpid)
        assert pid != os.getpid()
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert await process.run(60, os.getpriority, os.PRIO_PROCESS, 0) == min(19, ours + NICENESS)
        with pytest.raises(ZeroDivisionError):
            await process.run(60, divmod, 1, 0)
        with pytest.raises(ReadingFailed, match="longer than"):
            await process.run(0.05, time.sleep, 60)
        assert await process.run(60, os.getpid) != pid
        waiting = [asyncio.ensure_future(process.run(60, os.getpid)) for _ in range(WAITING + 1)]
        await asyncio.sleep(0)
        with pytest.raises(ArchiveBusy):
            await process.run(60, os.getpid)
        await asyncio.gather(*waiting)
    finally:
        await process.close()


def record(topic: str, offset: int, data: dict[str, object]) -> Delivery:
    head = {"id": f"{topic}-{offset}", "type": topic, "subject": "retail:1", "time": rfc3339(NOON + offset)}
    event = {**head, "data": data}
    return Delivery(topic, 0, offset, b"retail:1", orjson.dumps(event), ())


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """An archive of 100 requests, each with one option that was accepted."""
    decisions = [
        record(
            DECISIONS,
            number,
            {
                "decision_id": f"d{number}", "time": rfc3339(NOON + number), "channel": "mobile",
                "customer_id": f"retail:{number}", "strategy_version": "gone", "attributes": {}, "models": {},
                "candidates": [{"offer": "gold_card", "outcome": "offered"}],
                "placements": [{"id": "tile", "options": [
                    {"offer": "gold_card", "treatment": "gold_card.tile", "tracking_id": f"d{number}.1", "rank": 1},
                ]}],
            },
        )
        for number in range(100)
    ]  # fmt: skip
    responses = [
        record(
            RESPONSES,
            number,
            {"decision_id": f"d{number}", "tracking_id": f"d{number}.1", "outcome": "accept", "time": rfc3339(NOON)},
        )
        for number in range(100)
    ]
    with ParquetArchive(tmp_path / "archive") as archive:
        archive.append(decisions)
        archive.append(responses)
    return Places(
        archive=tmp_path / "archive", strategies=tmp_path / "strategies", models=tmp_path / "models",
        attribution_seconds=60,
    )  # fmt: skip


def test_the_archive_is_read_whole_or_by_a_sample_that_keeps_responses(places: Places) -> None:
    found = funnel(read_funnel(places, PERIOD, {}), Part())
    assert (found.requests, found.candidates, found.steps.offered, found.steps.accepted) == (100, 100, 100, 100)
    archive = SampledArchive(places.archive)
    ids = {orjson.loads(value)["data"]["decision_id"] for value in archive.decisions(PERIOD.times, 0.3)}
    assert ids == {f"d{number}" for number in range(100) if sampled(f"d{number}", 0.3)}
    assert ids == {orjson.loads(value)["data"]["decision_id"] for value in archive.responses(PERIOD.times, 0.3)}
    assert archive.decisions_held(PERIOD.times) == 100
    earlier = TimeRange(since_ms=0, until_ms=1)
    assert list(archive.decisions(earlier, 1.0)) == []


def test_without_an_archive_there_is_nothing_to_tell(places: Places, tmp_path: Path) -> None:
    empty = Places(
        archive=tmp_path / "none", strategies=places.strategies, models=places.models, attribution_seconds=60
    )
    with pytest.raises(NothingArchived):
        read_funnel(empty, PERIOD, {})
    with pytest.raises(NothingArchived):
        read_experiments(empty, PERIOD, "v")
