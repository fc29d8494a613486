"""Labels: only what was seen counts, only when its window is over, and only what came inside it is positive."""

from datetime import timedelta
from types import ModuleType
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from decision_engine.propensity import ColumnSource
from models.decision_log.design_matrix import build_examples, build_matrix, derive_schema
from models.decision_log.examples import AttributionRule, Example, accepted_within, join_examples
from models.decision_log.offer_catalogue import decode_catalogue, encode_catalogue, offers_of_model
from models.decision_log.records import logged_decision, logged_response
from models.errors import TrainingRefused

HOUR_MS = 3_600_000


def labelled(log: ModuleType, responses: list[tuple[str, timedelta]], end: timedelta, **fields: object) -> list[bool]:
    decision = logged_decision(log.make_decision(1, log.START, **fields))
    assert decision is not None
    answered = [logged_response(log.make_response(1, outcome, log.START + after)) for outcome, after in responses]
    log_end = round((log.START + end).timestamp() * 1000)
    rule = AttributionRule(window_ms=HOUR_MS, log_end_ms=log_end)
    return [e.accepted for e in join_examples([decision], [a for a in answered if a], log.OFFERS, rule)]


SEEN = ("impression", timedelta(seconds=1))
LATER = timedelta(days=2)


@pytest.mark.parametrize(
    ("responses", "end", "expected"),
    [
        ([], LATER, []),
        ([("accept", timedelta(seconds=5))], LATER, []),
        ([SEEN], LATER, [False]),
        ([SEEN, ("click", timedelta(seconds=5)), ("reject", timedelta(seconds=9))], LATER, [False]),
        ([SEEN, ("accept", timedelta(seconds=5))], LATER, [True]),
        ([SEEN, ("convert", timedelta(minutes=59))], LATER, [True]),
        ([SEEN, ("accept", timedelta(minutes=61))], LATER, [False]),
        ([("accept", timedelta(seconds=5)), SEEN], LATER, [True]),
        ([SEEN, SEEN, ("accept", timedelta(seconds=5)), ("accept", timedelta(seconds=5))], LATER, [True]),
        ([SEEN], timedelta(minutes=59), []),
        ([SEEN, ("accept", timedelta(seconds=5))], timedelta(minutes=59), []),
        ([("impression", timedelta(minutes=30)), SEEN, ("accept", timedelta(minutes=70))], LATER, [False]),
    ],
    ids=[
        "never shown", "accepted but never shown", "shown", "clicked and rejected", "accepted", "converted in time",
        "accepted too late", "responses out of order", "repeated responses", "window still open",
        "window still open though accepted", "the first impression counts",
    ],
)  # fmt: skip
def test_labels(log: ModuleType, responses: list[tuple[str, timedelta]], end: timedelta, expected: list[bool]) -> None:
    assert labelled(log, responses, end) == expected


def test_a_response_recorded_twice_counts_once_at_its_earliest(log: ModuleType) -> None:
    """An acceptance from before the impression was sent again after it: one acceptance, and it came too early."""
    seen = log.make_response(1, "impression", log.START + timedelta(minutes=1))
    early, again = (log.make_response(1, "accept", log.START + timedelta(minutes=at), "same") for at in (0, 5))
    rule = AttributionRule(window_ms=HOUR_MS, log_end_ms=1 << 60)
    for order in ([seen, early, again], [again, early, seen]):
        found = [response for value in order if (response := logged_response(value))]
        assert accepted_within(found, rule) == {"D000001.0": False}


def test_who_declined_personalisation_is_not_learnt_from(log: ModuleType) -> None:
    assert labelled(log, [SEEN], LATER, personalised=False) == []


def test_a_decision_recorded_twice_is_one_row(log: ModuleType) -> None:
    decision = logged_decision(log.make_decision(1, log.START))
    seen = logged_response(log.make_response(1, "impression", log.START))
    assert decision is not None and seen is not None
    rule = AttributionRule(window_ms=1, log_end_ms=1 << 60)
    assert len(join_examples([decision, decision], [seen], log.OFFERS, rule)) == 1


@pytest.mark.parametrize("value", [b"", b"nonsense", b'{"type": "nbo.unheard.of"}'])
def test_unreadable_records_are_passed_over(value: bytes) -> None:
    assert logged_decision(value) is None
    assert logged_response(value) is None


def test_columns_hold_the_features_as_served_the_request_and_the_offer(examples: list[Example]) -> None:
    names = [(column.source.value, column.name) for column in derive_schema(examples).columns]
    assert names == [
        ("attribute", "city"), ("attribute", "spend"),
        ("context", "channel"), ("context", "hour"), ("context", "weekday"), ("context", "page"),
        ("offer", "offer"), ("offer", "group"), ("offer", "issue"), ("offer", "base_rate"), ("offer", "value"),
        ("offer", "fee"),
    ]  # fmt: skip


def test_an_excluded_attribute_is_no_column(examples: list[Example]) -> None:
    names = {column.name for column in derive_schema(examples, frozenset({"city"})).columns}
    assert "city" not in names and "spend" in names


def test_hour_and_weekday_are_the_banks_own(log: ModuleType) -> None:
    decision = logged_decision(log.make_decision(1, log.START.replace(hour=20)))
    assert decision is not None
    examples = [Example(decision=decision, offer=log.OFFERS["gold_card"], accepted=True)]
    rows = build_examples(examples, derive_schema(examples), ZoneInfo("Asia/Shanghai"))
    places = {column.name: place for place, column in enumerate(rows.schema.columns)}
    assert rows.matrix[0, places["hour"]] == 4
    assert rows.matrix[0, places["weekday"]] == 1  # Monday evening in London is Tuesday morning in Shanghai


def test_missing_values_and_unseen_texts_are_missing_numbers(log: ModuleType, examples: list[Example]) -> None:
    schema = derive_schema(examples)
    decision = logged_decision(log.make_decision(1, log.START, attributes={"city": "atlantis"}))
    assert decision is not None
    row = build_matrix([(decision, log.OFFERS["gold_card"])], schema, ZoneInfo("UTC"))[0]
    by_name = dict(zip([column.name for column in schema.columns], row.tolist(), strict=True))
    assert np.isnan([by_name["city"], by_name["spend"]]).all()
    assert by_name["offer"] == 0 and by_name["base_rate"] == 0.2


def test_an_attribute_that_is_now_text_now_number_is_no_column(log: ModuleType) -> None:
    decisions = [logged_decision(log.make_decision(i, log.START, attributes={"odd": v})) for i, v in ((1, 3), (2, "x"))]
    examples = [Example(decision=d, offer=log.OFFERS["gold_card"], accepted=True) for d in decisions if d]
    assert [c for c in derive_schema(examples).columns if c.source is ColumnSource.ATTRIBUTE] == []


def test_a_catalogue_file_is_read_back(log: ModuleType) -> None:
    assert decode_catalogue(encode_catalogue(log.OFFERS)) == log.OFFERS
    with pytest.raises(TrainingRefused, match="catalogue"):
        decode_catalogue('[{"offer": "x"}]')


def test_a_model_that_scores_no_offer_is_named_with_those_that_do(log: ModuleType) -> None:
    with pytest.raises(TrainingRefused, match=r"churn.*cross_sell"):
        offers_of_model(log.OFFERS, "churn")
