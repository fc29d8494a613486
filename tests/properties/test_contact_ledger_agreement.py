"""The server-side ledger functions and the engine's definition of a refusal agree on whatever the ledger holds."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.contact_ledger import (
    MANDATORY_FLAG,
    Alternative,
    ContactClock,
    ContactRecord,
    ContactRule,
    ReservationRequest,
    Scope,
    decode_records,
    encode_records,
    first_refusal,
)
from decision_engine.identifiers import CustomerId
from decision_engine.outcomes import ContactStatus, Outcome, status_of
from services.adapters.embedded_servers import embedded_valkey
from services.adapters.redis_client import RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.ports import ContactResponse

pytestmark = pytest.mark.servers
NOW = 1_700_000_000_000
CUSTOMER = CustomerId("retail:1")
KEYS = RedisKeys("kairos", "0" * 16)


class Ledger:
    """A ledger on a real server, driven from synchronous tests."""

    def __init__(self, runner: asyncio.Runner, client: RedisClient) -> None:
        self._runner = runner
        self._client = client
        self._ledger = RedisContactLedger(client, KEYS)

    def put(self, records: list[ContactRecord]) -> None:
        self._runner.run(self._client.execute("FLUSHALL"))
        self._runner.run(self._client.execute("SET", KEYS.ledger(CUSTOMER), encode_records(records)))

    def records(self) -> tuple[ContactRecord, ...]:
        return decode_records(self._runner.run(self._ledger.read(CUSTOMER)))

    def reserve(self, request: ReservationRequest) -> list[int | None]:
        return self._runner.run(self._ledger.reserve(CUSTOMER, request))

    def respond(self, responses: list[ContactResponse]) -> list[bool]:
        return self._runner.run(self._ledger.respond(CUSTOMER, responses))


@pytest.fixture(scope="module")
def ledger() -> Iterator[Ledger]:
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as folder:
        stack = AsyncExitStack()
        server = runner.run(stack.enter_async_context(embedded_valkey(Path(folder))))
        opening = RedisClient.open(f"redis://127.0.0.1:{server.port}", library=FUNCTION_LIBRARY)
        client = runner.run(stack.enter_async_context(opening))
        yield Ledger(runner, client)
        runner.run(stack.aclose())


small_key = st.integers(1, 3)
moment = st.integers(-5, 5).map(lambda n: float(NOW + n * 1000))
statuses = st.one_of(st.just(1), st.integers(0, 63).map(lambda bits: 1 | bits << 1))
tracking = st.integers(0, 5).map(lambda n: n.to_bytes(8, "little"))
records = st.lists(
    st.builds(
        ContactRecord,
        tracking=tracking,
        offer=small_key,
        group=small_key,
        issue=small_key,
        channel=small_key,
        status=statuses,
        flags=st.sampled_from([0, MANDATORY_FLAG]),
        reserved_ms=moment,
        expires_ms=moment,
        contact_ms=moment,
        outcome_ms=st.one_of(st.just(0.0), moment),
    ),
    max_size=8,
)
rules = st.lists(
    st.builds(
        ContactRule,
        id=st.just("rule"),
        scope=st.sampled_from(Scope),
        key=small_key,
        statuses=st.integers(1, 127),
        clock=st.sampled_from(ContactClock),
        since_ms=moment,
        limit=st.integers(0, 4),
        code=st.just("CODE"),
    ),
    max_size=3,
).map(tuple)
alternatives = st.lists(
    st.builds(
        Alternative,
        tracking=tracking,
        offer=small_key,
        group=small_key,
        issue=small_key,
        channel=small_key,
        mandatory=st.booleans(),
        rules=rules,
    ),
    max_size=4,
).map(tuple)
requests = st.builds(
    ReservationRequest,
    now_ms=st.just(NOW),
    lapses_ms=st.just(NOW + 600_000),
    positions=st.lists(alternatives, max_size=3).map(tuple),
    allow_duplicates=st.booleans(),
)


def reserved_by_definition(
    request: ReservationRequest, held: list[ContactRecord]
) -> tuple[list[int | None], list[ContactRecord]]:
    """What reserving means, in terms of `first_refusal` alone."""
    held = [r for r in held if not (r.status == ContactStatus.RESERVED and r.expires_ms <= request.now_ms)]
    taken: list[int | None] = []
    offered: set[int] = set()
    for position in request.positions:
        choice = None
        for index, a in enumerate(position):
            if a.offer in offered and not request.allow_duplicates:
                continue
            if first_refusal(a.rules, held, request.now_ms) is None:
                choice = index
                offered.add(a.offer)
                held.append(reservation(a, request))
                break
        taken.append(choice)
    return taken, held


def reservation(a: Alternative, request: ReservationRequest) -> ContactRecord:
    now = float(request.now_ms)
    flags = MANDATORY_FLAG if a.mandatory else 0
    keys = (a.tracking, a.offer, a.group, a.issue, a.channel)
    return ContactRecord(*keys, int(ContactStatus.RESERVED), flags, now, float(request.lapses_ms), now, 0.0)


@settings(max_examples=150, deadline=None)
@given(held=records, request=requests)
def test_reserving_takes_exactly_what_the_rules_allow(
    ledger: Ledger, held: list[ContactRecord], request: ReservationRequest
) -> None:
    ledger.put(held)
    taken, after = reserved_by_definition(request, held)
    assert ledger.reserve(request) == taken
    assert ledger.records() == tuple(after if any(index is not None for index in taken) else held)


responses = st.lists(
    st.builds(
        ContactResponse,
        response_id=st.uuids().map(str),
        tracking=tracking,
        outcome=st.sampled_from(Outcome),
        at_ms=moment.map(int),
        offer=small_key,
        group=small_key,
        issue=small_key,
        channel=small_key,
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(given_responses=responses, data=st.data())
def test_responses_end_alike_in_any_order_and_however_often_they_come(
    ledger: Ledger, given_responses: list[ContactResponse], data: st.DataObject
) -> None:
    reserved = [
        ContactRecord(n.to_bytes(8, "little"), 1, 2, 3, 4, 1, 0, float(NOW), float(NOW + 600_000), float(NOW), 0.0)
        for n in range(6)
    ]
    ledger.put(reserved)
    assert all(ledger.respond(given_responses))
    expected = ledger.records()
    again = data.draw(st.permutations(given_responses + given_responses[:2]))
    ledger.put(reserved)
    applied = [ledger.respond([response])[0] for response in again]
    assert sum(applied) == len(given_responses)
    assert ledger.records() == expected
    for record in expected:
        mine = [r for r in given_responses if r.tracking == record.tracking]
        assert record.status == 1 | sum({int(status_of(r.outcome)) for r in mine})
        assert record.contact_ms == (min(r.at_ms for r in mine) if mine else NOW)
        outcomes = [r.at_ms for r in mine if r.outcome is not Outcome.IMPRESSION]
        assert record.outcome_ms == max(outcomes, default=0)
