"""Every event counted exactly once: through redelivery, crashes, zombies, rebalances, poison, and lost stores."""

import asyncio
import os
import pickle
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from time import time_ns

import orjson
import pytest

from decision_engine.contact_ledger import decode_records
from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.definitions import Aggregate, FeatureDeclarations, FeatureDefinition, Window
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate, Update
from decision_engine.identifiers import CustomerId, key64
from decision_engine.outcomes import Outcome
from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import ALL_TOPICS, DEAD_LETTERS, PROFILE_UPDATES, RESPONSES, STATE_TOPICS, TRANSACTIONS
from services.adapters.embedded_servers import EmbeddedServer, embedded_broker, embedded_valkey
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_topics import ensure_topics
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import ClientLimits, RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.adapters.system_clock import SystemClock
from services.bootstrap import open_event_stream, open_publisher
from services.commands.state_builder import Connections, assemble, build_states, consumer_group
from services.ports import BusUnavailable, ContactResponse, OutgoingEvent, StateWrite, StoreUnavailable
from services.settings import Settings
from services.workers.consumer import BatchConsumer, Pace
from services.workers.dead_letters import DeadLetters, DeadLettersRefused
from services.workers.state_builder import StateBuilder
from services.workers.store_progress import LogReplaced, StateLost

pytestmark = pytest.mark.servers
TIME = 1_700_000_000_000
PARTITIONS = 2
WAIT_S = 30
PATIENT = ClientLimits(timeout_s=5.0)
_numbers = count()
Emptied = Callable[[str], Awaitable[str]]

DECLARATIONS = FeatureDeclarations(
    time_zone="UTC",
    features=(
        FeatureDefinition(
            name="posted", source="bank.transaction.posted", aggregate=Aggregate.COUNT, theme="t", description={}
        ),
        FeatureDefinition(
            name="spend",
            source="bank.transaction.posted",
            aggregate=Aggregate.SUM,
            field="amount",
            windows=(Window("d", 30),),
            theme="t",
            description={},
        ),
    ),
)
FEATURES = compile_features(DECLARATIONS)


class Crash(BaseException):
    """The builder's process ends here."""


@dataclass(frozen=True)
class Bank:
    """Real servers with the topics, and ways to post events and to look at what became of them."""

    settings: Settings
    features: CompiledFeatures
    publisher: KafkaEventPublisher
    client: RedisClient
    valkey: EmbeddedServer | None
    """None where the store is a cluster."""

    @property
    def keys(self) -> RedisKeys:
        return RedisKeys(self.settings.namespace, self.features.layout).divided(self.client.tags)

    @property
    def store(self) -> RedisStateStore:
        return RedisStateStore(self.client, self.keys)

    async def post(self, events: Sequence[OutgoingEvent]) -> dict[tuple[str, int], int]:
        """Publishes; answers for each partition the next offset after them."""
        ends: dict[tuple[str, int], int] = {}
        for topic, partition, offset in await self.publisher.publish(events):
            ends[topic, partition] = max(ends.get((topic, partition), 0), offset + 1)
        return ends

    async def until_applied(self, ends: Mapping[tuple[str, int], int], running: "asyncio.Task[None]") -> None:
        """Waits until the store says it holds everything before these offsets; a builder that fails is heard."""
        async with asyncio.timeout(WAIT_S):
            while True:
                if running.done():
                    await running
                with suppress(StoreUnavailable):
                    held = await RedisNamespaces(self.client, self.settings.namespace).held(self.keys.layout, ends)
                    if all(held[partition] >= end for partition, end in ends.items()):
                        return
                await asyncio.sleep(0.02)

    async def posted(self, customer: str) -> tuple[object, object]:
        """How many transactions the customer's state has counted, and their sum over thirty days."""
        snapshot = read_snapshot(self.features, await self.store.load(CustomerId(customer)), TIME)
        return snapshot.attributes.get("posted", 0), snapshot.attributes.get("spend_30d", 0)

    async def assert_counted(self, events: Sequence[OutgoingEvent]) -> None:
        """Each distinct transaction once, for every customer."""
        unique = {event.value: event for event in events}.values()
        counts = Counter(event.key for event in unique)
        sums: Counter[str] = Counter()
        for event in unique:
            sums[event.key] += orjson.loads(event.value)["data"]["amount"]
        found = {customer: await self.posted(customer) for customer in counts}
        assert found == {customer: (number, sums[customer]) for customer, number in counts.items()}

    def stream(self, **overrides: object) -> KafkaEventStream:
        return open_event_stream(self.settings, STATE_TOPICS, consumer_group(self.features.layout), **overrides)  # type: ignore[arg-type]


@pytest.fixture(params=["one server", "cluster"])
async def bank(request: pytest.FixtureRequest, tmp_path: Path, emptied: Emptied) -> AsyncIterator[Bank]:
    async with AsyncExitStack() as stack:
        valkey, broker = None, await stack.enter_async_context(embedded_broker(tmp_path))
        if request.param == "cluster":
            url = await emptied(request.getfixturevalue("cluster_of_three"))
        else:
            valkey = await stack.enter_async_context(embedded_valkey(tmp_path))
            url = f"redis://127.0.0.1:{valkey.port}/0"
        settings = Settings(
            kafka_bootstrap_servers=f"127.0.0.1:{broker.port}",
            kafka_idempotence=False,
            kafka_session_timeout_ms=1000,
            redis_url=url,
            clock="events",
            batch_records=50,
        )
        await ensure_topics(settings.kafka_bootstrap_servers, ALL_TOPICS, partitions=PARTITIONS, replication=1)
        async with (
            open_publisher(settings) as publisher,
            RedisClient.open(settings.redis_url, limits=PATIENT, library=FUNCTION_LIBRARY) as client,
        ):
            yield Bank(settings, FEATURES, publisher, client, valkey)


def event(event_type: str, topic: str, customer: str, data: Mapping[str, object], at: int = TIME) -> OutgoingEvent:
    header = {"id": f"e{next(_numbers)}", "source": "core", "subject": customer, "time": from_epoch_ms(at)}
    return OutgoingEvent(topic=topic, key=customer, value=encode_trusted(event_type, header, data))


def transaction(customer: str, amount: int = 100, at: int = TIME) -> OutgoingEvent:
    data = {"account_id": "a", "direction": "debit", "amount": amount, "currency": "CNY", "kind": "card"}
    return event("bank.transaction.posted", TRANSACTIONS, customer, data, at)


def transactions(number: int, customers: int = 7) -> list[OutgoingEvent]:
    return [transaction(f"retail:{i % customers}", amount=i + 1) for i in range(number)]


@asynccontextmanager
async def running_builder(bank: Bank, metrics: PrometheusMetrics | None = None) -> AsyncIterator["asyncio.Task[None]"]:
    """A whole state builder, stopped gracefully on leaving."""
    stop = asyncio.Event()
    task = asyncio.create_task(build_states(bank.settings, bank.features, metrics or PrometheusMetrics(), stop))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(WAIT_S):
            await task


@asynccontextmanager
async def altered_builder(
    bank: Bank,
    alter: Callable[[StateBuilder], StateBuilder],
    metrics: PrometheusMetrics | None = None,
    forgetful: bool = False,
) -> AsyncIterator["asyncio.Task[None]"]:
    """A builder with a fault built in; `forgetful` never commits. Leaving ends it, however it ends."""
    stop, stream = asyncio.Event(), bank.stream()
    work = alter(
        await assemble(
            bank.settings,
            bank.features,
            metrics or PrometheusMetrics(),
            Connections(bank.client, bank.publisher, stream),
        )
    )
    if forgetful:
        stream.commit = _commit_nothing  # type: ignore[method-assign]
    consumer = BatchConsumer(stream, work, Pace(jitter=lambda: 0.5, max_records=50, longest_pause_s=0.1))
    async with stream:
        task = asyncio.create_task(consumer.run(stop))
        try:
            yield task
        finally:
            stop.set()
            with suppress(Crash, DeadLettersRefused):
                await task


async def _commit_nothing(_: Mapping[tuple[str, int], int]) -> None:
    return None


async def ends_in(error: type[BaseException], task: "asyncio.Task[None]") -> None:
    with pytest.raises(error):
        async with asyncio.timeout(WAIT_S):
            await asyncio.shield(task)


class FaultyStore:
    """The real store with a hook before or after one of its calls."""

    def __init__(
        self,
        store: RedisStateStore,
        *,
        after_load: Callable[[], Awaitable[None]] | None = None,
        after_save: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._after_load = after_load
        self._after_save = after_save
        self.load = store.load

    async def load_many(self, customer_ids: Sequence[CustomerId]) -> list[bytes | None]:
        states = await self._store.load_many(customer_ids)
        if self._after_load is not None:
            await self._after_load()
        return states

    async def save_many(self, writes: Sequence[StateWrite]) -> list[CustomerId]:
        conflicts = await self._store.save_many(writes)
        if self._after_save is not None:
            await self._after_save()
        return conflicts


def with_store(**hooks: Callable[[], Awaitable[None]]) -> Callable[[StateBuilder], StateBuilder]:
    def alter(work: StateBuilder) -> StateBuilder:
        store = work.ingest.store
        assert isinstance(store, RedisStateStore)
        return replace(work, ingest=replace(work.ingest, store=FaultyStore(store, **hooks)))

    return alter


async def test_events_delivered_again_change_nothing(bank: Bank) -> None:
    """Both the bus's redelivery (nothing was ever committed) and a producer's repeat of the same events."""
    metrics = PrometheusMetrics()
    events = transactions(200)
    ends = await bank.post(events)
    async with altered_builder(bank, lambda work: work, forgetful=True) as first:
        await bank.until_applied(ends, first)
    await bank.client.execute("DEL", *(own.progress for own in bank.keys.parts))
    more = await bank.post(events[-7:])
    async with running_builder(bank, metrics) as second:
        await bank.until_applied(more, second)
    await bank.assert_counted(events)
    text = metrics.exposition()[0].decode()
    assert 'kairos_events_duplicate_total{type="bank.transaction.posted"} 7.0' in text
    assert "kairos_events_applied_total{" not in text


async def test_a_crash_between_write_and_commit_counts_nothing_twice(bank: Bank) -> None:
    async def crash() -> None:
        raise Crash

    events = transactions(120)
    ends = await bank.post(events)
    async with altered_builder(bank, with_store(after_save=crash)) as crashing:
        await ends_in(Crash, crashing)
    assert any([(await bank.posted(f"retail:{i}"))[0] for i in range(7)])
    async with running_builder(bank) as successor:
        await bank.until_applied(ends, successor)
    await bank.assert_counted(events)


async def test_a_zombie_that_writes_first_makes_us_read_and_fold_again(bank: Bank) -> None:
    """Another owner applies part of the same records, between our read and our write."""
    metrics, customer = PrometheusMetrics(), CustomerId("retail:0")
    events = [transaction(customer, amount=i + 1) for i in range(10)]
    ends = await bank.post(events)
    struck = False

    async def zombie() -> None:
        nonlocal struck
        if not struck:
            struck = True
            first = orjson.loads(events[0].value)
            update = Update(
                event_key=key64(f"core/{first['id']}"),
                source="bank.transaction.posted",
                time_ms=TIME,
                fields=first["data"],
            )
            value = fold(bank.features, None, [PositionedUpdate(STATE_TOPICS.index(TRANSACTIONS), 0, update)]).value
            assert await bank.store.save_many([StateWrite(customer, None, value)]) == []

    async with altered_builder(bank, with_store(after_load=zombie), metrics) as builder:
        await bank.until_applied(ends, builder)
    await bank.assert_counted(events)
    assert "kairos_state_conflicts_total 1.0" in metrics.exposition()[0].decode()


async def test_a_store_that_refuses_writes_is_waited_for(bank: Bank) -> None:
    """Too few replicas: the builder stays, and goes on where it was when they are back."""
    before, after = transactions(20), transactions(20)
    async with running_builder(bank) as builder:
        await bank.until_applied(await bank.post(before), builder)
        await bank.client.everywhere("CONFIG", "SET", "min-replicas-to-write", "1")
        ends = await bank.post(after)
        done, _ = await asyncio.wait({builder}, timeout=1.0)
        assert not done, "a refusal ends nothing"
        await bank.client.everywhere("CONFIG", "SET", "min-replicas-to-write", "0")
        await bank.until_applied(ends, builder)
    await bank.assert_counted(before + after)


async def test_builders_that_come_and_go_share_the_work_exactly(bank: Bank) -> None:
    """One builder works; a second joins, takes partitions over mid-stream, and leaves again."""
    first, second = PrometheusMetrics(), PrometheusMetrics()
    events: list[OutgoingEvent] = []

    async def post_more() -> dict[tuple[str, int], int]:
        events.extend(more := transactions(40, customers=20))
        return await bank.post(more)

    ends = await post_more()
    async with running_builder(bank, first) as early:
        await bank.until_applied(ends, early)
        async with running_builder(bank, second) as late:
            async with asyncio.timeout(WAIT_S):
                while not applied_any(second):
                    await post_more()
                    await asyncio.sleep(0.02)
            ends = await post_more()
            await asyncio.gather(bank.until_applied(ends, early), bank.until_applied(ends, late))
        ends = await post_more()
        await bank.until_applied(ends, early)
    await bank.assert_counted(events)


def applied_any(metrics: PrometheusMetrics) -> bool:
    return "kairos_events_applied_total{" in metrics.exposition()[0].decode()


async def test_poison_is_set_aside_with_reason_and_origin_and_the_rest_is_applied(bank: Bank) -> None:
    good = [transaction("retail:1"), transaction("retail:1", amount=250)]
    poison = [
        OutgoingEvent(topic=TRANSACTIONS, key="retail:1", value=b'{"secret": 4711'),
        replace(transaction("retail:2"), key="retail:1"),
        replace(transaction("retail:1"), topic=PROFILE_UPDATES),
        OutgoingEvent(topic=TRANSACTIONS, key="retail:1", value=good[0].value.replace(b".posted", b".unposted")),
    ]
    ends = await bank.post([good[0], *poison, good[1]])
    metrics = PrometheusMetrics()
    async with running_builder(bank, metrics) as builder:
        await bank.until_applied(ends, builder)
    await bank.assert_counted(good)
    letters = await read_topic(bank, DEAD_LETTERS, len(poison))
    assert {letter["data"]["reason"] for letter in letters} == {
        "malformed", "key_mismatch", "wrong_topic", "unknown_type",
    }  # fmt: skip
    (malformed,) = [letter["data"] for letter in letters if letter["data"]["reason"] == "malformed"]
    assert (malformed["topic"], malformed["payload_bytes"]) == (TRANSACTIONS, 15)
    assert "4711" not in malformed["message"]
    assert 'kairos_events_dead_lettered_total{reason="key_mismatch"} 1.0' in metrics.exposition()[0].decode()


async def read_topic(bank: Bank, topic: str, number: int) -> list[dict[str, dict[str, object]]]:
    found: list[dict[str, dict[str, object]]] = []
    async with asyncio.timeout(WAIT_S), KafkaEventStream(bank.settings.kafka_bootstrap_servers, [topic]) as stream:
        while len(found) < number:
            found += [orjson.loads(delivery.value or b"") for delivery in await stream.poll(100, 0.1)]
    return found


async def test_without_a_place_for_dead_letters_reading_stops_before_the_poison(bank: Bank) -> None:
    class NoBus:
        async def publish(self, events: Sequence[OutgoingEvent]) -> None:
            raise BusUnavailable("no broker")

        def enqueue(self, event: OutgoingEvent) -> None:
            raise BusUnavailable("no broker")

    good = [transaction("retail:1")]
    ends = await bank.post([*good, OutgoingEvent(topic=TRANSACTIONS, key="retail:1", value=b"x")])
    dead_letters = DeadLetters(NoBus(), PrometheusMetrics())
    async with altered_builder(bank, lambda work: replace(work, dead_letters=dead_letters)) as refusing:
        await ends_in(DeadLettersRefused, refusing)
    async with running_builder(bank) as successor:
        await bank.until_applied(ends, successor)
    await bank.assert_counted(good)
    assert len(await read_topic(bank, DEAD_LETTERS, 1)) == 1


@pytest.mark.parametrize("bank", ["one server"], indirect=True)
@pytest.mark.parametrize("spared", [True, False], ids=["an older copy comes back", "nothing comes back"])
async def test_a_store_that_comes_back_poorer_is_filled_again_from_the_log(
    bank: Bank, tmp_path: Path, spared: bool
) -> None:
    metrics = PrometheusMetrics()
    events = transactions(60)
    async with running_builder(bank, metrics) as builder:
        await bank.until_applied(await bank.post(events[:30]), builder)
        if spared:
            await bank.client.execute("SAVE")
        await bank.until_applied(await bank.post(events[30:40]), builder)
        assert bank.valkey is not None
        os.kill(bank.valkey.pid, signal.SIGKILL)
        await bank.valkey.process.wait()
        ends = await bank.post(events[40:])
        async with embedded_valkey(tmp_path, bank.valkey.port):
            await bank.until_applied(ends, builder)
            await bank.assert_counted(events)
            text = metrics.exposition()[0].decode()
            assert 'kairos_state_rewinds_total{topic="bank.transactions.v1"}' in text


async def test_a_store_lost_in_the_middle_of_a_batch_leaves_no_half_built_states(bank: Bank) -> None:
    """Between our read and our write everything vanishes; what we fold must not be written over nothing."""
    lose = iter([False, True])

    async def vanish() -> None:
        if next(lose, False):
            await bank.client.execute("FLUSHALL")

    events = transactions(140)
    async with altered_builder(bank, with_store(after_load=vanish)) as builder:
        ends = await bank.post(events)
        await bank.until_applied(ends, builder)
    await bank.assert_counted(events)


@pytest.mark.parametrize("bank", ["one server"], indirect=True)
async def test_a_builder_told_to_stop_while_the_store_is_away_leaves_soon_and_its_batch_is_not_lost(
    bank: Bank, tmp_path: Path
) -> None:
    events = transactions(30)
    stop, waiting, stream = asyncio.Event(), asyncio.Event(), bank.stream()
    work = await assemble(
        bank.settings, bank.features, PrometheusMetrics(), Connections(bank.client, bank.publisher, stream)
    )

    def jitter() -> float:
        """Asked for when a batch begins to wait for the store."""
        waiting.set()
        return 1.0

    consumer = BatchConsumer(stream, work, Pace(jitter=jitter, first_pause_s=20.0, longest_pause_s=20.0))
    async with stream:
        task = asyncio.create_task(consumer.run(stop))
        assert bank.valkey is not None
        os.kill(bank.valkey.pid, signal.SIGKILL)
        await bank.valkey.process.wait()
        ends = await bank.post(events)
        async with asyncio.timeout(WAIT_S):
            await waiting.wait()
        stop.set()
        async with asyncio.timeout(3):
            await task
    async with embedded_valkey(tmp_path, bank.valkey.port):
        async with asyncio.timeout(WAIT_S):
            while True:
                with suppress(StoreUnavailable):
                    await bank.client.ping()
                    break
                await asyncio.sleep(0.02)
        async with running_builder(bank) as successor:
            await bank.until_applied(ends, successor)
        await bank.assert_counted(events)


def response(customer: str, response_id: str, outcome: str, at: int = TIME) -> OutgoingEvent:
    data = {
        "response_id": response_id,
        "tracking_id": "01J.0",
        "decision_id": "01J",
        "customer_id": customer,
        "offer": "gold_card",
        "group": "cards",
        "issue": "acquire",
        "treatment": "gold_card.mobile.banner",
        "channel": "mobile",
        "placement": "home_banner",
        "outcome": outcome,
        "time": from_epoch_ms(at),
        "decided_at": from_epoch_ms(at),
        "detail": {},
    }
    return event("nbo.response.recorded", RESPONSES, customer, data, at)


async def test_responses_reach_the_ledger_once_and_erasure_empties_it(bank: Bank) -> None:
    customer = CustomerId("retail:1")
    ledger = RedisContactLedger(bank.client, bank.keys)
    first, later = response(customer, "r1", "impression"), response(customer, "r2", "reject", TIME + 5000)
    async with running_builder(bank) as builder:
        await bank.until_applied(await bank.post([first, first, later]), builder)
        (contact,) = decode_records(await ledger.read(customer))
        assert (contact.status, contact.contact_ms, contact.outcome_ms) == (1 | 2 | 16, TIME, TIME + 5000)
        taken = ContactResponse(
            response_id="r1", tracking=contact.tracking, outcome=Outcome.IMPRESSION, at_ms=TIME,
            offer=contact.offer, group=contact.group, issue=contact.issue, channel=contact.channel,
        )  # fmt: skip
        assert await ledger.respond(customer, [taken]) == [True], "whoever takes it hears that it was new"
        assert await ledger.respond(customer, [taken]) == [False]
        erased = event("bank.customer.erased", PROFILE_UPDATES, customer, {"request_id": "x"}, TIME + 9000)
        await bank.until_applied(await bank.post([erased]), builder)
        assert decode_records(await ledger.read(customer)) == ()
    assert await bank.client.execute("GET", bank.keys.clock) == str(TIME + 9000).encode()


async def test_events_from_the_future_are_refused_where_the_clock_is_the_wall(bank: Bank) -> None:
    settings = replace(bank.settings, clock="system")
    good = [transaction("retail:1")]
    ends = await bank.post([*good, transaction("retail:1", at=4_000_000_000_000)])
    async with running_builder(replace(bank, settings=settings)) as builder:
        await bank.until_applied(ends, builder)
    await bank.assert_counted(good)
    (letter,) = await read_topic(bank, DEAD_LETTERS, 1)
    assert letter["data"]["reason"] == "future"


async def test_what_was_from_the_future_is_refused_again_when_the_log_is_read_long_after(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, now_ms = replace(bank.settings, clock="system"), time_ns() // 1_000_000
    ends = await bank.post([transaction("retail:1", at=now_ms + minutes * 60_000) for minutes in (4, 6)])
    async with running_builder(replace(bank, settings=settings)) as builder:
        await bank.until_applied(ends, builder)
    assert (await bank.posted("retail:1"))[0] == 1
    await bank.client.execute("FLUSHDB")
    monkeypatch.setattr(SystemClock, "now_ms", lambda _: now_ms + 86_400_000)
    async with running_builder(replace(bank, settings=settings)) as builder:
        await bank.until_applied(ends, builder)
    assert (await bank.posted("retail:1"))[0] == 1


BUILDER_PROCESS = """
import asyncio, pickle, sys
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.commands.state_builder import build_states
from decision_engine.features.compiled import compile_features
settings, declarations = pickle.load(sys.stdin.buffer)
asyncio.run(build_states(settings, compile_features(declarations), PrometheusMetrics(), asyncio.Event()))
"""


async def test_processes_killed_at_any_moment_lose_and_double_nothing(bank: Bank) -> None:
    """Two builders in turn are killed with SIGKILL while events keep coming; the last one finishes."""
    given = pickle.dumps((replace(bank.settings, batch_records=40), DECLARATIONS))
    events = transactions(1200, customers=25)
    for number in range(2):
        await bank.post(events[number * 500 : (number + 1) * 500])
        victim = await asyncio.create_subprocess_exec(
            sys.executable, "-c", BUILDER_PROCESS, stdin=asyncio.subprocess.PIPE
        )
        assert victim.stdin is not None
        victim.stdin.write(given)
        victim.stdin.write_eof()
        before = await applied_so_far(bank)
        async with asyncio.timeout(WAIT_S):
            while await applied_so_far(bank) <= before + 100 * number:
                await asyncio.sleep(0.002)
        os.kill(victim.pid, signal.SIGKILL)
        await victim.wait()
    ends = await bank.post(events[1000:])
    async with running_builder(bank) as survivor:
        await bank.until_applied(ends, survivor)
    await bank.assert_counted(events)


async def applied_so_far(bank: Bank) -> int:
    """Events the store says it holds, over all partitions."""
    partitions = [(topic, number) for topic in STATE_TOPICS for number in range(PARTITIONS)]
    held = await RedisNamespaces(bank.client, bank.settings.namespace).held(bank.keys.layout, partitions)
    return sum(held.values())


async def test_a_loss_is_noticed_and_mended_while_nothing_comes_in(bank: Bank) -> None:
    events = transactions(40)
    ends = await bank.post(events)
    async with running_builder(bank) as builder:
        await bank.until_applied(ends, builder)
        await bank.client.execute("FLUSHALL")
        await bank.until_applied(ends, builder)
    await bank.assert_counted(events)


async def test_a_log_made_anew_is_not_mistaken_for_one_already_applied(bank: Bank) -> None:
    for own in bank.keys.parts:
        await bank.client.execute("HSET", own.progress, f"{TRANSACTIONS}/0", 5_000_000)
    await bank.post(transactions(40))
    with pytest.raises(LogReplaced, match=r"bank\.transactions\.v1/0 up to offset 5000000"):
        async with asyncio.timeout(WAIT_S):
            await build_states(bank.settings, bank.features, PrometheusMetrics(), asyncio.Event())


async def test_a_lost_store_whose_log_was_trimmed_stops_the_builder_with_what_to_do(bank: Bank) -> None:
    """The embedded broker cannot trim, so the stream says it did."""
    ends = await bank.post(transactions(40))
    async with running_builder(bank) as builder:
        await bank.until_applied(ends, builder)
    await bank.client.execute("FLUSHALL")
    trimmed = {(TRANSACTIONS, partition): 3 for partition in range(PARTITIONS)}

    async def beginning_offsets() -> dict[tuple[str, int], int]:
        return trimmed

    stream = bank.stream()
    stream.beginning_offsets = beginning_offsets  # type: ignore[method-assign]
    work = await assemble(
        bank.settings, bank.features, PrometheusMetrics(), Connections(bank.client, bank.publisher, stream)
    )
    async with stream:
        with pytest.raises(StateLost, match="restore the store from a backup"):
            async with asyncio.timeout(WAIT_S):
                await BatchConsumer(stream, work, Pace(jitter=lambda: 0.5)).run(asyncio.Event())
    assert (await bank.posted("retail:0"))[0] == 0
