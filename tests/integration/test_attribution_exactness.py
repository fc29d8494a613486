"""The attributor on real servers: a lead is credited though nobody typed anything, and a crash changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest

from decision_engine.attribution_rules import CompiledAttribution, compile_attribution
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.identifiers import CustomerId
from decision_engine.strategy import Strategy
from event_schemas.codec import decode, encode, encode_trusted
from event_schemas.control import StrategyAct, StrategyActivated
from event_schemas.conversions import ConversionAttributed
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import ALL_TOPICS, CONTROL, CONVERSIONS, DECISIONS, PROFILE_UPDATES, RESPONSES
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_topics import ensure_topics
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.bootstrap import open_event_stream, open_publisher, open_strategy_versions
from services.commands.attributor import (
    GROUP,
    LAYOUT,
    METRICS,
    assemble,
    attribute_conversions,
    attribute_for_active,
)
from services.ports import OutgoingEvent
from services.settings import Settings
from services.use_cases.attribution_report import AttributionQuery, CreditedBy, CreditModel, report
from services.use_cases.live_strategy import ACTIVE_SUBJECT
from services.workers.attributor import FactBatch
from services.workers.attributor_events import ConversionEvents
from services.workers.attributor_facts import FactReader
from services.workers.attributor_values import read_memory
from services.workers.consumer import BatchConsumer, Pace

pytestmark = pytest.mark.servers
NOW = 1_795_254_600_000
DAY = 86_400_000
WAIT_S = 30
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
  - {name: gold, group: cards, product: gold_card, title: {en: Gold}, value: 5000, base_rate: 0.1,
     treatments: [{name: main, channel: mobile, placements: [banner], content: {en: {title: x}}},
                  {name: call, channel: manager, placements: [lead], content: {en: {title: x}}}]}
placements:
  - {id: banner, channel: mobile, max_count: 1, fallback: {treatment: none, content: {en: {title: x}}}}
  - {id: lead, channel: manager, max_count: 3, fallback: {treatment: none2, content: {en: {title: x}}}}
attribution:
  window: 30d
  offered: [manager]
  conversions: [{response: convert}, {event: bank.product.opened, match: product}]
"""


class Crash(BaseException):
    """The attributor's process ends here."""


@dataclass(frozen=True)
class Scene:
    settings: Settings
    strategy: Strategy
    attribution: CompiledAttribution
    publisher: KafkaEventPublisher
    client: RedisClient

    @asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        stop = asyncio.Event()
        task = asyncio.create_task(
            attribute_conversions(self.settings, self.strategy, PrometheusMetrics(METRICS), stop)
        )
        try:
            yield task
        finally:
            stop.set()
            async with asyncio.timeout(WAIT_S):
                await task

    async def until_crash(self, step: str) -> None:
        """An attributor that dies at its first pass of that step."""
        reader = FactReader(self.attribution)
        stream = open_event_stream(self.settings, reader.topics(), GROUP)
        events = ConversionEvents(self.attribution, self.strategy.version, self.strategy.currency)
        work = await assemble(
            self.settings, reader, events, (self.client, self.publisher, stream), self.attribution,
            PrometheusMetrics(METRICS),
        )  # fmt: skip

        def fail_point(passed: str) -> None:
            if passed == step:
                raise Crash

        consumer: BatchConsumer[FactBatch] = BatchConsumer(
            stream, replace(work, fail_point=fail_point), Pace(jitter=lambda: 0.5)
        )
        async with stream, asyncio.timeout(WAIT_S):
            with pytest.raises(Crash):
                await consumer.run(asyncio.Event())

    async def conversions(self, wanted: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Everything on the topic once it looks as wanted."""
        found: list[dict[str, Any]] = []
        async with open_event_stream(self.settings, [CONVERSIONS]) as stream, asyncio.timeout(WAIT_S):
            while not wanted(found):
                for delivery in await stream.poll(1_000, 0.1):
                    assert delivery.value is not None
                    assert isinstance(decode(delivery.value), ConversionAttributed)
                    found.append(orjson.loads(delivery.value)["data"])
        return found

    async def memory(self, customer: str) -> Any:
        store = RedisStateStore(self.client, RedisKeys(self.settings.namespace, LAYOUT))
        return read_memory(await store.load(CustomerId(customer))).memory


@pytest.fixture
async def scene(servers: Any, tmp_path: Path) -> AsyncIterator[Scene]:
    settings = Settings(
        kafka_bootstrap_servers=servers.bootstrap_servers,
        kafka_idempotence=False,
        kafka_session_timeout_ms=1000,
        redis_url=servers.redis_url,
        clock="events",
    )
    await ensure_topics(settings.kafka_bootstrap_servers, ALL_TOPICS, partitions=2, replication=1)
    path = tmp_path / "strategy.yaml"
    path.write_text(STRATEGY, encoding="utf-8")
    strategy = load_strategy_file(path)
    attribution = compile_attribution(strategy, EVENT_FIELDS)
    assert attribution is not None
    async with (
        open_publisher(settings) as publisher,
        RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY) as client,
    ):
        yield Scene(settings, strategy, attribution, publisher, client)


def event(topic: str, event_type: str, customer: str, at_ms: int, data: Mapping[str, object]) -> OutgoingEvent:
    header = {"id": f"e{next(_numbers)}", "source": "test", "subject": customer, "time": from_epoch_ms(at_ms)}
    return OutgoingEvent(topic=topic, key=customer, value=encode_trusted(event_type, header, data))


def decision(customer: str, decision_id: str, channel: str, at_ms: int, arm: str = "full") -> OutgoingEvent:
    treatment = "gold.manager.call" if channel == "manager" else "gold.mobile.main"
    placement = "lead" if channel == "manager" else "banner"
    option = {"rank": 1, "offer": "gold", "treatment": treatment, "tracking_id": f"{decision_id}.0"}
    data = {
        "decision_id": decision_id, "customer_id": customer, "time": from_epoch_ms(at_ms), "channel": channel,
        "placements_asked": [{"id": placement, "count": 1}], "locale": "en", "strategy_version": "s",
        "feature_layout": "l", "arm": arm, "personalised": True,
        "placements": [{"id": placement, "options": [option]}],
    }  # fmt: skip
    return event(DECISIONS, "nbo.decision.made", customer, at_ms, data)


def response(customer: str, decision_id: str, outcome: str, at_ms: int, channel: str = "mobile") -> OutgoingEvent:
    unique = f"r{next(_numbers)}"
    data = {
        "response_id": unique, "tracking_id": f"{decision_id}.0", "decision_id": decision_id, "customer_id": customer,
        "offer": "gold", "group": "cards", "issue": "acquire", "treatment": "gold.mobile.main", "channel": channel,
        "placement": "banner", "outcome": outcome, "time": from_epoch_ms(at_ms), "decided_at": from_epoch_ms(at_ms),
        "detail": {},
    }  # fmt: skip
    return event(RESPONSES, "nbo.response.recorded", customer, at_ms, data)


def opened(customer: str, at_ms: int) -> OutgoingEvent:
    return event(PROFILE_UPDATES, "bank.product.opened", customer, at_ms, {"product": "gold_card"})


def newest(found: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    best: dict[str, Mapping[str, Any]] = {}
    for one in found:
        before = best.get(one["conversion_id"])
        if before is None or one["revision"] > before["revision"]:
            best[one["conversion_id"]] = one
    return best


async def test_a_managers_lead_is_credited_when_the_customer_opens_the_product(scene: Scene) -> None:
    """S9: nobody types anything, neither that the lead was seen nor that it led to something."""
    async with scene.running():
        await scene.publisher.publish([decision("retail:1", "L1", "manager", NOW)])
        await scene.publisher.publish([opened("retail:1", NOW + 3 * DAY), opened("retail:2", NOW)])
        (found,) = (newest(await scene.conversions(lambda found: len(found) >= 1))).values()
    assert (found["customer_id"], found["counted"], found["cause"]["type"]) == ("retail:1", True, "bank.product.opened")
    (credit,) = found["credits"]
    assert (credit["channel"], credit["touch"], credit["arm"], credit["value"]) == ("manager", "offered", "full", 5000)
    assert (credit["last_touch"], credit["shared"]) == (1.0, 1.0)


async def test_a_late_touch_and_an_earlier_conversion_correct_what_was_said(scene: Scene) -> None:
    async with scene.running():
        await scene.publisher.publish([decision("retail:1", "L1", "manager", NOW)])
        await scene.publisher.publish([opened("retail:1", NOW + 3 * DAY)])
        await scene.conversions(lambda found: len(found) >= 1)
        await scene.publisher.publish([response("retail:1", "M1", "impression", NOW + DAY)])
        corrected = await scene.conversions(lambda found: any(len(one["credits"]) == 2 for one in found))
        assert [len(one["credits"]) for one in sorted(corrected, key=lambda one: one["revision"])] == [1, 2]
        await scene.publisher.publish([response("retail:1", "M1", "convert", NOW + 2 * DAY)])
        found = newest(await scene.conversions(lambda found: any(not one["counted"] for one in found)))
    counted = [one for one in found.values() if one["counted"]]
    (void,) = [one for one in found.values() if not one["counted"]]
    assert [one["cause"]["outcome"] for one in counted] == ["convert"]
    assert (void["superseded_by"], void["credits"]) == (counted[0]["conversion_id"], [])
    events = [orjson.dumps({"data": one}) for one in found.values()]
    query = AttributionQuery(since_ms=0, until_ms=1, by=CreditedBy.CHANNEL, model=CreditModel.SHARED)
    summed = report(events, query)
    assert summed.conversions == 1.0
    assert {row.name: row.conversions for row in summed.rows} == {"manager": 0.5, "mobile": 0.5}


async def test_the_role_follows_a_switch_of_the_strategy(scene: Scene, tmp_path: Path) -> None:
    """The version before attributes nothing; the next one credits what was offered meanwhile, too."""
    silent, speaking = tmp_path / "silent.yaml", tmp_path / "strategy.yaml"
    silent.write_text(STRATEGY[: STRATEGY.index("attribution:")], encoding="utf-8")
    settings = replace(scene.settings, strategy_path=silent, strategy_archive=tmp_path / "versions")
    version = scene.strategy.version
    open_strategy_versions(settings).register(version, speaking)
    stop = asyncio.Event()
    role = asyncio.create_task(attribute_for_active(settings, PrometheusMetrics(METRICS), stop))
    await scene.publisher.publish([decision("retail:1", "L1", "manager", NOW)])
    act = StrategyAct(name="small", version=version, actor="somebody")
    activated = StrategyActivated(id="a1", source="test", subject=ACTIVE_SUBJECT, time=from_epoch_ms(NOW), data=act)
    await scene.publisher.publish([OutgoingEvent(topic=CONTROL, key=ACTIVE_SUBJECT, value=encode(activated))])
    await scene.publisher.publish([opened("retail:1", NOW + 3 * DAY)])
    (found,) = newest(await scene.conversions(lambda found: len(found) >= 1)).values()
    assert [credit["channel"] for credit in found["credits"]] == ["manager"]
    assert not role.done()
    stop.set()
    async with asyncio.timeout(WAIT_S):
        await role


async def test_a_crash_neither_loses_nor_doubles_a_conversion(scene: Scene) -> None:
    """One dies between publishing and saving, the next between saving and committing, the third goes on."""
    for step, numbers in (("conversions published", range(20)), ("memories saved", range(20, 40))):
        await scene.publisher.publish(histories(numbers))
        await scene.until_crash(step)
    async with scene.running():
        await scene.publisher.publish(histories(range(40, 41)))
        customers = {f"retail:{number}" for number in range(41)}
        found = await scene.conversions(lambda found: all_engaged(found, customers))
    finals = newest(found)
    assert len(finals) == len(customers), "one conversion a customer, however often it was published"
    for final in finals.values():
        same = [one for one in found if (one["conversion_id"], one["revision"]) == (
            final["conversion_id"], final["revision"])]  # fmt: skip
        assert all(one == final for one in same)


def histories(numbers: range) -> list[OutgoingEvent]:
    """A lead, a click and an opened product of each customer."""
    customers = [(number, f"retail:{number}") for number in numbers]
    return [
        *(decision(customer, f"L{number}", "manager", NOW) for number, customer in customers),
        *(response(customer, f"L{number}", "click", NOW + DAY, "manager") for number, customer in customers),
        *(opened(customer, NOW + 2 * DAY) for _, customer in customers),
    ]


def all_engaged(found: Sequence[Mapping[str, Any]], customers: set[str]) -> bool:
    """Whether every customer's conversion is credited to the click, in the arm of the decision."""
    done = {
        one["customer_id"]
        for one in newest(found).values()
        if [(credit["touch"], credit.get("arm")) for credit in one["credits"]] == [("engaged", "full")]
    }
    return customers <= done


async def test_erasing_a_customer_removes_the_touches(scene: Scene) -> None:
    async with scene.running():
        await scene.publisher.publish([decision("retail:1", "L1", "manager", NOW)])
        await scene.publisher.publish([opened("retail:1", NOW + DAY)])
        await scene.conversions(lambda found: len(found) >= 1)
        await scene.publisher.publish([event(PROFILE_UPDATES, "bank.customer.erased", "retail:1", NOW + 2 * DAY, {})])
        async with asyncio.timeout(WAIT_S):
            while (await scene.memory("retail:1")).touches:
                await asyncio.sleep(0.05)
    memory = await scene.memory("retail:1")
    assert not memory.conversions and not memory.unseen and not memory.published


async def test_after_a_loss_of_the_store_the_log_is_read_again_and_says_the_same(scene: Scene) -> None:
    async with scene.running():
        await scene.publisher.publish([decision("retail:1", "L1", "manager", NOW)])
        await scene.publisher.publish([opened("retail:1", NOW + DAY)])
        (before,) = newest(await scene.conversions(lambda found: len(found) >= 1)).values()
        await scene.client.execute("FLUSHALL")
        await scene.client.load_library()
        await scene.publisher.publish([response("retail:1", "L1", "click", NOW + DAY // 2, "manager")])
        found = await scene.conversions(
            lambda found: any(credit["touch"] == "engaged" for one in found for credit in one["credits"])
        )
    (after,) = newest(found).values()
    assert after["conversion_id"] == before["conversion_id"]
    assert after["revision"] > before["revision"]
    assert [(credit["touch"], credit["tracking_id"]) for credit in after["credits"]] == [("engaged", "L1.0")]
