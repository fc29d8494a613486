"""Features change while decisions go on: states made anew beside those that serve, then one switch, and back."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
import pytest

from decision_engine.decision import PlacementRequest
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.identifiers import CustomerId, PlacementId
from event_schemas.codec import encode, encode_trusted
from event_schemas.control import StrategyAct, StrategyActivated, StrategyRolledBack
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import CONTROL, PROFILE_UPDATES, STATE_TOPICS, TRANSACTIONS
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.parquet_archive import ArchiveUnusable, ParquetArchive
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_library import FunctionLibrary
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.adapters.redis_volume_leases import VOLUME_LIBRARY, VolumeKeys
from services.api.runtime import ApiRuntime
from services.bootstrap import (
    LoadedStrategy,
    load_strategy_at,
    open_api,
    open_event_stream,
    open_publisher,
    open_strategy_versions,
)
from services.commands import rebuild_namespaces, topics
from services.commands.active_strategy import active_strategy, work_for_active
from services.commands.rebuild_namespaces import NamespaceNeeded
from services.commands.rebuild_states import ARCHIVE, BegunOtherwise, RebuildOrder, rebuild_states
from services.commands.state_builder import build_states
from services.ports import Delivery, NamespaceUse, OutgoingEvent
from services.settings import Settings
from services.use_cases.archive_meets_log import ArchiveUnfit
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.event_batches import read_batch
from services.use_cases.live_strategy import ACTIVE_SUBJECT, SwitchRefused
from services.use_cases.make_decision import DecisionPorts, MakeDecision
from services.use_cases.rebuild_bundles import BUNDLE_MARK

pytestmark = pytest.mark.servers
TIME = 1_700_000_000_000
WAIT_S = 90
CUSTOMERS = [f"retail:{number}" for number in range(30)]
STRATEGY = """
name: growing
time_zone: UTC
currency: CNY
locales: [en]
consents:
  - {name: marketing, default: granted, text: {en: Marketing}}
profile:
  - {name: age, type: int, theme: basic, description: {en: Age}}
features:
  - {name: posted, source: bank.transaction.posted, aggregate: count, theme: t, description: {en: Posted}}
%(features)s
models: [{name: m}]
issues: [{name: grow}]
groups: [{name: notices, issue: grow, model: m}]
offers:
  - {name: umbrella, group: notices, title: {en: Umbrella}, value: 100, base_rate: 0.1, purpose: service,
     treatments: [{name: main, channel: branch, placements: [tablet], content: {en: {title: x}}}]}
  - {name: %(offer)s, group: notices, title: {en: Other}, value: 50, base_rate: 0.1, purpose: service,
     eligibility: [{id: rule, when: '%(rule)s', code: NO, text: {en: No}}],
     treatments: [{name: main, channel: branch, placements: [tablet], content: {en: {title: x}}}]}
placements: [{id: tablet, channel: branch, max_count: 2, fallback: {treatment: none, content: {en: {title: x}}}}]
volumes:
  - {id: umbrellas, of: {offer: umbrella}, resource: stock, amount: 10000, per: {calendar: month}}
%(volumes)s
"""
OLD = STRATEGY % {"features": "", "volumes": "", "offer": "old_offer", "rule": "posted >= 1"}
SPEND = """
  - {name: spend, source: bank.transaction.posted, aggregate: sum, field: amount, theme: t, description: {en: Spend}}
"""
PLACES = "  - {id: places, of: {offer: new_offer}, resource: stock, amount: 10000, per: {calendar: month}}"
NEW = STRATEGY % {"features": SPEND, "volumes": PLACES, "offer": "new_offer", "rule": "spend >= 1"}
_numbers = count()


@dataclass
class Bank:
    """Real servers, two versions of a strategy, and events."""

    settings: Settings
    client: RedisClient
    publisher: KafkaEventPublisher
    folder: Path
    old: LoadedStrategy
    new: LoadedStrategy
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    posted: int = 0

    def order(self, loaded: LoadedStrategy, **overrides: Any) -> RebuildOrder:
        defaults: dict[str, Any] = {"loaded": loaded, "spill": self.folder / "spill", "rest": 0.0, "niceness": 0}
        return RebuildOrder(**(defaults | overrides))

    async def rebuild(self, loaded: LoadedStrategy, **overrides: Any) -> bool:
        async with asyncio.timeout(WAIT_S):
            return await rebuild_states(self.settings, self.order(loaded, **overrides), self.stop)

    async def post(self, number: int) -> None:
        """So many transactions and a few profile updates, spread over the customers."""
        events = [transaction(CUSTOMERS[i % len(CUSTOMERS)], 100 + i) for i in range(number)]
        events += [profile(customer, 20 + i) for i, customer in enumerate(CUSTOMERS[: number // 10])]
        self.posted += len(await self.publisher.publish(events))

    async def log(self) -> list[Delivery]:
        """Everything the log holds."""
        found: list[Delivery] = []
        async with open_event_stream(self.settings, STATE_TOPICS) as stream:
            async with asyncio.timeout(WAIT_S):
                while len(found) < self.posted:
                    found += await stream.poll(5000, 0.3)
        return found

    async def acts(self) -> list[str]:
        """The types of the acts that said what decides."""
        found: list[str] = []
        async with open_event_stream(self.settings, [CONTROL]) as stream, asyncio.timeout(WAIT_S):
            while len(found) < 2:
                events = [orjson.loads(d.value or b"") for d in await stream.poll(1000, 0.3)]
                found += [event["type"] for event in events if event["subject"] == ACTIVE_SUBJECT]
        return found

    async def archive(self) -> None:
        """Takes what the log holds into the archive."""
        with ParquetArchive(self.settings.archive_path) as kept:
            by_partition: dict[tuple[str, int], list[Delivery]] = {}
            for delivery in await self.log():
                by_partition.setdefault((delivery.topic, delivery.partition), []).append(delivery)
            for partition, deliveries in by_partition.items():
                known = kept.positions().get(partition)
                fresh = [d for d in deliveries if known is None or d.offset >= known.next_offset]
                half = len(fresh) // 2
                for part in (fresh[:half], fresh[half:]):
                    kept.append(part)

    async def units_left(self, volume: str) -> int:
        """Units of the volume that nobody was given, over all nodes."""
        keys = VolumeKeys(self.settings.namespace)
        (pool,) = await self.keys_of(f":pool:{volume}:")
        standing = FunctionLibrary.of(VOLUME_LIBRARY).called("kairos_volume_standing")
        reply = await self.client.execute("FCALL", standing, 2, keys.registry, pool)
        assert isinstance(reply, list)
        assert isinstance(reply[0], int)
        return reply[0]

    async def assert_states_are_a_fresh_fold(self, loaded: LoadedStrategy) -> None:
        """Every customer's state comes to tell what folding the whole log from nothing tells."""
        log = await self.log()
        ends = {(delivery.topic, delivery.partition): delivery.offset + 1 for delivery in log}
        namespaces = RedisNamespaces(self.client, self.settings.namespace)
        async with asyncio.timeout(WAIT_S):
            while await namespaces.held(loaded.features.layout, ends) != ends:
                await asyncio.sleep(0.02)
        updates = read_batch(log, None).updates
        assert len(updates) == len(CUSTOMERS)
        store = RedisStateStore(self.client, RedisKeys(self.settings.namespace, loaded.features.layout))
        states = await store.load_many([CustomerId(customer) for customer in CUSTOMERS])
        for customer, state in zip(CUSTOMERS, states, strict=True):
            fresh = fold(loaded.features, None, updates[CustomerId(customer)]).value
            at = TIME + 1_000_000
            assert read_snapshot(loaded.features, state, at) == read_snapshot(loaded.features, fresh, at), customer

    async def keys_of(self, layout: str) -> list[bytes]:
        return sorted({name async for some in self.client.walk(f"*{layout}*", 1_000, 5.0) for name in some})


def transaction(customer: str, amount: int) -> OutgoingEvent:
    data = {"account_id": "a", "direction": "debit", "amount": amount, "currency": "CNY", "kind": "card"}
    return event("bank.transaction.posted", TRANSACTIONS, customer, data)


def profile(customer: str, age: int) -> OutgoingEvent:
    return event("bank.profile.updated", PROFILE_UPDATES, customer, {"attributes": {"age": age}})


def event(event_type: str, topic: str, customer: str, data: dict[str, object]) -> OutgoingEvent:
    number = next(_numbers)
    at = from_epoch_ms(TIME + number * 1000)
    header: dict[str, str | datetime] = {"id": f"e{number}", "source": "core", "subject": customer, "time": at}
    return OutgoingEvent(topic=topic, key=customer, value=encode_trusted(event_type, header, data))


@pytest.fixture
async def bank(servers: Any, tmp_path: Path) -> AsyncIterator[Bank]:
    for name, text in (("old", OLD), ("new", NEW)):
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    settings = Settings(
        kafka_bootstrap_servers=servers.bootstrap_servers,
        kafka_idempotence=False,
        kafka_session_timeout_ms=1000,
        kafka_partitions=2,
        redis_url=servers.redis_url,
        strategy_path=tmp_path / "old.yaml",
        strategy_archive=tmp_path / "strategies",
        model_path=tmp_path / "models",
        archive_path=tmp_path / "archive",
        decision_timeout_ms=1000,
    )
    await topics.create(settings)
    old, new = load_strategy_at(tmp_path / "old.yaml"), load_strategy_at(tmp_path / "new.yaml")
    versions = open_strategy_versions(settings)
    for loaded, name in ((old, "old"), (new, "new")):
        versions.register(loaded.strategy.version, tmp_path / f"{name}.yaml")
    async with (
        RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY) as client,
        open_publisher(settings) as publisher,
    ):
        yield Bank(settings, client, publisher, tmp_path, old, new)


@asynccontextmanager
async def builder(bank: Bank) -> AsyncIterator[None]:
    """The state builder role, following the active version."""
    stop = asyncio.Event()

    async def work(loaded: LoadedStrategy, until: asyncio.Event) -> None:
        await build_states(bank.settings, loaded.features, PrometheusMetrics(), until, firing_for=loaded)

    async def role() -> None:
        async with active_strategy(bank.settings, "state-builder", keeps_states=True) as active:
            await work_for_active(active, stop, work)

    task = asyncio.create_task(role())
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(WAIT_S):
            await task


class Decisions:
    """Asks one question after the other, and keeps the answers."""

    def __init__(self, runtime: ApiRuntime) -> None:
        self.answers: list[dict[str, Any]] = []
        self._decide = MakeDecision(
            DecisionPorts(
                live=runtime.live, store=runtime.store, ledger=runtime.ledger, publisher=runtime.publisher,
                clock=runtime.clock, ids=runtime.ids, metrics=runtime.metrics, volumes=runtime.volumes,
            )
        )  # fmt: skip

    async def one(self, customer: str) -> dict[str, Any]:
        command = DecisionCommand(
            client="app",
            customer_id=CustomerId(customer),
            channel="branch",
            placements=(PlacementRequest(id=PlacementId("tablet"), count=2),),
            locale="en",
            started_s=perf_counter(),
            timeout_ms=1000,
        )
        answer: dict[str, Any] = orjson.loads(await self._decide(command))
        self.answers.append(answer)
        return answer

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            for number in count():
                answer = await self.one(CUSTOMERS[number % len(CUSTOMERS)])
                if wanted(answer):
                    return answer
                await asyncio.sleep(0.01)
        raise AssertionError

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Decisions one after the other while the context lasts."""
        stop = asyncio.Event()

        async def ask() -> None:
            for number in count():
                if stop.is_set():
                    return
                await self.one(CUSTOMERS[number % len(CUSTOMERS)])
                await asyncio.sleep(0.005)

        asking = [asyncio.create_task(ask()) for _ in range(2)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*asking)


def offers(answer: dict[str, Any]) -> set[str]:
    return {option["offer"] for option in answer["placements"][0].get("options", ())}


def by(loaded: LoadedStrategy) -> Callable[[dict[str, Any]], bool]:
    return lambda answer: answer["strategy_version"] == loaded.strategy.version and not answer["degraded"]


@pytest.mark.parametrize("servers", ["one server", "cluster"], indirect=True)
async def test_a_new_feature_is_built_and_switched_to_under_load_and_rolled_back(bank: Bank) -> None:
    await bank.post(300)
    namespaces = RedisNamespaces(bank.client, bank.settings.namespace)
    async with builder(bank), open_api(bank.settings) as runtime:
        decisions = Decisions(runtime)
        await decisions.until(by(bank.old))
        began = len(decisions.answers)
        async with decisions.load():
            await bank.post(200)
            assert await bank.rebuild(bank.new)
            await decisions.until(by(bank.new))
        answers = decisions.answers[began:]
        seen = [answer["strategy_version"] for answer in answers]
        versions = [bank.old.strategy.version, bank.new.strategy.version]
        assert set(seen) == set(versions)
        assert versions[0] not in seen[seen.index(versions[1]) + 3 :], "only what was under way ends by the old one"
        assert not any(answer["degraded"] for answer in answers)
        for answer in answers:
            own = "old_offer" if answer["strategy_version"] == versions[0] else "new_offer"
            assert offers(answer) <= {"umbrella", own}
        await bank.post(100)
        assert [use.layout for use in await namespaces.in_use()] == [bank.new.features.layout] * 2
        await bank.assert_states_are_a_fresh_fold(bank.new)
        async with open_api(bank.settings) as later:
            assert later.live().prepared.strategy.version == versions[1], "a node that starts later serves it, too"

        before = await rebuild_namespaces.version_before(bank.settings)
        assert before.strategy.version == versions[0]
        assert await bank.rebuild(before, announced=StrategyRolledBack)
        await decisions.until(by(bank.old))
        assert await bank.acts() == ["nbo.control.strategy.activated", "nbo.control.strategy.rolled_back"]
        await bank.assert_states_are_a_fresh_fold(bank.old)
        given = sum("umbrella" in offers(answer) for answer in decisions.answers)
        assert await bank.units_left("umbrellas") == 10_000 - given, "through both switches every unit is counted"


@pytest.mark.parametrize("servers", ["one server", "cluster"], indirect=True)
async def test_the_archive_is_folded_killed_resumed_and_followed_by_the_log(bank: Bank) -> None:
    """The archive ends before the log does; the rebuild is killed in the middle of it, and goes on."""
    await bank.post(300)
    await bank.archive()
    await bank.post(60)
    layout = bank.new.features.layout
    command = ["rebuild", "states", "--strategy", str(bank.folder / "new.yaml"), "--from", "archive", "--no-switch"]
    arguments = [*command, "--spill", str(bank.folder / "spill"), "--rest", "60", "--nice", "0"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", *arguments), env=environment(bank), stderr=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(WAIT_S):
        while not (done := await bundles_done(bank, layout)):
            await asyncio.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert 0 < len(done) < 16, "killed in the middle"
    assert not await RedisNamespaces(bank.client, bank.settings.namespace).is_whole(layout)
    assert await bank.rebuild(bank.new, source=ARCHIVE, switch=False)
    await bank.assert_states_are_a_fresh_fold(bank.new)
    assert not list((bank.folder / "spill").glob("*")), "the sorted events are gone"


async def test_a_stopped_rebuild_goes_on_or_is_given_up_and_then_leaves_nothing(bank: Bank) -> None:
    await bank.post(120)
    await bank.archive()
    layout = bank.new.features.layout
    bank.stop.set()
    assert not await bank.rebuild(bank.new, source=ARCHIVE), "stopped at once"
    assert await bank.keys_of(layout)
    removed = await rebuild_namespaces.cancel(bank.settings, layout, bank.folder / "spill")
    assert removed > 0
    assert await bank.keys_of(layout) == []
    assert not list((bank.folder / "spill").glob("*"))

    bank.stop.clear()
    assert await bank.rebuild(bank.new, switch=False), "from the log this time, as if nothing had been"
    await rebuild_namespaces.cancel(bank.settings, layout, bank.folder / "spill")
    assert await bank.keys_of(layout) == []
    assert await bank.rebuild(bank.new, switch=False), "although its group had read all of it"
    await bank.assert_states_are_a_fresh_fold(bank.new)


async def test_a_version_without_whole_states_is_refused_everywhere(bank: Bank) -> None:
    version = bank.new.strategy.version
    await bank.post(30)
    with pytest.raises(SwitchRefused, match="not whole"):
        await rebuild_namespaces.switch(bank.settings, bank.order(bank.new))
    async with builder(bank), open_api(bank.settings) as runtime:
        decisions = Decisions(runtime)
        await decisions.until(by(bank.old))
        act = StrategyAct(name="growing", version=version, actor="somebody")
        activated = StrategyActivated(
            id="a1", source="test", subject=ACTIVE_SUBJECT, time=from_epoch_ms(TIME), data=act
        )
        await bank.publisher.publish([OutgoingEvent(topic=CONTROL, key=ACTIVE_SUBJECT, value=encode(activated))])
        async with asyncio.timeout(WAIT_S):
            while (pending := runtime.pending()) is None:
                await asyncio.sleep(0.01)
        assert pending.version == version
        assert "not whole" in pending.refusal
        assert by(bank.old)(await decisions.one(CUSTOMERS[0])), "the version before goes on"
        assert await bank.rebuild(bank.new)
        await decisions.until(by(bank.new))
        assert runtime.pending() is None


@pytest.mark.parametrize("servers", ["one server", "cluster"], indirect=True)
async def test_only_states_that_nobody_uses_are_cleaned_away(bank: Bank) -> None:
    await bank.post(60)
    old, new = bank.old.features.layout, bank.new.features.layout
    assert await bank.rebuild(bank.old)
    assert await bank.rebuild(bank.new, switch=False)
    use = RedisNamespaces(bank.client, bank.settings.namespace)
    async with use.announcing(lambda: NamespaceUse(role="api", node="n", layout=new, version="v")) as say:
        say()
        async with asyncio.timeout(WAIT_S):
            while not await use.in_use():
                await asyncio.sleep(0.01)
        assert await rebuild_namespaces.clean(bank.settings, 0, only_say=False) == {}, "one serves, one is active"
        with pytest.raises(NamespaceNeeded, match="used by api"):
            await rebuild_namespaces.cancel(bank.settings, new, bank.folder)
    with pytest.raises(NamespaceNeeded, match="active"):
        await rebuild_namespaces.cancel(bank.settings, old, bank.folder)
    assert await rebuild_namespaces.clean(bank.settings, 3600, only_say=False) == {}, "not so soon"
    assert await rebuild_namespaces.clean(bank.settings, 0, only_say=True) == {}, "only said"
    assert set(await rebuild_namespaces.clean(bank.settings, 0, only_say=False)) == {new}
    assert await bank.keys_of(new) == []
    await bank.assert_states_are_a_fresh_fold(bank.old)
    assert old in "\n".join(await rebuild_namespaces.show(bank.settings))


async def test_an_archive_that_the_log_does_not_continue_is_refused(bank: Bank, tmp_path: Path) -> None:
    await bank.post(60)
    await bank.archive()
    other = tmp_path / "other-archive"
    with ParquetArchive(other) as kept:
        kept.append([Delivery(TRANSACTIONS, 0, 0, b"retail:1", transaction("retail:1", 1).value, ())])
    with pytest.raises(ArchiveUnfit, match="another log"):
        await rebuild_states(
            replace(bank.settings, archive_path=other), bank.order(bank.new, source=ARCHIVE), bank.stop
        )
    with pytest.raises(ArchiveUnusable, match="no archive"):
        await rebuild_states(
            replace(bank.settings, archive_path=tmp_path / "nowhere"), bank.order(bank.new, source=ARCHIVE), bank.stop
        )
    store = RedisStateStore(bank.client, RedisKeys(bank.settings.namespace, bank.new.features.layout))
    await store.begin_namespace()
    with pytest.raises(BegunOtherwise, match="from the log"):
        await bank.rebuild(bank.new, source=ARCHIVE)


async def bundles_done(bank: Bank, layout: str) -> list[bytes]:
    *_, last = RedisKeys(bank.settings.namespace, layout).divided(bank.client.tags).parts
    fields = await bank.client.execute("HKEYS", last.progress)
    assert isinstance(fields, list)
    return [name for name in fields if isinstance(name, bytes) and name.startswith(BUNDLE_MARK.encode())]


def environment(bank: Bank) -> dict[str, str]:
    settings = bank.settings
    return {
        **os.environ,
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",
        "KAIROS_KAFKA_SESSION_TIMEOUT_MS": str(settings.kafka_session_timeout_ms),
        "KAIROS_REDIS_URL": settings.redis_url,
        "KAIROS_STRATEGY_PATH": str(settings.strategy_path),
        "KAIROS_STRATEGY_ARCHIVE": str(settings.strategy_archive),
        "KAIROS_ARCHIVE_PATH": str(settings.archive_path),
    }
