"""Courses: the same state read as of earlier moments gives what each window held then."""

from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import (
    Aggregate,
    FeatureDeclarations,
    FeatureDefinition,
    Window,
)
from decision_engine.features.fold import fold
from decision_engine.features.update import PositionedUpdate, Update
from decision_engine.portrait import Series, SeriesUnit
from services.use_cases.view_courses import MOST_POINTS, courses

NOW = 1_795_254_600_123
DAY = 86_400_000
SPEND = FeatureDefinition(
    name="spend",
    source="bank.transaction.posted",
    aggregate=Aggregate.SUM,
    field="amount",
    windows=(Window("d", 7), Window("d", 90)),
    theme="transaction",
    description={"en": "Spend"},
    default=0,
)
FEATURES = compile_features(FeatureDeclarations(features=(SPEND,), time_zone="UTC"))
WEEKLY = Series(attribute="spend_7d", title={"en": "Spend"}, unit=SeriesUnit.MONEY)


def state_of(payments: list[tuple[int, int]]) -> bytes:
    """A state that has seen payments of so much, so many days ago."""
    updates = [
        Update(event_key=number + 1, source=SPEND.source, time_ms=NOW - age * DAY, fields={"amount": amount})
        for number, (age, amount) in enumerate(sorted(payments, reverse=True))
    ]
    return fold(FEATURES, None, [PositionedUpdate(0, place, update) for place, update in enumerate(updates)]).value


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 83), st.integers(1, 10**6)), min_size=1, max_size=20))
def test_each_week_holds_what_was_spent_in_it_and_nothing_is_counted_twice(payments: list[tuple[int, int]]) -> None:
    (course,) = courses(FEATURES, state_of(payments), NOW, (WEEKLY,))
    assert len(course.values) == MOST_POINTS
    expected = [0] * MOST_POINTS
    for age, amount in payments:
        expected[MOST_POINTS - 1 - age // 7] += amount
    assert list(course.values) == expected
    assert course.additive


def test_a_course_reaches_no_further_back_than_the_state_keeps() -> None:
    longest = Series(attribute="spend_90d", title={"en": "Spend"}, unit=SeriesUnit.MONEY)
    (course,) = courses(FEATURES, state_of([(1, 500)]), NOW, (longest,))
    assert course.values == (500.0,)
    assert course.at_ms == (NOW,)
