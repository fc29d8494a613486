"""The online learner on real servers: whatever is killed, taken over or lost, every response counts once."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from decision_engine.online import OnlineLearning
from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import ALL_TOPICS, DECISIONS, RESPONSES
from models.online.book import Book
from models.online.evidence import Cell, CellKey, merged
from models.online.stored import read_cells
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_topics import ensure_topics
from services.adapters.online_beliefs import OnlineBeliefs
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_online_store import ONLINE_LIBRARY, OnlineKeys, RedisOnlineStore
from services.bootstrap import load_strategy, open_event_stream, open_publisher
from services.commands.online_learner import GROUP, METRICS, learn_online
from services.ports import OutgoingEvent, StoreUnavailable
from services.settings import Settings
from services.workers.consumer import BatchConsumer, Pace
from services.workers.online_facts import TOPICS
from services.workers.online_learner import OnlineLearner, PlacedFact

pytestmark = pytest.mark.servers
HOUR, DAY = 3_600_000, 86_400_000
AGO = 2 * HOUR
"""Windows have closed since, and what nobody has seen yet is still waited for: impressions may come after decisions."""
NOW = int(time.time() * 1000) - AGO
"""So long ago that every window has closed by the clock of a real process."""
LATER = NOW + 10 * DAY
"""When evidence is compared: by then all of it has been forgotten for as long, whenever its writers last looked."""
WAIT_S = 90
PARTITIONS = 2
_numbers = count()
STRATEGY = """
name: small
time_zone: Asia/Shanghai
currency: CNY
locales: [en]
consents:
  - {name: marketing, default: granted, text: {en: Marketing}}
  - {name: personalisation, default: granted, text: {en: Personalisation}}
issues: [{name: acquire, title: {en: Acquire}}]
groups: [{name: cards, issue: acquire, model: m, title: {en: Cards}}]
models: [{name: m, required: false}]
offers:
  - {name: gold, group: cards, title: {en: Gold}, value: 5000, base_rate: 0.1,
     treatments: [{name: main, channel: mobile, placements: [banner], content: {en: {title: x}}}]}
  - {name: plus, group: cards, title: {en: Plus}, value: 5000, base_rate: 0.1,
     treatments: [{name: main, channel: mobile, placements: [banner], content: {en: {title: x}}}]}
placements:
  - {id: banner, channel: mobile, max_count: 1, fallback: {treatment: none, content: {en: {title: x}}}}
online_learning: {half_life: 30d, window: 1h}
"""


class Crash(BaseException):
    """The learner's process ends here."""


class Noon:
    """A clock that stands still, long after all windows have closed."""

    def now_ms(self) -> int:
        return NOW + AGO


@dataclass(frozen=True)
class Scene:
    settings: Settings
    terms: OnlineLearning
    publisher: KafkaEventPublisher
    client: RedisClient

    @property
    def store(self) -> RedisOnlineStore:
        return RedisOnlineStore(self.client, OnlineKeys(self.settings.namespace, self.terms))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(learn_online(self.settings, self.terms, PrometheusMetrics(METRICS), stop))
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(WAIT_S):
                await task

    async def until_crash(self, step: str, store: Any = None) -> None:
        """A learner that dies at its first pass of that step with something in hand."""
        passed = {"taken": False}

        def fail_point(now: str) -> None:
            passed["taken"] = passed["taken"] or any(owned.book.options for owned in learner._owned.values())
            if now == step and passed["taken"]:
                raise Crash

        stream = open_event_stream(self.settings, TOPICS, GROUP)
        learner = OnlineLearner(
            terms=self.terms, store=store or self.store, stream=stream, clock=Noon(),
            metrics=PrometheusMetrics(METRICS), end_slack=100_000, fail_point=fail_point,
        )  # fmt: skip
        consumer: BatchConsumer[list[PlacedFact]] = BatchConsumer(
            stream, learner, Pace(jitter=lambda: 0.5, max_records=40)
        )
        async with stream, asyncio.timeout(WAIT_S):
            with pytest.raises(Crash):
                await consumer.run(asyncio.Event())

    async def evidence(self) -> dict[CellKey, Cell]:
        together: dict[CellKey, list[Cell]] = {}
        for number in await self.store.headers():
            for key, cell in read_cells(await self.store.cells(number)).items():
                together.setdefault(key, []).append(cell)
        sums = {key: merged(cells, LATER, 30.0 * DAY) for key, cells in together.items()}
        return {key: cell for key, cell in sums.items() if cell is not None}

    async def until_all_counted(self, expected: Mapping[CellKey, Cell]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not self._agree(await self.evidence(), expected):
                await asyncio.sleep(0.05)

    def _agree(self, found: Mapping[CellKey, Cell], expected: Mapping[CellKey, Cell]) -> bool:
        return found.keys() == expected.keys() and all(
            found[key].accepted == pytest.approx(cell.accepted, rel=1e-9)
            and found[key].exposed == pytest.approx(cell.exposed, rel=1e-9)
            for key, cell in expected.items()
        )


@pytest.fixture
async def scene(servers: Any, tmp_path: Path) -> AsyncIterator[Scene]:
    path = tmp_path / "strategy.yaml"
    path.write_text(STRATEGY, encoding="utf-8")
    settings = Settings(
        kafka_bootstrap_servers=servers.bootstrap_servers,
        kafka_idempotence=False,
        kafka_session_timeout_ms=1000,
        redis_url=servers.redis_url,
        clock="system",
        strategy_path=path,
        strategy_archive=tmp_path / "strategies",
    )
    await ensure_topics(settings.kafka_bootstrap_servers, ALL_TOPICS, partitions=PARTITIONS, replication=1)
    terms = load_strategy_file(path).online
    assert terms is not None
    async with (
        open_publisher(settings) as publisher,
        RedisClient.open(settings.redis_url, library=ONLINE_LIBRARY) as client,
    ):
        yield Scene(settings, terms, publisher, client)


def event(topic: str, event_type: str, customer: str, at_ms: int, data: Mapping[str, object]) -> OutgoingEvent:
    header = {"id": f"e{next(_numbers)}", "source": "test", "subject": customer, "time": from_epoch_ms(at_ms)}
    return OutgoingEvent(topic=topic, key=customer, value=encode_trusted(event_type, header, data))


def decision(customer: str, decision_id: str, offer: str, base: float, at_ms: int) -> OutgoingEvent:
    treatment = f"{offer}.mobile.main"
    option = {"rank": 1, "offer": offer, "treatment": treatment, "tracking_id": f"{decision_id}.0"}
    data = {
        "decision_id": decision_id, "customer_id": customer, "time": from_epoch_ms(at_ms), "channel": "mobile",
        "placements_asked": [{"id": "banner", "count": 1}], "locale": "en", "strategy_version": "s",
        "feature_layout": "l", "arm": "full", "personalised": True,
        "placements": [{"id": "banner", "options": [option]}],
        "online": {
            "segment": "", "as_of_ms": 0, "treatments": [treatment], "multipliers": [1.0], "shapes": [2.5],
            "base": {offer: base}, "versions": {offer: "m1"},
        },
    }  # fmt: skip
    return event(DECISIONS, "nbo.decision.made", customer, at_ms, data)


def response(customer: str, decision_id: str, offer: str, outcome: str, at_ms: int) -> OutgoingEvent:
    data = {
        "response_id": f"r{next(_numbers)}", "tracking_id": f"{decision_id}.0", "decision_id": decision_id,
        "customer_id": customer, "offer": offer, "group": "cards", "issue": "acquire",
        "treatment": f"{offer}.mobile.main", "channel": "mobile", "placement": "banner", "outcome": outcome,
        "time": from_epoch_ms(at_ms), "decided_at": from_epoch_ms(at_ms), "detail": {},
    }  # fmt: skip
    return event(RESPONSES, "nbo.response.recorded", customer, at_ms, data)


def history(numbers: range, book: Book) -> list[OutgoingEvent]:
    """Decisions with impressions, of which every third is accepted after ten minutes; the book gets the same facts."""
    events = []
    for number in numbers:
        customer, name, offer = f"retail:{number % 17}", f"D{number}", ("gold", "plus")[number % 2]
        at, base = NOW + 1_000 * number, 0.05 + 0.001 * number
        book.decided(f"{name}.0", CellKey("m1", f"{offer}.mobile.main", ""), base, at)
        book.seen(f"{name}.0", at + 500)
        if number % 3 == 0:
            events.append(response(customer, name, offer, "accept", at + 600_000))
            book.accepted(f"{name}.0", at + 600_000)
        # Their windows have closed, so an impression is over once it is read: an acceptance has to be known by then.
        events += [decision(customer, name, offer, base, at), response(customer, name, offer, "impression", at + 500)]
    return events


def counted(book: Book) -> dict[CellKey, Cell]:
    """What everything must come to."""
    book.advance(Noon().now_ms())
    sums = {key: merged([cell], LATER, 30.0 * DAY) for key, cell in book.cells.items()}
    return {key: cell for key, cell in sums.items() if cell is not None}


class AnswerLost(RedisOnlineStore):
    """Writes, and then the answer does not come: the first time for every partition."""

    def __init__(self, store: RedisOnlineStore) -> None:
        super().__init__(store._client, store._keys)
        self._lost: set[int] = set()

    async def save(self, partition: int, write: Any) -> bool:
        saved = await super().save(partition, write)
        if saved and write.options and partition not in self._lost:
            self._lost.add(partition)
            raise StoreUnavailable("no answer")
        return saved


async def test_a_crash_at_any_step_and_a_lost_answer_count_everything_once(scene: Scene) -> None:
    book = Book(scene.terms)
    for step, numbers, store in (
        ("facts taken", range(60), None),
        ("evidence saved", range(60, 120), None),
        ("evidence saved", range(120, 180), AnswerLost(scene.store)),
    ):
        await scene.publisher.publish(history(numbers, book))
        await scene.until_crash(step, store)
    await scene.publisher.publish(history(range(180, 200), book))
    async with scene.running():
        await scene.until_all_counted(counted(book))


async def test_after_a_loss_of_the_store_the_log_is_read_again_and_says_the_same(scene: Scene) -> None:
    book = Book(scene.terms)
    await scene.publisher.publish(history(range(40), book))
    async with scene.running():
        await scene.until_all_counted(counted(book))
        await scene.client.execute("FLUSHALL")
        await scene.publisher.publish(history(range(40, 60), book))
        await scene.until_all_counted(counted(book))


async def test_killed_and_taken_over_while_responses_come_in(scene: Scene) -> None:
    """Two processes share the partitions; one is killed with SIGKILL in the middle of its work."""
    book, first, second = Book(scene.terms), await process(scene), await process(scene)
    try:
        for number in range(0, 120, 10):
            await scene.publisher.publish(history(range(number, number + 10), book))
            if number == 40:
                await until_some(scene)
                os.kill(first.pid, signal.SIGKILL)
                await first.wait()
        await scene.until_all_counted(counted(book))
    finally:
        for one in (first, second):
            if one.returncode is None:
                one.kill()
                await one.wait()


async def test_a_node_reads_beliefs_that_were_learnt(scene: Scene) -> None:
    book = Book(scene.terms)
    await scene.publisher.publish(history(range(200), book))
    prepared, metrics = load_strategy(scene.settings).prepared, PrometheusMetrics()
    beliefs = OnlineBeliefs(lambda _: scene.store, lambda: prepared, Noon(), metrics)
    await beliefs.refresh()
    assert beliefs.table is not None
    assert beliefs.table.row("m1", "").multipliers.tolist() == [1.0, 1.0]
    async with scene.running():
        await scene.until_all_counted(counted(book))
    before = beliefs.table
    await beliefs.refresh()
    assert beliefs.table is not before
    assert (beliefs.table.row("m1", "").multipliers > 1.2).all(), "a third accepted, and a sixth was expected"
    same = beliefs.table
    await beliefs.refresh()
    assert beliefs.table is same, "nothing has changed"
    age = re.search(rb"^kairos_online_posterior_age_seconds (\S+)$", metrics.exposition()[0], re.MULTILINE)
    assert age is not None
    assert 0 < float(age[1]) < 2 * DAY / 1000


async def process(scene: Scene) -> asyncio.subprocess.Process:
    settings = scene.settings
    environment = {
        **os.environ,
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",
        "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "3000",
        "KAIROS_REDIS_URL": settings.redis_url,
        "KAIROS_STRATEGY_PATH": str(settings.strategy_path),
        "KAIROS_STRATEGY_ARCHIVE": str(settings.strategy_archive),
        "KAIROS_BATCH_RECORDS": "7",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", "online-learner", env=environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


async def until_some(scene: Scene) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await scene.evidence():
            await asyncio.sleep(0.02)
