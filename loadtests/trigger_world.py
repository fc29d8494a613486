"""A small bank with triggers on real servers: what the trigger tests and measurements share.

`python -m loadtests.trigger_world` is one state builder of it, configured by the environment, to be killed at will.
"""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import uvloop

from decision_engine.contact_ledger import ContactRecord, decode_records
from decision_engine.identifiers import CustomerId
from event_schemas.codec import decode, encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.outbound import OutboundCancelled, OutboundOffered
from event_schemas.topics import ALL_TOPICS, CHANNEL_EVENTS, OUTBOUND, PROFILE_UPDATES, RESPONSES, TRANSACTIONS
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_topics import ensure_topics
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.adapters.system_clock import SystemClock
from services.bootstrap import LoadedStrategy, load_strategy, open_publisher
from services.commands.state_builder import build_states
from services.ports import OutgoingEvent
from services.settings import Settings, read_settings

PARTITIONS = 2
WAIT_S = 40.0
Decoded = OutboundOffered | OutboundCancelled

STRATEGY = """
name: trigger_bank
time_zone: Asia/Shanghai
currency: CNY
locales: [zh-CN, en]
consents:
  - {name: marketing, default: granted, text: {zh-CN: 营销, en: Marketing}}
  - {name: personalisation, default: granted, text: {zh-CN: 个性化, en: Personalisation}}
profile:
  - {name: locale, type: string, theme: basic, description: {zh-CN: 语言, en: Language}}
  - {name: owner_manager, type: string, theme: basic, description: {zh-CN: 客户经理, en: Owner manager}}
features:
  - {name: inflow, source: bank.transaction.posted, where: 'direction == "credit"', aggregate: sum, field: amount,
     windows: [30d], theme: transaction, description: {zh-CN: 流入, en: Inflow}, default: 0}
models: [{name: cross_sell}]
issues: [{name: grow, title: {zh-CN: 提升, en: Grow}}]
groups:
  - {name: loans, issue: grow, model: cross_sell, title: {zh-CN: 贷款, en: Loans}}
  - {name: wealth, issue: grow, model: cross_sell, title: {zh-CN: 财富, en: Wealth}}
offers:
  - name: loan_help
    group: loans
    title: {zh-CN: 贷款协助, en: Help with the loan}
    value: 5000
    base_rate: 0.2
    treatments:
      - {name: text, channel: sms, placements: [outbound_message],
         content: {zh-CN: {body: 继续申请}, en: {body: Go on}}}
      - {name: lead, channel: manager, placements: [inbox_lead], content: {zh-CN: {title: 贷款}, en: {title: Loan}},
         script: {zh-CN: 您好, en: Good day}}
      - {name: banner, channel: mobile, placements: [home_banner], content: {zh-CN: {title: 贷款}, en: {title: Loan}}}
  - name: wealth_review
    group: wealth
    title: {zh-CN: 财富规划, en: Wealth review}
    value: 9000
    base_rate: 0.2
    treatments:
      - {name: text, channel: sms, placements: [outbound_message], content: {zh-CN: {body: 规划}, en: {body: Review}}}
      - {name: lead, channel: manager, placements: [inbox_lead], content: {zh-CN: {title: 财富}, en: {title: Wealth}}}
placements:
  - {id: outbound_message, channel: sms, max_count: 1,
     fallback: {treatment: generic.sms.text, content: {zh-CN: {body: 您好}, en: {body: Hello}}}}
  - {id: inbox_lead, channel: manager, max_count: 3,
     fallback: {treatment: generic.manager.lead, content: {zh-CN: {title: 您好}, en: {title: Hello}}}}
  - {id: home_banner, channel: mobile, max_count: 1,
     fallback: {treatment: generic.mobile.banner, content: {zh-CN: {title: 您好}, en: {title: Hello}}}}
contact_policy:
  reservation_seconds: 600
  outbound: [sms, manager]
  limits:
    - {id: once_a_day, scope: offer, limit: @CAP@, window: 1d, code: CAP_OFFER, text: {zh-CN: 上限, en: Cap}}
@QUIET@
triggers:
  - name: large_inflow
    title: {zh-CN: 大额资金到账, en: Large inflow}
    on: {event: bank.transaction.posted, where: 'direction == "credit"'}
    before: 'event.amount >= 3 * inflow_30d'
    when: 'event.amount >= 5000000 && inflow_30d >= 5000000'
    offers: {groups: [wealth]}
    contact: {placement: inbox_lead, count: 1, recipient: owner_manager}
    expires: 12h
    urgent: true
  - name: form_abandoned
    title: {zh-CN: 申请未完成, en: Form left unfinished}
    on:
      absence: {event: bank.channel.form_submitted, where: 'form == "loan"'}
      after: {event: bank.channel.form_opened, where: 'form == "loan"'}
      within: @WITHIN@
      same: form_id
    offers: {groups: [loans]}
    cancelled_by: [{event: bank.channel.form_submitted, where: 'form == "loan"'}]
    contact: {placement: outbound_message}
    waves: [{after: @WAVE@, placement: inbox_lead}]
    expires: 1h
"""


def strategy_text(*, within: str = "1s", wave: str = "1h", cap: int = 20, quiet: str = "") -> str:
    """The strategy, with the lengths and limits a test wants."""
    text = STRATEGY.replace("@WITHIN@", within).replace("@WAVE@", wave).replace("@CAP@", str(cap))
    return text.replace("@QUIET@", quiet)


@dataclass(slots=True)
class TriggerBank:
    """The servers with their topics, and what a bank and its channels do."""

    settings: Settings
    environment: Mapping[str, str]
    loaded: LoadedStrategy
    publisher: KafkaEventPublisher
    client: RedisClient
    servers: EmbeddedServers
    _numbers: Any = field(default_factory=count)

    @staticmethod
    def now_ms() -> int:
        return now_ms()

    @property
    def keys(self) -> RedisKeys:
        return RedisKeys(self.settings.namespace, self.loaded.features.layout)

    async def post(self, *events: OutgoingEvent) -> dict[tuple[str, int], int]:
        """Publishes; answers for each partition the next offset after them."""
        ends: dict[tuple[str, int], int] = {}
        for topic, partition, offset in await self.publisher.publish(events):
            ends[topic, partition] = max(ends.get((topic, partition), 0), offset + 1)
        return ends

    def event(
        self, event_type: str, customer: str, data: Mapping[str, object], at_ms: int | None = None
    ) -> OutgoingEvent:
        """An event as of now, or of that moment."""
        time = from_epoch_ms(now_ms() if at_ms is None else at_ms)
        header = {"id": f"{os.getpid()}-{next(self._numbers)}", "source": "core", "subject": customer, "time": time}
        return OutgoingEvent(topic=_TOPICS[event_type], key=customer, value=encode_trusted(event_type, header, data))

    def inflow(self, customer: str, amount: int = 6_000_000, at_ms: int | None = None) -> OutgoingEvent:
        data = {"account_id": "a", "direction": "credit", "amount": amount, "currency": "CNY", "kind": "salary"}
        return self.event("bank.transaction.posted", customer, data, at_ms)

    def form(self, act: str, customer: str, form_id: str = "f1", at_ms: int | None = None) -> OutgoingEvent:
        """`act` is opened or submitted."""
        return self.event(f"bank.channel.form_{act}", customer, {"form": "loan", "form_id": form_id}, at_ms)

    def profile(self, customer: str, at_ms: int | None = None, **attributes: object) -> OutgoingEvent:
        return self.event("bank.profile.updated", customer, {"attributes": attributes or {"locale": "zh-CN"}}, at_ms)

    def response(self, offered: OutboundOffered, outcome: str) -> OutgoingEvent:
        """The customer's answer to the first option of a contact."""
        option, contact, at = offered.data.options[0], offered.data, from_epoch_ms(now_ms())
        data = {
            "response_id": f"{option.tracking_id}-{outcome}",
            "tracking_id": option.tracking_id,
            "decision_id": contact.decision_id,
            "customer_id": contact.customer_id,
            "offer": option.offer,
            "group": "loans",
            "issue": "grow",
            "treatment": option.treatment,
            "channel": contact.channel,
            "placement": contact.placement,
            "outcome": outcome,
            "time": at,
            "decided_at": at,
            "detail": {},
        }
        return self.event("nbo.response.recorded", contact.customer_id, data)

    async def until_applied(self, ends: Mapping[tuple[str, int], int]) -> None:
        """Waits until the states hold everything before these offsets."""
        async with asyncio.timeout(WAIT_S):
            while True:
                values = await self.client.execute("HMGET", self.keys.progress, *(f"{t}/{p}" for t, p in ends))
                assert isinstance(values, list)
                held = [int(v) if isinstance(v, bytes) else 0 for v in values]
                if all(at >= end for at, end in zip(held, ends.values(), strict=True)):
                    return
                await asyncio.sleep(0.02)

    async def until_complete(self) -> None:
        """Waits until decisions rely on the states."""
        async with asyncio.timeout(WAIT_S):
            while True:
                if await self.client.execute("EXISTS", self.keys.complete) == 1:
                    return
                await asyncio.sleep(0.02)

    async def until_settled_but_waves(self) -> None:
        """Waits until nothing is due but what was planned for later."""
        async with asyncio.timeout(WAIT_S):
            while True:
                if all(at > now_ms() for _, at in await self.due_customers()):
                    return
                await asyncio.sleep(0.02)

    async def due_customers(self) -> list[tuple[str, int]]:
        """Everybody of whom something is due, and when."""
        found: list[tuple[str, int]] = []
        for partition in range(PARTITIONS):
            reply = await self.client.execute("ZRANGE", self.keys.due(partition), 0, -1, "WITHSCORES")
            assert isinstance(reply, list)
            flat = [item for item in reply if isinstance(item, bytes)]
            found += [(name.decode(), int(float(at))) for name, at in zip(flat[::2], flat[1::2], strict=True)]
        return found

    async def contacts(self, customer: str) -> tuple[ContactRecord, ...]:
        return decode_records(await RedisContactLedger(self.client, self.keys).read(CustomerId(customer)))

    async def record(self, decision_id: str) -> dict[str, Any]:
        """The data of a decision's record in the store."""
        value = await RedisDecisionStore(self.client, self.keys).record(decision_id)  # type: ignore[arg-type]
        assert value is not None, f"no record of {decision_id}"
        data: dict[str, Any] = orjson.loads(value)["data"]
        return data

    @asynccontextmanager
    async def builder(
        self, metrics: PrometheusMetrics | None = None, loaded: LoadedStrategy | None = None
    ) -> AsyncIterator["asyncio.Task[None]"]:
        """A state builder that fires, stopped gracefully on leaving."""
        stop, serving = asyncio.Event(), loaded or self.loaded
        task = asyncio.create_task(
            build_states(self.settings, serving.features, metrics or PrometheusMetrics(), stop, firing_for=serving)
        )
        try:
            yield task
        finally:
            stop.set()
            async with asyncio.timeout(WAIT_S):
                await task

    async def builder_process(self) -> asyncio.subprocess.Process:
        """A state builder as a process of its own, to be killed."""
        environment = {**os.environ, **self.environment, "PYTHONPATH": os.pathsep.join(sys.path)}
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loadtests.trigger_world", env=environment, cwd=Path(__file__).parents[1]
        )


class OutboundReader:
    """What a channel reads: the outbound topic from its beginning."""

    def __init__(self, stream: KafkaEventStream) -> None:
        self._stream = stream
        self.events: list[Decoded] = []

    @staticmethod
    @asynccontextmanager
    async def open(bank: TriggerBank) -> "AsyncIterator[OutboundReader]":
        async with KafkaEventStream(bank.settings.kafka_bootstrap_servers, [OUTBOUND]) as stream:
            yield OutboundReader(stream)

    async def poll(self, timeout_s: float = 0.1) -> list[Decoded]:
        """What is new."""
        new: list[Decoded] = []
        for delivery in await self._stream.poll(1_000, timeout_s):
            event = decode(delivery.value or b"")
            assert isinstance(event, OutboundOffered | OutboundCancelled)
            new.append(event)
        self.events += new
        return new

    async def until(self, number: int) -> list[Decoded]:
        """Waits for so many events altogether."""
        async with asyncio.timeout(WAIT_S):
            while len(self.events) < number:
                await self.poll()
        return self.events

    async def silence(self, seconds: float) -> list[Decoded]:
        """Everything, after nothing new came for so long."""
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        while loop.time() - quiet_since < seconds:
            if await self.poll():
                quiet_since = loop.time()
        return self.events

    def offered(self) -> list[OutboundOffered]:
        return [event for event in self.events if isinstance(event, OutboundOffered)]

    def repeats(self) -> Sequence[str]:
        """Ids that stand on the topic more than once."""
        return [id_ for id_, number in Counter(event.id for event in self.offered()).items() if number > 1]


_TOPICS = {
    "bank.transaction.posted": TRANSACTIONS,
    "bank.channel.form_opened": CHANNEL_EVENTS,
    "bank.channel.form_submitted": CHANNEL_EVENTS,
    "bank.channel.page_view": CHANNEL_EVENTS,
    "bank.profile.updated": PROFILE_UPDATES,
    "bank.customer.erased": PROFILE_UPDATES,
    "nbo.response.recorded": RESPONSES,
}


def now_ms() -> int:
    return SystemClock().now_ms()


def reload(bank: TriggerBank, folder: Path, text: str) -> LoadedStrategy:
    """Another version of the strategy, for the same bank."""
    path = folder / f"strategy-{abs(hash(text))}.yaml"
    path.write_text(text)
    return load_strategy(read_settings({**bank.environment, "KAIROS_STRATEGY_PATH": str(path)}))


@asynccontextmanager
async def trigger_bank(folder: Path, text: str | None = None, **settings: str) -> AsyncIterator[TriggerBank]:
    """The bank on fresh servers."""
    async with EmbeddedServers.start(folder / "servers") as servers:
        path = folder / "strategy.yaml"
        path.write_text(strategy_text() if text is None else text)
        environment = {
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "KAIROS_KAFKA_IDEMPOTENCE": "false",
            "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "1000",
            "KAIROS_KAFKA_PARTITIONS": str(PARTITIONS),
            "KAIROS_REDIS_URL": servers.redis_url,
            "KAIROS_STRATEGY_PATH": str(path),
            "KAIROS_MODEL_PATH": str(folder / "models"),
            "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
            **settings,
        }
        made = read_settings(environment)
        await ensure_topics(made.kafka_bootstrap_servers, ALL_TOPICS, partitions=PARTITIONS, replication=1)
        async with (
            open_publisher(made) as publisher,
            RedisClient.open(made.redis_url, library=FUNCTION_LIBRARY) as client,
        ):
            yield TriggerBank(made, environment, load_strategy(made), publisher, client, servers)


def main() -> None:
    """One builder, until it is killed."""
    settings = read_settings(os.environ)
    loaded = load_strategy(settings)
    building = build_states(settings, loaded.features, PrometheusMetrics(), asyncio.Event(), firing_for=loaded)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(building)


if __name__ == "__main__":
    main()
