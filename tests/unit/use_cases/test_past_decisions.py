"""Decisions of another system as records: the attributes of their moment, the chances, and what is refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from decision_engine.customer import UNKNOWN_CUSTOMER, CustomerSnapshot
from decision_engine.identifiers import CustomerId
from decision_engine.outcomes import Outcome
from models.decision_log.examples import AttributionRule, join_examples
from models.decision_log.offer_catalogue import offer_facts
from models.decision_log.records import logged_decision, logged_response
from models.evaluation.off_policy.first_choices import first_choices
from services.bootstrap import load_strategy_at
from services.commands.import_decisions import read_past_log
from services.ports import OutgoingEvent, StateWrite
from services.use_cases.import_decisions import ImportDecisions, Imported
from services.use_cases.past_decisions import (
    PastDecision,
    PastDecisionInvalid,
    PastDecisions,
    PastResponse,
    StateAhead,
)

LOADED = load_strategy_at(Path(__file__).parents[3] / "deploy" / "strategies" / "starbucks")
PAST = PastDecisions(LOADED.strategy, "old_campaigns", LOADED.features.layout)
NOON = 1_533_038_400_000
BOGO, NEWS = "bogo_5_5d.email.message", "informational_3d.email.message"
SENT = PastDecision(
    decision_id="old-1", customer_id="retail:ann", at_ms=NOON, placement="weekly_offer",
    chances={BOGO: 0.3, NEWS: 0.1}, offered=BOGO,
)  # fmt: skip
NOTHING = replace(SENT, decision_id="old-2", offered=None)
ANN = CustomerSnapshot(
    known=True, attributes={"age": 40, "gender": "female", "purchase_count_7d": 3}, newest_event_ms=NOON - 1
)


def response(outcome: Outcome, minutes: int) -> PastResponse:
    return PastResponse(response_id=f"old-1-{outcome}", outcome=outcome, at_ms=NOON + minutes * 60_000)


def test_the_record_teaches_and_is_judged_like_one_of_our_own() -> None:
    decision = logged_decision(PAST.decision_event(SENT, ANN).value)
    answers = [response(Outcome.IMPRESSION, 0), response(Outcome.ACCEPT, 5)]
    logged = [logged_response(PAST.response_event(SENT, answer).value) for answer in answers]
    assert decision is not None
    responses = [answer for answer in logged if answer is not None]
    rule = AttributionRule(window_ms=3_600_000, log_end_ms=NOON + 3_600_000)

    [row] = join_examples([decision], responses, offer_facts(LOADED.strategy), rule)
    [choice] = first_choices([decision], rule)

    assert (row.offer.offer, row.accepted) == ("bogo_5_5d", True)
    assert choice.logged == pytest.approx(0.75)  # of what was sent at all
    assert {rival.treatment: rival.selection_probability for rival in choice.rivals} == pytest.approx(
        {BOGO: 0.75, NEWS: 0.25}
    )


def test_attributes_are_those_of_the_moment_without_what_no_model_may_see() -> None:
    decision = logged_decision(PAST.decision_event(SENT, ANN).value)

    assert decision is not None
    assert decision.attributes == {"age": 40, "purchase_count_7d": 3}


def test_who_was_sent_nothing_is_in_the_holdout() -> None:
    decision = logged_decision(PAST.decision_event(NOTHING, ANN).value)

    assert decision is not None
    assert (decision.arm, decision.options, decision.candidates) == ("holdout", (), ())


def test_a_refusal_of_personalisation_is_kept() -> None:
    refused = replace(ANN, consents={"personalisation": False})
    decision = logged_decision(PAST.decision_event(SENT, refused).value)

    assert decision is not None and not decision.personalised


def test_a_state_that_knows_what_came_later_is_refused() -> None:
    with pytest.raises(
        StateAhead, match=r"old-1: the state of retail:ann holds events up to 2018-07-31T12:00:00\.001Z"
    ):
        PAST.decision_event(SENT, replace(ANN, newest_event_ms=NOON + 1))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"placement": "home"}, "placement: the strategy has none named 'home'"),
        ({"chances": {"gold.email.message": 0.5}}, "chances: the strategy has no treatment 'gold.email.message'"),
        ({"chances": {BOGO: 0.0}}, "chances: .* has 0.0, not a chance above 0"),
        ({"chances": {BOGO: 0.9, NEWS: 0.2}}, "chances: they add up to 1.100000, more than 1"),
        ({"chances": {NEWS: 0.1}}, "offered: .* is not among the chances"),
        ({"chances": {BOGO: 0.5, NEWS: 0.5}, "offered": None}, "offered: nothing, though the chances leave none"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PastDecisionInvalid, match=says):
        PAST.decision_event(replace(SENT, **changes), UNKNOWN_CUSTOMER)


def test_a_response_to_nothing_or_before_its_decision_is_refused() -> None:
    with pytest.raises(PastDecisionInvalid, match="decision_id: old-2 sent nothing"):
        PAST.response_event(NOTHING, response(Outcome.IMPRESSION, 0))
    with pytest.raises(PastDecisionInvalid, match="time: old-1-click lies before its decision old-1"):
        PAST.response_event(SENT, response(Outcome.CLICK, -1))


class NoStates:
    """A store in which nobody has a state."""

    async def load(self, customer_id: CustomerId) -> bytes | None:
        return None

    async def load_many(self, customer_ids: Sequence[CustomerId]) -> list[bytes | None]:
        return [None for _ in customer_ids]

    async def save_many(self, writes: Sequence[StateWrite]) -> list[CustomerId]:
        raise AssertionError("importing writes no states")


class Published:
    """A bus that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[OutgoingEvent] = []

    async def publish(self, events: Sequence[OutgoingEvent]) -> list[tuple[str, int, int]]:
        start = len(self.events)
        self.events += events
        return [(event.topic, 0, start + place) for place, event in enumerate(events)]

    def enqueue(self, event: OutgoingEvent) -> None:
        raise AssertionError("an import waits for the bus")


def importing(bus: Published) -> ImportDecisions:
    return ImportDecisions(store=NoStates(), features=LOADED.features, publisher=bus, past=PAST)


async def test_decisions_go_out_before_the_responses_to_them() -> None:
    bus = Published()

    done = await importing(bus)([SENT, NOTHING], [(SENT, response(Outcome.IMPRESSION, 0))])

    assert done == Imported(decisions=2, responses=1, unknown=2)
    assert [event.topic for event in bus.events] == ["nbo.decisions.v1", "nbo.decisions.v1", "nbo.responses.v1"]


async def test_one_that_does_not_fit_keeps_all_from_the_bus() -> None:
    bus = Published()

    with pytest.raises(PastDecisionInvalid):
        await importing(bus)([SENT, replace(NOTHING, placement="home")])

    assert not bus.events


LINE = {
    "decision_id": "old-1", "customer_id": "retail:ann", "time": "2018-07-31T12:00:00Z", "placement": "weekly_offer",
    "chances": {BOGO: 0.3, NEWS: 0.1}, "offered": BOGO,
}  # fmt: skip
ANSWER = {"response_id": "r", "decision_id": "old-1", "outcome": "click", "time": "2018-07-31T14:01:00+02:00"}


def write_lines(folder: Path, *rows: object) -> Path:
    file = folder / "past.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return file


def test_a_file_holds_decisions_and_their_responses(tmp_path: Path) -> None:
    log = read_past_log(write_lines(tmp_path, LINE, {**LINE, "decision_id": "old-2", "offered": None}, ANSWER))

    assert list(log.decisions.values()) == [SENT, NOTHING]
    assert log.responses == [
        (SENT, PastResponse(response_id="r", outcome=Outcome.CLICK, at_ms=NOON + 60_000)),
    ]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[1]], ":1: an object is expected"),
        ([LINE, LINE], ":2: decision_id: old-1 stands twice"),
        ([ANSWER], ":1: decision_id: no line before names this decision"),
        ([LINE, {**ANSWER, "outcome": "bought"}], ":2: outcome: one of impression"),
        ([{**LINE, "time": "2018-07-31T12:00:00"}], ":1: time: RFC 3339 with an offset"),
        ([{**LINE, "chances": {BOGO: "often"}}], ":1: chances: an object of treatments"),
        ([{name: value for name, value in LINE.items() if name != "offered"}], ":1: offered: a text is expected"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, rows: list[object], says: str) -> None:
    with pytest.raises(PastDecisionInvalid, match=says):
        read_past_log(write_lines(tmp_path, *rows))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PastDecisionInvalid, match="No such file"):
        read_past_log(tmp_path / "none.jsonl")
