"""Reading that is moved back loses nothing of what lies before the records at hand."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from decision_engine.online import OnlineLearning
from event_schemas.topics import DECISIONS, RESPONSES
from models.online.book import Book
from models.online.evidence import CellKey
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_online_store import OnlineKeys, RedisOnlineStore
from services.commands.online_learner import METRICS
from services.ports import Delivery, EvidenceWrite, StoredEvidence
from services.workers import online_learner
from services.workers.online_facts import TOPICS, Offered, OfferedOption
from services.workers.online_learner import OnlineLearner, PlacedFact

TERMS = OnlineLearning(half_life_seconds=86_400, window_seconds=3_600, steps=(1_800, 3_600))
Partition = tuple[str, int]


class Store:
    """One partition in memory, which can be emptied."""

    def __init__(self) -> None:
        self.kept: dict[int, StoredEvidence] = {}

    async def header(self, partition: int) -> bytes | None:
        found = self.kept.get(partition)
        return None if found is None else found.header

    async def load(self, partition: int) -> StoredEvidence | None:
        return self.kept.get(partition)

    async def save(self, partition: int, write: EvidenceWrite) -> bool:
        before = self.kept.get(partition)
        if (None if before is None else before.header) != write.expected:
            return False
        parts: list[dict[str, bytes]] = []
        for old, new in (
            ({} if before is None else before.cells, write.cells),
            ({} if before is None else before.options, write.options),
        ):
            merged: dict[str, bytes | None] = {**old, **new}
            parts.append({name: value for name, value in merged.items() if value is not None})
        self.kept[partition] = StoredEvidence(header=write.header, cells=parts[0], options=parts[1])
        return True


class Log:
    """A log of so many decisions, read from where it was last moved to."""

    def __init__(self, size: int) -> None:
        self.size, self.at = size, 0

    def seek(self, positions: Mapping[Partition, int]) -> None:
        self.at = positions.get((DECISIONS, 0), self.at)

    def assigned(self) -> set[Partition]:
        return {(topic, 0) for topic in TOPICS}

    async def caught_up(self) -> set[Partition]:
        return set()

    async def beginning_offsets(self) -> dict[Partition, int]:
        return {(topic, 0): 0 for topic in TOPICS}

    async def end_offsets(self) -> dict[Partition, int]:
        return {(DECISIONS, 0): self.size, (RESPONSES, 0): 0}

    def poll(self, most: int) -> list[PlacedFact]:
        offsets = range(self.at, min(self.size, self.at + most))
        self.at = offsets.stop
        return [PlacedFact(DECISIONS, 0, offset, _fact(offset)) for offset in offsets]


class Still:
    """A clock that stands still."""

    def now_ms(self) -> int:
        return 1_000


def _fact(number: int) -> Offered:
    option = OfferedOption(f"D{number}.0", CellKey("m1", "gold.mobile.main", ""), 0.1)
    return Offered(1_000, (option,))


async def _read_on(learner: OnlineLearner, log: Log) -> None:
    while batch := log.poll(4):
        await learner.prepare(list[Delivery]())  # as the consumer does once a poll
        await learner.apply(batch)


async def test_a_batch_in_hand_when_the_store_is_emptied_leaves_no_gap() -> None:
    store, log = Store(), Log(40)
    learner = OnlineLearner(
        terms=TERMS, store=store, stream=log, clock=Still(), metrics=PrometheusMetrics(METRICS)
    )  # fmt: skip
    for _ in range(5):
        await learner.prepare([])
        await learner.apply(log.poll(4))
    assert 0 < len(store.kept[0].options) < 20

    store.kept.clear()
    await _read_on(learner, log)

    assert sorted(store.kept[0].options) == sorted(f"D{number}.0" for number in range(40))
    assert orjson.loads(store.kept[0].header)["positions"][DECISIONS] == 40


async def test_what_waits_is_not_counted_anew_with_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    def pending(book: Book) -> dict[str, int]:
        counted.append(len(book.options))
        return {"seen": 0, "unseen": len(book.options)}

    monkeypatch.setattr(online_learner, "pending_by_state", pending)
    log = Log(40)
    learner = OnlineLearner(
        terms=TERMS, store=Store(), stream=log, clock=Still(), metrics=PrometheusMetrics(METRICS)
    )  # fmt: skip
    await _read_on(learner, log)
    assert len(counted) == 1


class SlowStore(Store):
    """Answers a loading only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.loadings, self.may = 0, asyncio.Event()

    async def load(self, partition: int) -> StoredEvidence | None:
        self.loadings += 1
        await self.may.wait()
        return await super().load(partition)


async def test_a_takeover_that_takes_longer_than_an_idle_moment_is_begun_once_and_comes_to_an_end() -> None:
    store, log = SlowStore(), Log(0)
    learner = OnlineLearner(
        terms=TERMS, store=store, stream=log, clock=Still(), metrics=PrometheusMetrics(METRICS)
    )  # fmt: skip
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(learner.idle(), 0.01)
    store.may.set()
    await learner.idle()
    assert store.loadings == 1
    assert orjson.loads(store.kept[0].header)["positions"][DECISIONS] == 0, "it is owned now"


async def test_beyond_the_ceiling_options_are_passed_over_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    metrics, log, store = PrometheusMetrics(METRICS), Log(40), Store()
    learner = OnlineLearner(
        terms=TERMS, store=store, stream=log, clock=Still(), metrics=metrics, most_options=15
    )  # fmt: skip
    await _read_on(learner, log)
    assert sorted(store.kept[0].options) == sorted(f"D{number}.0" for number in range(15))
    assert b"kairos_online_shed_total 25.0" in metrics.exposition()[0]
    assert orjson.loads(store.kept[0].header)["positions"][DECISIONS] == 40, "they are not read again"


class ScanningClient:
    """A hash read in two parts, between which another owner writes; each part is as of its own moment."""

    tags = ()

    def __init__(self) -> None:
        self.header = b"old"

    async def execute(self, *command: Any, timeout_s: float | None = None) -> Any:
        name, key, *rest = command
        if name == "HGET":
            return self.header
        if key.endswith(":options"):
            return [b"0", []]
        if rest[0] == 0:
            return [b"7", [b"cell", b"as before"]]
        self.header = b"new"
        return [b"0", [b"@", self.header]]


async def test_a_write_between_two_parts_of_a_reading_is_found_out() -> None:
    client: Any = ScanningClient()
    found = await RedisOnlineStore(client, OnlineKeys("n", TERMS)).load(0)
    assert found is not None and found.cells == {"cell": b"as before"}
    assert found.header == b"old", "cells of before under a newer header would be taken for the newest"
