"""Caps that cannot leak: many deciders at once, lapsing reservations, responses known at once and counted once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

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
)
from decision_engine.identifiers import CustomerId, key32
from decision_engine.outcomes import ContactStatus, Outcome
from services.adapters.redis_client import ClientLimits, RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.ports import ContactResponse, EarlierResponse, ResponseClaim

pytestmark = pytest.mark.servers
NOW = 1_700_000_000_000
DAY = 86_400_000
CUSTOMER = CustomerId("retail:1787")
KEYS = RedisKeys("kairos", "00ff00ff00ff00ff")
ANY = int(ContactStatus.RESERVED | ContactStatus.ANY_RESPONSE)
PATIENT = ClientLimits(timeout_s=5.0)


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[RedisClient]:
    async with RedisClient.open(store_url, limits=PATIENT, library=FUNCTION_LIBRARY) as opened:
        yield opened


@pytest.fixture
def ledger(client: RedisClient) -> RedisContactLedger:
    return RedisContactLedger(client, KEYS)


def cap(
    limit: int, scope: Scope = Scope.ALL, key: int = 0, statuses: int = ANY, since: float = NOW - DAY
) -> ContactRule:
    return ContactRule("cap", scope, key, statuses, ContactClock.CONTACT, since, limit, "CAP")


def alternative(*rules: ContactRule, offer: str = "gold_card", mandatory: bool = False) -> Alternative:
    return Alternative(
        offer=key32(offer),
        group=key32("cards"),
        issue=key32("acquire"),
        channel=key32("mobile"),
        mandatory=mandatory,
        rules=rules,
    )


def one(number: int, choice: Alternative, now: int = NOW, lapses: int | None = None) -> ReservationRequest:
    return asked((choice,), first=number, now=now, lapses=lapses)


def asked(
    *positions: tuple[Alternative, ...],
    first: int = 1,
    now: int = NOW,
    lapses: int | None = None,
    allow_duplicates: bool = False,
) -> ReservationRequest:
    """Positions whose tracking keys count up from the first."""
    return ReservationRequest(
        now_ms=now,
        lapses_ms=lapses or now + 600_000,
        trackings=tuple(number.to_bytes(8, "little") for number in range(first, first + len(positions))),
        positions=positions,
        allow_duplicates=allow_duplicates,
    )


def response(number: int, outcome: Outcome, at: int = NOW, response_id: str | None = None) -> ContactResponse:
    return ContactResponse(
        response_id=response_id or f"r{number}-{outcome}",
        tracking=number.to_bytes(8, "little"),
        outcome=outcome,
        at_ms=at,
        offer=key32("gold_card"),
        group=key32("cards"),
        issue=key32("acquire"),
        channel=key32("mobile"),
    )


async def held(ledger: RedisContactLedger) -> tuple[ContactRecord, ...]:
    return decode_records(await ledger.read(CUSTOMER))


async def test_a_thousand_deciders_at_once_take_exactly_the_cap(ledger: RedisContactLedger) -> None:
    requests = [one(i, alternative(cap(5))) for i in range(1000)]
    answers = await asyncio.gather(*(ledger.reserve(CUSTOMER, request) for request in requests))
    taken = [i for i, answer in enumerate(answers) if answer == [0]]
    assert len(taken) == 5
    assert sorted(int.from_bytes(r.tracking, "little") for r in await held(ledger)) == taken


async def test_the_next_alternative_is_taken_where_a_cap_was_hit_within_the_same_request(
    ledger: RedisContactLedger,
) -> None:
    gold = alternative(cap(1, Scope.OFFER, key32("gold_card")))
    travel = alternative(cap(1, Scope.OFFER, key32("travel_card")), offer="travel_card")
    request = asked((gold, travel), (gold, travel), (gold, travel), allow_duplicates=True)
    assert await ledger.reserve(CUSTOMER, request) == [0, 1, None]


async def test_an_offer_is_taken_once_a_request_unless_duplicates_are_allowed(ledger: RedisContactLedger) -> None:
    positions = ((alternative(),), (alternative(),))
    assert await ledger.reserve(CUSTOMER, asked(*positions)) == [0, None]
    twice = asked(*positions, allow_duplicates=True)
    assert await ledger.reserve(CUSTOMER, twice) == [0, 0]


async def test_a_reservation_never_shown_lapses_and_frees_the_cap(ledger: RedisContactLedger) -> None:
    assert await ledger.reserve(CUSTOMER, one(1, alternative(cap(1)), lapses=NOW + 1000)) == [0]
    assert await ledger.reserve(CUSTOMER, one(2, alternative(cap(1)), now=NOW + 999)) == [None]
    assert await ledger.reserve(CUSTOMER, one(3, alternative(cap(1)), now=NOW + 1000)) == [0]
    assert [r.tracking[0] for r in await held(ledger)] == [3]


async def test_an_impression_turns_a_reservation_into_a_contact_that_does_not_lapse(ledger: RedisContactLedger) -> None:
    await ledger.reserve(CUSTOMER, one(1, alternative(cap(1)), lapses=NOW + 1000))
    assert await ledger.respond(CUSTOMER, [response(1, Outcome.IMPRESSION, NOW + 500)]) == [True]
    assert await ledger.reserve(CUSTOMER, one(2, alternative(cap(1)), now=NOW + 5000)) == [None]
    (record,) = await held(ledger)
    assert (record.status, record.contact_ms, record.outcome_ms) == (3, NOW + 500, 0)


async def test_a_rejection_is_seen_by_the_very_next_reservation(ledger: RedisContactLedger) -> None:
    suppression = ContactRule(
        "lately", Scope.OFFER, key32("gold_card"), ContactStatus.REJECT, ContactClock.OUTCOME, NOW - DAY, 1, "REJECTED"
    )
    assert await ledger.reserve(CUSTOMER, one(1, alternative(suppression))) == [0]
    await ledger.respond(CUSTOMER, [response(1, Outcome.REJECT)])
    assert await ledger.reserve(CUSTOMER, one(2, alternative(suppression))) == [None]


async def test_a_response_id_counts_once_even_among_concurrent_callers(ledger: RedisContactLedger) -> None:
    await ledger.reserve(CUSTOMER, one(1, alternative()))
    answers = await asyncio.gather(
        *(ledger.respond(CUSTOMER, [response(1, Outcome.CLICK, NOW + i, "same")]) for i in range(50))
    )
    assert sum(answer == [True] for answer in answers) == 1
    assert await ledger.respond(CUSTOMER, [response(1, Outcome.CLICK, NOW, "same")]) == [False]


async def test_what_the_log_brought_first_is_new_once_to_who_takes_it(ledger: RedisContactLedger) -> None:
    """The state builder may read a response from the bus before the API, which put it there, reaches the ledger."""
    said = [response(1, Outcome.IMPRESSION, NOW + 500, "seen"), response(1, Outcome.CLICK, NOW + 600, "clicked")]
    await ledger.reserve(CUSTOMER, one(1, alternative()))
    assert await ledger.respond(CUSTOMER, said[:1], from_log=True) == [True]
    first = await held(ledger)
    assert await ledger.respond(CUSTOMER, said[:1], from_log=True) == [False]
    assert await ledger.respond(CUSTOMER, said) == [True, True]
    assert (await held(ledger))[0].contact_ms == first[0].contact_ms, "applied once"
    assert await ledger.respond(CUSTOMER, said) == [False, False]
    assert await ledger.respond(CUSTOMER, said, from_log=True) == [False, False]
    assert await ledger.respond(CUSTOMER, said) == [False, False], "the log takes nothing back"


async def test_a_response_id_is_bound_to_the_first_it_was_given_for(ledger: RedisContactLedger) -> None:
    def claim(customer: CustomerId, says: str) -> ResponseClaim:
        return ResponseClaim(customer_id=customer, response_id="app/r1", says=says)

    other = CustomerId("retail:9")
    assert await ledger.claim_responses([claim(CUSTOMER, "click of a.0"), claim(other, "accept of b.0")]) == [
        EarlierResponse(),
        EarlierResponse(said="click of a.0"),
    ]
    await ledger.respond(CUSTOMER, [response(1, Outcome.CLICK, response_id="app/r1")], from_log=True)
    (read,) = await ledger.claim_responses([claim(CUSTOMER, "click of a.0")])
    assert (read.published, read.taken) == (True, False)
    await ledger.respond(CUSTOMER, [response(1, Outcome.CLICK, response_id="app/r1")])
    (taken,) = await ledger.claim_responses([claim(CUSTOMER, "click of a.0")])
    assert (taken.said, taken.published, taken.taken) == ("click of a.0", True, True)
    (elsewhere,) = await ledger.claim_responses([claim(other, "accept of b.0")])
    assert (elsewhere.said, elsewhere.taken) == ("click of a.0", False)


async def test_a_contact_the_ledger_has_lost_is_made_anew_by_its_response(ledger: RedisContactLedger) -> None:
    assert await ledger.respond(CUSTOMER, [response(9, Outcome.ACCEPT, NOW + 5)]) == [True]
    (record,) = await held(ledger)
    assert (record.offer, record.channel) == (key32("gold_card"), key32("mobile"))
    assert (record.status, record.contact_ms, record.outcome_ms) == (9, NOW + 5, NOW + 5)


async def test_a_full_ledger_keeps_256_marks_what_it_dropped_and_forgets_after_the_retention(
    ledger: RedisContactLedger,
) -> None:
    for i in range(1, 301):
        await ledger.reserve(CUSTOMER, one(i, alternative(), now=NOW + i))
    mark, *records = await held(ledger)
    assert (mark.flags, mark.status, mark.contact_ms) == (LOST_FLAG, ContactStatus.RESERVED, NOW + 45)
    assert [int.from_bytes(r.tracking, "little") for r in records] == list(range(46, 301))
    await ledger.respond(CUSTOMER, [response(299, Outcome.IMPRESSION, NOW + 400)])
    await ledger.reserve(CUSTOMER, one(1000, alternative(), now=NOW + 400 * DAY + 100))
    assert [int.from_bytes(r.tracking, "little") for r in await held(ledger)] == [299, 1000]  # the mark has aged too
    await ledger.reserve(CUSTOMER, one(1001, alternative(), now=NOW + 401 * DAY))
    assert [int.from_bytes(r.tracking, "little") for r in await held(ledger)] == [1001]


async def test_a_cap_whose_window_reaches_dropped_contacts_refuses_and_a_shorter_one_still_counts(
    ledger: RedisContactLedger,
) -> None:
    gold = cap(200, Scope.OFFER, key32("gold_card"), since=NOW)
    for i in range(1, 200):
        assert await ledger.reserve(CUSTOMER, one(i, alternative(gold), now=NOW + i)) == [0]
    for i in range(200, 500):
        await ledger.reserve(CUSTOMER, one(i, alternative(offer="travel_card"), now=NOW + i))
    counted = [record for record in await held(ledger) if record.offer == key32("gold_card")]
    assert len(counted) == 0
    assert await ledger.reserve(CUSTOMER, one(501, alternative(gold), now=NOW + 501)) == [None]
    shorter = cap(200, Scope.OFFER, key32("gold_card"), since=NOW + 300)
    assert await ledger.reserve(CUSTOMER, one(502, alternative(shorter), now=NOW + 502)) == [0]


async def test_a_refusal_outlives_any_number_of_contacts_nobody_answered(ledger: RedisContactLedger) -> None:
    await ledger.reserve(CUSTOMER, one(1, alternative()))
    await ledger.respond(CUSTOMER, [response(1, Outcome.REJECT)])
    for i in range(2, 700):
        await ledger.reserve(CUSTOMER, one(i, alternative(offer="travel_card"), now=NOW + i))
    suppression = ContactRule(
        "lately", Scope.OFFER, key32("gold_card"), ContactStatus.REJECT, ContactClock.OUTCOME, NOW, 1, "REJECTED"
    )
    assert await ledger.reserve(CUSTOMER, one(701, alternative(suppression), now=NOW + 701)) == [None]
    other = suppression._replace(key=key32("travel_card"))
    assert await ledger.reserve(CUSTOMER, one(702, alternative(other, offer="travel_card"), now=NOW + 702)) == [0]


async def test_an_outbound_cap_counts_what_the_bank_sent_and_not_what_the_customer_looked_up(
    ledger: RedisContactLedger,
) -> None:
    outbound = cap(1)._replace(direction=Direction.OUTBOUND)
    sent = alternative(outbound)._replace(outbound=True)
    await ledger.reserve(CUSTOMER, one(1, alternative()))
    assert await ledger.reserve(CUSTOMER, one(2, sent)) == [0]
    assert [r.flags for r in await held(ledger)] == [0, OUTBOUND_FLAG]
    again = alternative(outbound)._replace(outbound=True)
    assert await ledger.reserve(CUSTOMER, one(3, again)) == [None]


async def test_what_was_shown_without_a_response_counts_until_it_has_one(ledger: RedisContactLedger) -> None:
    ignored = ContactRule(
        "ignored", Scope.OFFER, key32("gold_card"), ContactStatus.IMPRESSION, ContactClock.CONTACT, NOW - DAY, 2, "X",
        without=ContactStatus.ANY_RESPONSE & ~ContactStatus.IMPRESSION,
    )  # fmt: skip
    for i in (1, 2):
        await ledger.reserve(CUSTOMER, one(i, alternative()))
        await ledger.respond(CUSTOMER, [response(i, Outcome.IMPRESSION)])
    assert await ledger.reserve(CUSTOMER, one(3, alternative(ignored))) == [None]
    await ledger.respond(CUSTOMER, [response(2, Outcome.CLICK)])
    assert await ledger.reserve(CUSTOMER, one(3, alternative(ignored))) == [0]


async def test_a_contact_made_anew_by_its_response_keeps_its_direction(ledger: RedisContactLedger) -> None:
    await ledger.respond(CUSTOMER, [replace(response(9, Outcome.ACCEPT), flags=OUTBOUND_FLAG)])
    assert [r.flags for r in await held(ledger)] == [OUTBOUND_FLAG]


async def test_an_erased_person_is_forgotten_up_to_the_erasure_and_no_further(ledger: RedisContactLedger) -> None:
    await ledger.reserve(CUSTOMER, one(1, alternative()))
    await ledger.reserve(CUSTOMER, one(2, alternative(), now=NOW + 2000))
    await ledger.forget(CUSTOMER, NOW + 1000)
    await ledger.forget(CUSTOMER, NOW + 1000)
    assert [r.tracking[0] for r in await held(ledger)] == [2]
    await ledger.forget(CUSTOMER, NOW + 2000)
    assert await ledger.read(CUSTOMER) is None


async def test_ledger_and_response_markers_expire(ledger: RedisContactLedger, client: RedisClient) -> None:
    await ledger.reserve(CUSTOMER, one(1, alternative(mandatory=True)))
    await ledger.respond(CUSTOMER, [response(1, Outcome.IMPRESSION, response_id="r")])
    kept_ms = await client.execute("PTTL", KEYS.divided(client.tags).ledger(CUSTOMER))
    marked_s = await client.execute("TTL", KEYS.divided(client.tags).response(CUSTOMER, "r"))
    assert isinstance(kept_ms, int)
    assert isinstance(marked_s, int)
    assert 399 * DAY < kept_ms <= 400 * DAY
    assert 34 * 86_400 < marked_s <= 35 * 86_400
    assert [r.flags for r in await held(ledger)] == [MANDATORY_FLAG]
