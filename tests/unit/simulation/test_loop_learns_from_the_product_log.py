"""The closed loop learns from exactly what the product's own decision records and responses would tell it."""

from dataclasses import replace
from datetime import date
from pathlib import Path

from event_schemas.codec import decode
from event_schemas.responses import ResponseRecorded
from models.decision_log.records import logged_decision, logged_response
from services.adapters.file_strategy_source import load_strategy_file
from services.simulation.bank import BankConfig, BankStream
from services.simulation.closed_loop import LoopLog, _logged
from services.simulation.served_decisions import Counter, Served
from services.use_cases.decision_answer import word
from services.use_cases.decision_record import DecisionInputs, encode_record

STRATEGY = load_strategy_file(Path(__file__).with_name("small_bank.yaml"))
WORDING = word(STRATEGY)


def served_day() -> tuple[Counter, list[Served]]:
    stream = BankStream(BankConfig(seed=1, customers=120, start=date(2026, 3, 1)))
    counter = Counter(STRATEGY, stream.people, seed=1)
    day = stream.next_day()
    counter.states.add(day.events)
    return counter, [served for visit in day.visits if (served := counter.serve(visit, {})) is not None]


def test_a_logged_decision_is_what_its_record_reads_as() -> None:
    _, decisions = served_day()
    for served in decisions:
        inputs = DecisionInputs(
            client="test", request_id=None, request=served.request, ledger=None, feature_layout="0" * 16, took_ms=1.0
        )
        recorded = logged_decision(encode_record(served.decision, inputs, WORDING))
        assert recorded is not None
        assert replace(recorded, candidates=()) == _logged(served)


def test_logged_responses_are_what_their_events_read_as() -> None:
    counter, decisions = served_day()
    log = LoopLog()
    for served in decisions:
        log.note(served)
    on_the_bus = [
        timed.event.value
        for waiting in counter.states._waiting.values()
        for timed in waiting
        if isinstance(decode(timed.event.value), ResponseRecorded)
    ]
    read = {response.response_id: response for value in on_the_bus if (response := logged_response(value)) is not None}

    # What the customer's next visit has already folded waits no more; of the rest nothing may differ.
    assert len(read) > 30
    assert {response.response_id: response for response in log.responses if response.response_id in read} == read


def test_decisions_are_spread_over_offers_and_some_are_accepted() -> None:
    _, decisions = served_day()
    offers = {option.candidate.offer for d in decisions for p in d.decision.placements for option in p.options}
    outcomes = [response.outcome.value for d in decisions for response in d.responses]

    assert len(offers) >= 4
    assert outcomes.count("impression") > outcomes.count("click") >= outcomes.count("accept")
