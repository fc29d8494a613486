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
    LOST_FLAG,
    MANDATORY_FLAG,
    OUTBOUND_FLAG,
    Alternative,
    ContactClock,
    ContactRecord,
    ContactRule,
    Direction,
    ReservationRequest,
    Scope,
    decode_records,
    encode_records,
)
from decision_engine.identifiers import CustomerId
from decision_engine.ledger_steps import MAX_RECORDS, RETENTION_MS, merged, pruned, released, reserved
from decision_engine.outcomes import Outcome, status_of
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

    def restore(self, records: list[ContactRecord], now_ms: int) -> int:
        return self._runner.run(self._ledger.restore(CUSTOMER, records, [], now_ms))

    def release(self, trackings: list[bytes]) -> None:
        self._runner.run(self._ledger.release(CUSTOMER, trackings))

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
one_record = st.builds(
    ContactRecord,
    tracking=tracking,
    offer=small_key,
    group=small_key,
    issue=small_key,
    channel=small_key,
    status=statuses,
    flags=st.sampled_from([0, MANDATORY_FLAG, OUTBOUND_FLAG, MANDATORY_FLAG | OUTBOUND_FLAG]),
    reserved_ms=moment,
    expires_ms=moment,
    contact_ms=moment,
    outcome_ms=st.one_of(st.just(0.0), moment),
)
mark = st.builds(
    ContactRecord,
    tracking=st.just(bytes(8)),
    offer=st.just(0),
    group=st.just(0),
    issue=st.just(0),
    channel=st.just(0),
    status=st.integers(1, 127),
    flags=st.just(LOST_FLAG),
    reserved_ms=st.just(0.0),
    expires_ms=st.just(0.0),
    contact_ms=moment,
    outcome_ms=st.one_of(st.just(0.0), moment),
)
records = st.builds(lambda marks, rest: [*marks, *rest], st.lists(mark, max_size=1), st.lists(one_record, max_size=8))
distinct_records = st.lists(one_record, max_size=6, unique_by=lambda record: record.tracking)


def repeated(marks: list[ContactRecord], pattern: list[ContactRecord], size: int) -> list[ContactRecord]:
    """A ledger of that size, its records numbered and otherwise in the pattern's rhythm."""
    rhythm = (pattern[n % len(pattern)] for n in range(size))
    return marks + [r._replace(tracking=(1000 + n).to_bytes(8, "little")) for n, r in enumerate(rhythm)]


crowded = st.builds(
    repeated,
    st.lists(mark, max_size=1),
    st.lists(one_record, min_size=1, max_size=7),
    st.integers(MAX_RECORDS - 3, MAX_RECORDS + 3),
)
rules = st.lists(
    st.builds(
        ContactRule,
        id=st.just("rule"),
        scope=st.sampled_from(Scope),
        key=small_key,
        statuses=st.integers(1, 127),
        clock=st.sampled_from(ContactClock),
        since_ms=st.one_of(moment, st.integers(-5, -1).map(lambda n: n * 1000.0)),
        limit=st.integers(0, 4),
        code=st.just("CODE"),
        without=st.one_of(st.just(0), st.integers(0, 62).map(lambda bits: bits << 1)),
        direction=st.sampled_from(Direction),
    ),
    max_size=3,
).map(tuple)
alternatives = st.lists(
    st.builds(
        Alternative,
        offer=small_key,
        group=small_key,
        issue=small_key,
        channel=small_key,
        mandatory=st.booleans(),
        outbound=st.booleans(),
        rules=rules,
    ),
    max_size=4,
).map(tuple)


def asked(positions: list[tuple[bytes, tuple[Alternative, ...]]], *, allow_duplicates: bool) -> ReservationRequest:
    return ReservationRequest(
        now_ms=NOW,
        lapses_ms=NOW + 600_000,
        trackings=tuple(key for key, _ in positions),
        positions=tuple(choices for _, choices in positions),
        allow_duplicates=allow_duplicates,
    )


requests = st.builds(
    asked, positions=st.lists(st.tuples(tracking, alternatives), max_size=3), allow_duplicates=st.booleans()
)


@settings(max_examples=150, deadline=None)
@given(held=records, request=requests)
def test_reserving_takes_exactly_what_the_rules_allow(
    ledger: Ledger, held: list[ContactRecord], request: ReservationRequest
) -> None:
    ledger.put(held)
    taken, after = reserved(held, request)
    assert ledger.reserve(request) == taken
    assert ledger.records() == after


@settings(max_examples=60, deadline=None)
@given(held=crowded, request=requests)
def test_a_full_ledger_drops_and_refuses_as_defined(
    ledger: Ledger, held: list[ContactRecord], request: ReservationRequest
) -> None:
    ledger.put(held)
    taken, after = reserved(held, request)
    assert ledger.reserve(request) == taken
    assert ledger.records() == after
    assert len(after) <= max(MAX_RECORDS, len(held) if all(index is None for index in taken) else 0)


@settings(max_examples=80, deadline=None)
@given(held=distinct_records, others=distinct_records, now=moment)
def test_merging_what_the_log_says_is_as_defined_and_idempotent(
    ledger: Ledger, held: list[ContactRecord], others: list[ContactRecord], now: float
) -> None:
    ledger.put(held)
    expected = pruned(merged(held, others), now, RETENTION_MS)
    for _ in range(2):
        assert ledger.restore(others, int(now)) == len(expected)
        # An empty ledger is not written over one whose records have merely lapsed.
        assert not expected or ledger.records() == expected


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
        flags=st.sampled_from([0, MANDATORY_FLAG, OUTBOUND_FLAG]),
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


@settings(max_examples=40, deadline=None)
@given(records, st.lists(tracking, max_size=3))
def test_the_server_gives_back_what_is_only_reserved(
    ledger: Ledger, held: list[ContactRecord], trackings: list[bytes]
) -> None:
    ledger.put(held)
    ledger.release(trackings)
    assert ledger.records() == released(held, trackings)
