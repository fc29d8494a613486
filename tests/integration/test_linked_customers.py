"""Households and companies over a real store: memberships noted by the builder's step, states read for a decision."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from decision_engine.customer import CustomerSnapshot
from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.definitions import Value
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate, Update
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.identifiers import CustomerId, key64
from decision_engine.prepared import PreparedStrategy, prepare
from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import topic_for
from services.adapters.embedded_servers import embedded_valkey
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_keys import MEMBERS_KEPT, RedisKeys
from services.adapters.redis_link_members import RedisLinkMembers
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.adapters.system_clock import SystemClock
from services.ports import Delivery, Membership, StateWrite
from services.use_cases.event_batches import read_batch
from services.use_cases.ingest_events import IngestEvents
from services.use_cases.linked_customers import memberships, with_linked

pytestmark = pytest.mark.servers
STRATEGY = Path(__file__).parents[2] / "deploy/strategies/demo_bank"
NOW = 1_795_000_000_000
ANNA, BEN, CORP = CustomerId("retail:1"), CustomerId("retail:2"), CustomerId("corp:9")


@dataclass(slots=True)
class Town:
    """Customers whose events become states and memberships, as the state builder's step does it."""

    prepared: PreparedStrategy
    features: CompiledFeatures
    client: RedisClient
    events: int = 0

    @property
    def keys(self) -> RedisKeys:
        return RedisKeys("kairos", self.features.layout)

    async def happens(self, who: CustomerId, source: str, fields: dict[str, Value], **attributes: Value) -> None:
        self.events += 1
        at_ms = NOW - 3_600_000 + self.events
        update = Update(
            event_key=key64(str(self.events)), source=source, time_ms=at_ms, fields=fields, attributes=attributes
        )
        updates = [PositionedUpdate(2, self.events, update)]
        await RedisLinkMembers(self.client, self.keys).join(memberships(self.prepared.strategy.links, {who: updates}))
        store = RedisStateStore(self.client, self.keys)
        before = await store.load(who)
        assert await store.save_many([StateWrite(who, before, fold(self.features, before, updates).value)]) == []

    async def is_known(self, who: CustomerId, **attributes: Value) -> None:
        await self.happens(who, "bank.profile.updated", {}, **attributes)

    async def sees(self, who: CustomerId) -> CustomerSnapshot:
        state = await RedisStateStore(self.client, self.keys).load(who)
        reader = RedisDecisionStore(self.client, self.keys)
        return await with_linked(self, reader, who, read_snapshot(self.features, state, NOW), NOW)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    strategy = load_strategy_file(STRATEGY)
    async with (
        embedded_valkey(tmp_path) as server,
        RedisClient.open(f"redis://127.0.0.1:{server.port}", library=FUNCTION_LIBRARY) as client,
    ):
        yield Town(prepare(strategy), compile_features(strategy.declarations, EVENT_FIELDS), client)


def told(who: CustomerId, number: int, kind: str, data: Mapping[str, object]) -> Delivery:
    """The record of an event of Anna's or Ben's; the number is its place in the log, and in time."""
    time = from_epoch_ms(NOW - 3_600_000 + number)
    event = encode_trusted(kind, {"id": f"{who}-{number}", "source": "core", "subject": who, "time": time}, data)
    return Delivery(topic_for(kind), 0 if who == ANNA else 1, number, who.encode(), event, ())


async def test_a_household_is_seen_by_each_of_its_members(town: Town) -> None:
    await town.is_known(ANNA, household_id="H1", aum=500, age=40, vip=True)
    assert (await town.sees(ANNA)).attributes["household_size"] == 1
    await town.is_known(BEN, household_id="H1", aum=700, age=9)
    for who in (ANNA, BEN):
        seen = (await town.sees(who)).attributes
        assert (seen["household_size"], seen["household_aum"], seen["household_youngest"]) == (2, 1200, 9)
        assert seen["household_vip"] is True


async def test_who_moves_out_is_gone_at_once_and_counts_in_the_new_home(town: Town) -> None:
    await town.is_known(ANNA, household_id="H1", aum=500)
    await town.is_known(BEN, household_id="H1", aum=700)
    await town.is_known(BEN, household_id="H2")
    assert (await town.sees(ANNA)).attributes["household_aum"] == 500
    assert (await town.sees(BEN)).attributes["household_aum"] == 700


async def test_who_is_erased_is_gone_at_once(town: Town) -> None:
    await town.is_known(ANNA, household_id="H1", aum=500)
    await town.is_known(BEN, household_id="H1", aum=700)
    await town.happens(BEN, "bank.customer.erased", {})
    assert (await town.sees(ANNA)).attributes["household_aum"] == 500


async def test_an_erasure_leaves_no_name_behind_unless_the_customer_came_back_since(town: Town) -> None:
    """As the state builder takes it, over several batches and again after a crash."""
    store = RedisStateStore(town.client, town.keys)
    ingest = IngestEvents(
        store=store,
        ledger=RedisContactLedger(town.client, town.keys),
        fold=partial(fold, town.features),
        metrics=PrometheusMetrics(),
        clock=SystemClock(),
        links=town.prepared.strategy.links,
        members=RedisLinkMembers(town.client, town.keys),
        read=partial(read_snapshot, town.features),
    )
    home = {"attributes": {"household_id": "H1"}}
    known = [told(ANNA, 0, "bank.profile.updated", home), told(BEN, 0, "bank.profile.updated", home)]
    erased = [told(who, 2, "bank.customer.erased", {}) for who in (ANNA, BEN)]
    consent = {"purpose": "personalisation", "granted": True}
    back = [told(BEN, 3, "bank.consent.changed", consent), told(BEN, 4, "bank.profile.updated", home)]
    await ingest.apply(read_batch(known, None))
    for batch in ([*erased, *back], [*known, *erased, *back]):
        await ingest.apply(read_batch(batch, None))
        members = await town.client.execute("ZRANGE", town.keys.members("household", "H1"), 0, -1)
        assert members == [BEN.encode()]


async def test_who_refuses_personalisation_neither_gives_nor_takes(town: Town) -> None:
    await town.is_known(ANNA, household_id="H1", aum=500)
    await town.is_known(BEN, household_id="H1", aum=700)
    await town.happens(BEN, "bank.consent.changed", {"purpose": "personalisation", "granted": False})
    assert (await town.sees(ANNA)).attributes["household_aum"] == 500
    assert "household_aum" not in (await town.sees(BEN)).attributes


async def test_an_owner_sees_the_company(town: Town) -> None:
    await town.is_known(ANNA, company_id=CORP)
    assert "company_bad_signals_90d" not in (await town.sees(ANNA)).attributes
    signal: dict[str, Value] = {"signal": "lawsuit", "grade": "B", "direction": "negative"}
    await town.happens(CORP, "bank.business.signal", signal)
    assert (await town.sees(ANNA)).attributes["company_bad_signals_90d"] == 1


async def test_memberships_are_bounded_and_the_newest_stay(town: Town) -> None:
    members = RedisLinkMembers(town.client, town.keys)
    await members.join(
        [Membership("household", "H1", CustomerId(f"retail:{i}"), i) for i in range(1, MEMBERS_KEPT + 11)]
    )
    await members.join([Membership("household", "H1", CustomerId("retail:70"), 1)])  # late news changes nothing
    name = town.keys.members("household", "H1")
    assert await town.client.execute("ZCARD", name) == MEMBERS_KEPT
    assert await town.client.execute("ZSCORE", name, "retail:70") == b"70"
    assert await town.client.execute("ZSCORE", name, "retail:10") is None
