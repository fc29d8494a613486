"""Contact ledgers made anew from the bus are those that traffic made, whatever happened to the store."""

import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import orjson
import pytest

from decision_engine.contact_ledger import ContactRecord, decode_records
from decision_engine.decision import PlacementRequest
from decision_engine.features.compiled import compile_features
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.identifiers import CustomerId, PlacementId
from decision_engine.ledger_steps import RETENTION_MS, pruned
from decision_engine.outcomes import ContactStatus, Outcome
from decision_engine.prepared import prepare
from decision_engine.strategy import Strategy
from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import ALL_TOPICS, DECISIONS, PROFILE_UPDATES, RESPONSES
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_topics import ensure_topics
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.adapters.ulid_ids import UlidIds
from services.commands.rebuild import rebuild_ledgers
from services.ports import OutgoingEvent
from services.settings import Settings
from services.use_cases.contacts_in_log import ContactsInLog
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.make_decision import DecisionPorts, Live, MakeDecision
from services.use_cases.rebuild_ledger import RebuildLedger, Rebuilt
from services.use_cases.record_response import RecordResponse, ResponseCommand, ResponsesTaken

pytestmark = pytest.mark.servers
STRATEGY = Path(__file__).parents[1] / "golden" / "contact_policy" / "strategy.yaml"
START = 1_781_700_000_000
MINUTE = 60_000
LAPSE = 10 * MINUTE
CUSTOMERS = [CustomerId(f"retail:{number}") for number in range(12)]
PLACEMENTS = {"app": "app_page", "sms": "sms_message", "phone": "phone_call"}


@dataclass
class SteppingClock:
    """Stands until it is moved."""

    moment: int = START

    def now_ms(self) -> int:
        return self.moment


@dataclass
class Traffic:
    """A bank at work over real servers: decisions, responses, an erasure."""

    client: RedisClient
    publisher: KafkaEventPublisher
    redis_url: str
    bootstrap_servers: str
    strategy: Strategy
    clock: SteppingClock = field(default_factory=SteppingClock)
    late: set[str] = field(default_factory=set)
    """Tracking ids answered after their reservation had lapsed."""
    said: list[ResponseCommand] = field(default_factory=list)

    def __post_init__(self) -> None:
        features = compile_features(self.strategy.declarations, EVENT_FIELDS)
        self.keys = RedisKeys("rebuilt", features.layout)
        self.ledger = RedisContactLedger(self.client, self.keys)
        self.store = RedisDecisionStore(self.client, self.keys)
        live = Live.of(prepare(self.strategy), features, {})
        metrics = PrometheusMetrics()
        self.decide = MakeDecision(
            DecisionPorts(
                live=lambda: live,
                store=self.store,
                ledger=self.ledger,
                publisher=self.publisher,
                clock=self.clock,
                ids=UlidIds(),
                metrics=metrics,
            )
        )
        self.respond = RecordResponse(
            store=self.store, ledger=self.ledger, publisher=self.publisher, clock=self.clock, metrics=metrics
        )

    async def ask(self, customer: CustomerId, channel: str) -> list[str]:
        answer = orjson.loads(
            await self.decide(
                DecisionCommand(
                    client="app",
                    customer_id=customer,
                    channel=channel,
                    placements=(PlacementRequest(id=PlacementId(PLACEMENTS[channel]), count=2),),
                    locale="en",
                    started_s=perf_counter(),
                    timeout_ms=1000,
                )
            )
        )
        return [option["tracking_id"] for option in answer["placements"][0].get("options", ())]

    async def say(self, tracking_id: str, outcome: Outcome) -> None:
        command = ResponseCommand(
            response_id=f"{tracking_id}-{outcome}", tracking_id=tracking_id, outcome=outcome, at_ms=self.clock.moment
        )
        assert (await self.respond([command])).accepted == 1
        self.said.append(command)

    async def repeat_everything(self) -> ResponsesTaken:
        return await self.respond(self.said)

    async def work(self, chance: random.Random, rounds: int) -> None:
        """Visits, answers at once, answers long after, and silence."""
        open_options: list[tuple[int, str]] = []
        for _ in range(rounds):
            self.clock.moment += chance.randrange(MINUTE, 8 * MINUTE)
            answered = await self.ask(chance.choice(CUSTOMERS), chance.choice(list(PLACEMENTS)))
            open_options += [(self.clock.moment, tracking_id) for tracking_id in answered]
            self.clock.moment += chance.randrange(1_000)
            chance.shuffle(open_options)
            while open_options and chance.random() < 0.6:
                since, tracking_id = open_options.pop()
                if self.clock.moment >= since + LAPSE:
                    self.late.add(tracking_id)
                await self.say(tracking_id, Outcome.IMPRESSION)
                if chance.random() < 0.5:
                    self.clock.moment += chance.randrange(1_000)
                    await self.say(tracking_id, chance.choice([o for o in Outcome if o is not Outcome.IMPRESSION]))

    async def erase(self, customer: CustomerId) -> None:
        header = {"id": f"erase-{customer}", "source": "bank", "subject": customer}
        time = from_epoch_ms(self.clock.moment).isoformat().replace("+00:00", "Z")
        value = encode_trusted("bank.customer.erased", header | {"time": time}, {"request_id": "e1"})
        await self.publisher.publish([OutgoingEvent(topic=PROFILE_UPDATES, key=customer, value=value)])
        await self.ledger.forget(customer, self.clock.moment)

    async def ledgers(self) -> dict[CustomerId, tuple[ContactRecord, ...]]:
        """What counts of each ledger, in an order that is the same for equal contents."""
        found = {}
        for customer in CUSTOMERS:
            records = pruned(decode_records(await self.ledger.read(customer)), self.clock.moment, RETENTION_MS)
            if records:
                found[customer] = tuple(sorted(records, key=lambda record: record.tracking))
        return found

    async def rebuild(self) -> tuple[Rebuilt, list[int]]:
        done: list[int] = []
        rebuild = RebuildLedger(
            ledger=self.ledger,
            contacts=ContactsInLog.of(self.strategy),
            clock=self.clock,
            on_progress=done.append,
        )
        streams = [
            KafkaEventStream(self.bootstrap_servers, [topic]) for topic in (PROFILE_UPDATES, RESPONSES, DECISIONS)
        ]
        async with streams[0] as profiles, streams[1] as responses, streams[2] as decisions:
            return await rebuild(profiles, responses, decisions), done


@pytest.fixture
async def traffic(servers: EmbeddedServers) -> AsyncIterator[Traffic]:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=2, replication=1)
    loaded = load_strategy_file(STRATEGY)
    # Everybody may have everything, so that the contacts are many; caps hold.
    free = tuple(
        replace(o, purpose="service", risk_level=None, eligibility=(), applicability=(), suitability=())
        for o in loaded.offers
    )
    limits = tuple(
        limit for limit in loaded.contact_limits if limit.id in ("offer_twice_in_7d", "rejected", "accepted")
    )
    strategy = replace(loaded, offers=free, contact_limits=limits, quiet_times=())
    async with (
        RedisClient.open(servers.redis_url, library=FUNCTION_LIBRARY) as client,
        KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher,
    ):
        made = Traffic(client, publisher, servers.redis_url, servers.bootstrap_servers, strategy)
        await client.execute("SET", made.keys.complete, "1")
        yield made


def plain(
    ledgers: Mapping[CustomerId, tuple[ContactRecord, ...]], *, answered_only: bool = False
) -> dict[CustomerId, list[ContactRecord]]:
    """Without when a contact was reserved and would have lapsed: of one that was answered no rule asks for it, and
    one that had lapsed before its answer no longer knows."""
    found = {
        customer: [r if is_open(r) else r._replace(reserved_ms=0.0, expires_ms=0.0) for r in records]
        for customer, records in ledgers.items()
    }
    if not answered_only:
        return found
    answered = {customer: [r for r in records if not is_open(r)] for customer, records in found.items()}
    return {customer: records for customer, records in answered.items() if records}


def is_open(record: ContactRecord) -> bool:
    return record.status == ContactStatus.RESERVED


async def test_a_ledger_made_anew_from_the_log_is_the_one_that_traffic_made(traffic: Traffic) -> None:
    chance = random.Random(7)
    await traffic.work(chance, 60)
    await traffic.erase(CUSTOMERS[0])
    await traffic.work(chance, 60)
    assert traffic.late, "some answers come after their reservation has lapsed"
    lived = await traffic.ledgers()
    assert sum(map(len, lived.values())) > 50

    await traffic.client.execute("DEL", *(traffic.keys.ledger(customer) for customer in CUSTOMERS))
    rebuilt, progress = await traffic.rebuild()
    assert plain(await traffic.ledgers()) == plain(lived)
    assert rebuilt.unreadable == 0
    assert rebuilt.responses == len(traffic.said)
    assert progress == sorted(progress)
    assert progress[-1] == rebuilt.events


async def test_the_command_may_be_repeated_over_what_is_there_and_restores_the_memory_of_responses(
    traffic: Traffic,
) -> None:
    await traffic.work(random.Random(11), 25)
    settings = Settings(
        kafka_bootstrap_servers=traffic.bootstrap_servers,
        kafka_idempotence=False,
        redis_url=traffic.redis_url,
        namespace=traffic.keys.namespace,
        strategy_path=STRATEGY,
    )
    lived = plain(await traffic.ledgers(), answered_only=True)
    await rebuild_ledgers(settings)
    assert plain(await traffic.ledgers(), answered_only=True) == lived

    markers = [traffic.keys.response(customer, said.response_id) for customer in CUSTOMERS for said in traffic.said]
    await traffic.client.execute("DEL", *markers, *(traffic.keys.ledger(customer) for customer in CUSTOMERS))
    rebuilt = await rebuild_ledgers(settings)
    assert rebuilt.customers == len(lived)
    once = await traffic.ledgers()
    assert plain(once, answered_only=True) == lived
    taken = await traffic.repeat_everything()
    assert (taken.accepted, taken.duplicates) == (0, len(traffic.said))
    assert await traffic.ledgers() == once
