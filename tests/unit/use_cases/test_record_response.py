"""Responses: bus first, then ledger; repeats, strangers and mistakes."""

from typing import Any

import orjson
import pytest

from decision_engine.outcomes import Outcome
from event_schemas.codec import decode
from services.ports import BusUnavailable, EarlierResponse, StoreUnavailable
from services.use_cases.record_response import ResponseCommand

MINUTE = 60_000


@pytest.fixture
async def tracking_id(make_decision: Any, command: Any, bank: Any) -> str:
    answer = orjson.loads(await make_decision(command()))
    bank.bus.events.clear()
    return str(answer["placements"][0]["options"][0]["tracking_id"])


def response(tracking_id: str, response_id: str = "r1", **overrides: Any) -> ResponseCommand:
    return ResponseCommand(
        **({"response_id": response_id, "tracking_id": tracking_id, "outcome": Outcome.CLICK} | overrides)
    )


async def test_a_response_is_an_event_with_its_own_id_about_the_customer(
    bank: Any, record_response: Any, tracking_id: str
) -> None:
    taken = await record_response([response(tracking_id, detail={"screen": "home"})])
    assert (taken.accepted, taken.duplicates, taken.rejected) == (1, 0, ())
    (event,) = bank.bus.events
    decoded = decode(event.value)
    assert (event.topic, event.key, decoded.id) == ("nbo.responses.v1", "retail:1", "r1")
    assert (decoded.data.offer, decoded.data.outcome, decoded.data.detail) == ("gold_card", "click", {"screen": "home"})
    assert decoded.time_ms == bank.clock.moment, "now, when no time is given"
    assert bank.metrics.seen["responses_total", "click"] == 1


async def test_a_repeated_response_id_is_a_duplicate(bank: Any, record_response: Any, tracking_id: str) -> None:
    taken = await record_response([response(tracking_id), response(tracking_id)])
    assert (taken.accepted, taken.duplicates) == (1, 1)
    assert len(bank.bus.events) == 1
    again = await record_response([response(tracking_id)])
    assert (again.accepted, again.duplicates) == (0, 1)
    assert bank.metrics.seen["responses_total", "click"] == 1


async def test_a_repeated_response_goes_onto_the_bus_once(bank: Any, record_response: Any, tracking_id: str) -> None:
    for accepted in (1, 0, 0):
        assert (await record_response([response(tracking_id, client="app")])).accepted == accepted
    assert len(bank.bus.events) == 1


async def test_a_response_id_given_for_something_else_is_refused_by_name(
    bank: Any, record_response: Any, make_decision: Any, command: Any, tracking_id: str
) -> None:
    bank.store.states["retail:2"] = bank.store.states["retail:1"]
    answer = orjson.loads(await make_decision(command(customer_id="retail:2")))
    other = answer["placements"][0]["options"][0]["tracking_id"]
    bank.bus.events.clear()
    assert (await record_response([response(tracking_id)])).accepted == 1
    said = f"response_id r1 was used before, for click of {tracking_id}"
    for changed in (response(other), response(tracking_id, outcome=Outcome.ACCEPT)):
        taken = await record_response([changed])
        assert (taken.accepted, taken.duplicates, taken.rejected) == (0, 0, ((0, said),))
    assert len(bank.bus.events) == 1


async def test_of_one_batch_the_first_use_of_a_response_id_counts(record_response: Any, tracking_id: str) -> None:
    clicked, accepted = response(tracking_id), response(tracking_id, outcome=Outcome.ACCEPT)
    taken = await record_response([response("nobody.0"), clicked, accepted, clicked])
    assert (taken.accepted, taken.duplicates) == (1, 1)
    assert taken.rejected == (
        (0, "unknown tracking_id nobody.0"),
        (2, f"response_id r1 was used before, for click of {tracking_id}"),
    )


async def test_two_clients_may_give_the_same_response_id(bank: Any, record_response: Any, tracking_id: str) -> None:
    for client in ("app", "branch/7"):
        accepted = response(tracking_id, client=client, outcome=Outcome.ACCEPT)
        assert (await record_response([accepted])).accepted == 1
        assert (await record_response([accepted])).duplicates == 1
    sources = [decode(event.value).source for event in bank.bus.events]
    assert sources == ["kairos/app", "kairos/branch%2F7"]


async def test_what_the_log_was_read_to_say_is_taken_but_not_said_again(
    bank: Any, record_response: Any, tracking_id: str
) -> None:
    """The API stopped between the bus and the ledger; the state builder was quicker than the client's repeat."""

    async def in_log(claims: Any) -> list[EarlierResponse]:
        return [EarlierResponse(said=claim.says, published=True) for claim in claims]

    bank.store.claim_responses = in_log
    assert (await record_response([response(tracking_id)])).accepted == 1
    assert bank.bus.events == []


async def test_an_unknown_tracking_id_is_refused_by_name_and_the_others_are_taken(
    record_response: Any, tracking_id: str
) -> None:
    taken = await record_response([response("nobody.0", "a"), response(tracking_id, "b"), response("none.1", "c")])
    assert taken.accepted == 1
    assert taken.rejected == ((0, "unknown tracking_id nobody.0"), (2, "unknown tracking_id none.1"))


async def test_an_option_of_anothers_channel_is_as_unknown_as_none(record_response: Any, tracking_id: str) -> None:
    taken = await record_response([response(tracking_id)], frozenset({"branch"}))
    assert taken.rejected == ((0, f"unknown tracking_id {tracking_id}"),)


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        ({"channel": "branch"}, "channel"),
        ({"at_ms": 1_795_254_600_123 + 6 * MINUTE}, "future"),
        ({"at_ms": 1_795_254_600_123 - 6 * MINUTE}, "before"),
    ],
)
async def test_contradictions_are_refused(
    bank: Any, record_response: Any, tracking_id: str, overrides: Any, word: str
) -> None:
    taken = await record_response([response(tracking_id, **overrides)])
    assert taken.accepted == 0
    assert word in taken.rejected[0][1]
    assert bank.bus.events == []


async def test_without_the_bus_nothing_is_taken(bank: Any, record_response: Any, tracking_id: str) -> None:
    bank.bus.gone = True
    before = bank.store.ledgers["retail:1"]
    with pytest.raises(BusUnavailable):
        await record_response([response(tracking_id)])
    assert bank.store.ledgers["retail:1"] == before
    bank.bus.gone = False
    assert (await record_response([response(tracking_id)])).accepted == 1


async def test_a_ledger_that_was_away_takes_the_same_response_later(
    bank: Any, record_response: Any, tracking_id: str
) -> None:
    bank.store.fail.add("respond")
    with pytest.raises(StoreUnavailable):
        await record_response([response(tracking_id)])
    bank.store.fail.clear()
    assert (await record_response([response(tracking_id)])).accepted == 1
    assert {decode(event.value).id for event in bank.bus.events} == {"r1"}, "the repeat is the same event"


async def test_nothing_is_asked_of_the_bus_when_nothing_is_valid(bank: Any, record_response: Any) -> None:
    assert (await record_response([response("nobody.0")])).accepted == 0
    assert bank.bus.events == []
