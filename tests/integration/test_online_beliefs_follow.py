"""A node's beliefs: it reads only what was written since it last looked, and follows a swap of models at once."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from decision_engine.online import OnlineLearning
from decision_engine.prepared import PreparedStrategy, prepare
from models.online.book import Book
from models.online.evidence import CellKey
from models.online.stored import read_cells, written_changes
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.online_beliefs import OnlineBeliefs
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_online_store import _WRITES_KEPT, ONLINE_LIBRARY, OnlineKeys, RedisOnlineStore
from services.ports import EvidenceWrite

pytestmark = pytest.mark.servers
STRATEGY = """
name: small
time_zone: Asia/Shanghai
currency: CNY
locales: [en]
consents:
  - {name: marketing, default: granted, text: {en: Marketing}}
  - {name: personalisation, default: granted, text: {en: Personalisation}}
issues: [{name: acquire, title: {en: Acquire}}]
models: [{name: m, required: false}]
groups: [{name: cards, issue: acquire, model: m, title: {en: Cards}}]
offers:
  - {name: gold, group: cards, title: {en: Gold}, value: 5000, base_rate: 0.1,
     treatments: [{name: main, channel: mobile, placements: [banner], content: {en: {title: x}}}]}
placements:
  - {id: banner, channel: mobile, max_count: 1, fallback: {treatment: none, content: {en: {title: x}}}}
online_learning: {half_life: 1d, window: 1h}
"""
TERMS = OnlineLearning(half_life_seconds=86_400, window_seconds=3_600, steps=(60, 600, 3_600))
NOW = 1_795_254_600_000


_writes = count()


class Noon:
    def now_ms(self) -> int:
        return NOW


class Writer:
    """Writes evidence as the learner does: a book, and a header that names the one before."""

    def __init__(self, store: RedisOnlineStore, number: int = 0) -> None:
        self.store, self.number, self.book, self.writes = store, number, Book(TERMS), 0
        self.header: bytes | None = None

    async def write(self, *offers: str, notes: bool = True) -> None:
        for offer in offers:
            self.writes += 1
            name, at_ms = f"D{self.number}-{self.writes}.0", NOW - 7_200_000 + self.writes
            self.book.decided(name, CellKey("m1", f"{offer}.mobile.main", ""), 0.1, at_ms)
            self.book.seen(name, at_ms)
        self.book.advance(NOW)
        cells, options = written_changes(self.book)
        header = f"h{next(_writes)}".encode()
        write = EvidenceWrite(expected=self.header, header=header, cells=cells, options=options)
        assert await self.store.save(self.number, write)
        if not notes:  # as one of an earlier version of the service writes
            await self.store._client.execute("LPOP", self.store._keys.writes(self.number))
        self.header = header
        self.book.saved()

    async def lose(self) -> None:
        """A cell of which nothing is left is forgotten."""
        key = next(iter(self.book.cells))
        del self.book.cells[key]
        self.book.touched_cells.add(key)
        await self.write()


@pytest.fixture
async def store(servers: Any) -> AsyncIterator[RedisOnlineStore]:
    async with RedisClient.open(servers.redis_url, library=ONLINE_LIBRARY) as client:
        yield RedisOnlineStore(client, OnlineKeys("follow", TERMS))


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedStrategy:
    path = tmp_path / "strategy.yaml"
    path.write_text(STRATEGY, encoding="utf-8")
    return prepare(load_strategy_file(path))


def read(metrics: PrometheusMetrics) -> dict[str, float]:
    page = metrics.exposition()[0].decode().splitlines()
    lines = [line for line in page if line.startswith("kairos_online_cells_read_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


async def beliefs_equal_the_store(beliefs: OnlineBeliefs, store: RedisOnlineStore) -> None:
    for number in await store.headers():
        assert beliefs._parts[number] == read_cells(await store.cells(number))


async def test_only_cells_written_since_the_last_look_are_read(
    store: RedisOnlineStore, prepared: PreparedStrategy
) -> None:
    metrics, writer, other = PrometheusMetrics(), Writer(store), Writer(store, 1)
    await writer.write(*(f"offer{n}" for n in range(30)))
    await other.write("gold")
    beliefs = OnlineBeliefs(lambda _: store, lambda: prepared, Noon(), metrics)
    await beliefs.refresh()
    assert read(metrics) == {"whole": 31.0}
    await writer.write("offer3", "offer4")
    await writer.write("offer4", "new")
    await beliefs.refresh()
    await beliefs_equal_the_store(beliefs, store)
    assert read(metrics) == {"whole": 31.0, "changes": 3.0}
    await writer.lose()
    await beliefs.refresh()
    await beliefs_equal_the_store(beliefs, store)
    assert len(beliefs._parts[0]) == 30 and read(metrics) == {"whole": 31.0, "changes": 4.0}


@pytest.mark.parametrize("gap", ["too many writes", "a write without a note", "a store emptied and written anew"])
async def test_where_the_notes_do_not_lead_on_everything_is_read(
    store: RedisOnlineStore, prepared: PreparedStrategy, gap: str
) -> None:
    metrics, writer = PrometheusMetrics(), Writer(store)
    await writer.write("gold", "plus")
    beliefs = OnlineBeliefs(lambda _: store, lambda: prepared, Noon(), metrics)
    await beliefs.refresh()
    if gap == "too many writes":
        for _ in range(_WRITES_KEPT + 1):
            await writer.write("gold")
    elif gap == "a write without a note":
        await writer.write("gold", notes=False)
        await writer.write("plus")
    else:
        await store.forget()
        writer = Writer(store)
        await writer.write("plus", "plus", "plus")
    await beliefs.refresh()
    await beliefs_equal_the_store(beliefs, store)
    assert "changes" not in read(metrics)
    await writer.write("plus")
    await beliefs.refresh()
    await beliefs_equal_the_store(beliefs, store)
    assert read(metrics)["changes"] == 1.0


async def test_the_last_write_without_a_note_is_read_too(store: RedisOnlineStore, prepared: PreparedStrategy) -> None:
    writer = Writer(store)
    await writer.write("gold", "plus")
    beliefs = OnlineBeliefs(lambda _: store, lambda: prepared, Noon(), PrometheusMetrics())
    await beliefs.refresh()
    await writer.write("gold", notes=False)
    await beliefs.refresh()
    await beliefs_equal_the_store(beliefs, store)


async def test_a_swap_of_models_makes_the_table_anew_long_before_the_next_look(
    store: RedisOnlineStore, prepared: PreparedStrategy
) -> None:
    await Writer(store).write("gold")
    serving: list[Any] = [MappingProxyType({})]
    beliefs = OnlineBeliefs(lambda _: store, lambda: prepared, Noon(), PrometheusMetrics(), lambda: serving[-1])
    async with beliefs.following(every_s=3_600.0), asyncio.timeout(30):
        before = beliefs.table
        serving.append(MappingProxyType({}))
        while beliefs.table is before:
            await asyncio.sleep(0)
    assert beliefs._made_with is serving[-1]
