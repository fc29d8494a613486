"""Aggregates with values worked out by hand, at the edges of their windows."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    DerivedFeature,
    FeatureDeclarations,
    FeatureDefinition,
    Window,
)
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate, Update

SHANGHAI = "Asia/Shanghai"
MINUTE = 60_000


def at(text, zone=SHANGHAI):
    """Local time as epoch milliseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def make_feature(aggregate, *windows, **overrides):
    values = {
        "name": "x",
        "source": "bank.transaction.posted",
        "aggregate": aggregate,
        "theme": "transaction",
        "description": {},
        "windows": tuple(Window(text[-1], int(text[:-1])) for text in windows),
    }
    return FeatureDefinition(**{**values, **overrides})


def attributes(features, events, now, *, zone=SHANGHAI, derived=()):
    """Folds (local time, fields) pairs and reads all attributes as of a local time."""
    compiled = compile_features(FeatureDeclarations(time_zone=zone, features=tuple(features), derived=tuple(derived)))
    updates = [
        PositionedUpdate(
            0,
            number,
            Update(event_key=number, source="bank.transaction.posted", time_ms=at(time, zone), fields=fields),
        )
        for number, (time, fields) in enumerate(events)
    ]
    return read_snapshot(compiled, fold(compiled, None, updates).value, at(now, zone)).attributes


def amounts(*pairs):
    return [(time, {"amount": amount}) for time, amount in pairs]


WEEK = amounts(("2026-03-01T12:00", 100), ("2026-03-05T09:00", 300), ("2026-03-07T23:59", 800))


@pytest.mark.parametrize(
    ("aggregate", "field", "expected"),
    [
        (Aggregate.COUNT, None, 2),
        (Aggregate.SUM, "amount", 1100),
        (Aggregate.MEAN, "amount", 550.0),
        (Aggregate.MIN, "amount", 300),
        (Aggregate.MAX, "amount", 800),
        (Aggregate.FIRST, "amount", 300),
        (Aggregate.LAST, "amount", 800),
        (Aggregate.DISTINCT, "amount", 2),
        (Aggregate.DAYS_SINCE_FIRST, None, 3),
        (Aggregate.DAYS_SINCE_LAST, None, 1),
        (Aggregate.TREND, "amount", 10.0),
    ],
)
def test_each_aggregate_over_a_week_of_days(aggregate, field, expected):
    """As of 8 March, seven days reach back to 2 March; the week before holds the 100 of 1 March."""
    found = attributes([make_feature(aggregate, "7d", field=field)], WEEK, "2026-03-08T08:00")
    assert found["x_7d"] == expected
    assert type(found["x_7d"]) is type(expected)


@pytest.mark.parametrize(
    ("aggregate", "field", "expected"),
    [
        (Aggregate.COUNT, None, 3),
        (Aggregate.SUM, "amount", 1200),
        (Aggregate.MEAN, "amount", 400.0),
        (Aggregate.MIN, "amount", 100),
        (Aggregate.MAX, "amount", 800),
        (Aggregate.FIRST, "amount", 100),
        (Aggregate.LAST, "amount", 800),
        (Aggregate.DISTINCT, "amount", 3),
        (Aggregate.DAYS_SINCE_FIRST, None, 372),
        (Aggregate.DAYS_SINCE_LAST, None, 366),
    ],
)
def test_each_aggregate_over_the_whole_life(aggregate, field, expected):
    found = attributes([make_feature(aggregate, field=field)], WEEK, "2027-03-08T08:00")
    assert found["x"] == expected
    assert type(found["x"]) is type(expected)


def test_a_ratio_compares_means_per_day():
    pairs = ((Window("d", 2), Window("d", 10)),)
    found = attributes([make_feature(Aggregate.RATIO, field="amount", window_pairs=pairs)], WEEK, "2026-03-08T08:00")
    assert found["x_2d_10d"] == (800 / 2) / (1200 / 10)


def test_a_ratio_over_nothing_is_missing_or_its_default():
    pairs = ((Window("d", 1), Window("d", 2)),)
    missing = make_feature(Aggregate.RATIO, field="amount", window_pairs=pairs)
    given = make_feature(Aggregate.RATIO, name="y", field="amount", window_pairs=pairs, default=1)
    found = attributes([missing, given], WEEK, "2026-03-20T08:00")
    assert "x_1d_2d" not in found
    assert found["y_1d_2d"] == 1.0
    assert isinstance(found["y_1d_2d"], float)


def test_of_no_events_counts_and_sums_are_zero_and_the_others_missing():
    features = [
        make_feature(Aggregate.COUNT, "7d", name="n"),
        make_feature(Aggregate.SUM, "7d", name="s", field="amount"),
        make_feature(Aggregate.DISTINCT, "7d", name="d", field="amount"),
        make_feature(Aggregate.MEAN, "7d", name="m", field="amount"),
        make_feature(Aggregate.MAX, "7d", name="x", field="amount"),
        make_feature(Aggregate.LAST, name="l", field="amount"),
        make_feature(Aggregate.DAYS_SINCE_LAST, name="since", default=999),
    ]
    found = attributes(features, [], "2026-03-20T08:00")
    assert found == {"n_7d": 0, "s_7d": 0, "d_7d": 0, "since": 999, "product_count": 0}


def test_a_declared_default_stands_for_no_events_even_of_a_count():
    found = attributes([make_feature(Aggregate.COUNT, "1d", "30d", default=-1)], WEEK, "2026-03-20T08:00")
    assert (found["x_1d"], found["x_30d"]) == (-1, 3)


@pytest.mark.parametrize(
    ("now", "expected"),
    [("2026-03-05T23:59:59.999", 1), ("2026-03-06T00:00", 0)],
)
def test_today_ends_at_local_midnight(now, expected):
    events = amounts(("2026-03-05T00:00", 5))
    assert attributes([make_feature(Aggregate.COUNT, "1d")], events, now)["x_1d"] == expected


@pytest.mark.parametrize(("event", "expected"), [("2026-03-02T00:00", 1), ("2026-03-01T23:59:59.999", 0)])
def test_seven_days_begin_at_local_midnight_six_days_ago(event, expected):
    found = attributes([make_feature(Aggregate.COUNT, "7d")], amounts((event, 5)), "2026-03-08T15:00")
    assert found["x_7d"] == expected


@pytest.mark.parametrize(("event", "expected"), [("2026-03-08T10:00", 1), ("2026-03-08T09:59:59.999", 0)])
def test_hours_are_whole_hours_with_the_current_one(event, expected):
    found = attributes([make_feature(Aggregate.COUNT, "3h")], amounts((event, 5)), "2026-03-08T12:59")
    assert found["x_3h"] == expected


def test_a_day_of_23_hours_is_one_day():
    """In Berlin 29 March 2026 skips from 02:00 to 03:00."""
    zone = "Europe/Berlin"
    events = amounts(("2026-03-28T23:59", 1), ("2026-03-29T00:00", 10), ("2026-03-29T23:59", 100))
    feature = make_feature(Aggregate.SUM, "1d", "2d", field="amount")
    late_on_the_day = attributes([feature], events, "2026-03-29T23:59:59", zone=zone)
    next_day = attributes([feature], events, "2026-03-30T00:00", zone=zone)
    assert (late_on_the_day["x_1d"], late_on_the_day["x_2d"]) == (110, 111)
    assert (next_day["x_1d"], next_day["x_2d"]) == (0, 110)


def test_a_day_of_25_hours_is_one_day():
    """In New York 1 November 2026 has 25 hours."""
    zone = "America/New_York"
    events = amounts(("2026-10-31T23:59", 1), ("2026-11-01T00:00", 10), ("2026-11-01T23:59", 100))
    found = attributes([make_feature(Aggregate.SUM, "1d", field="amount")], events, "2026-11-01T23:59:30", zone=zone)
    assert found["x_1d"] == 110


def test_a_window_decays_while_nothing_happens():
    feature = make_feature(Aggregate.SUM, "7d", field="amount")
    sums = [attributes([feature], WEEK, f"2026-03-{day:02}T12:00")["x_7d"] for day in range(7, 15)]
    assert sums == [1200, 1100, 1100, 1100, 1100, 800, 800, 0]


def test_filters_choose_events_and_share_their_rows():
    events = [
        ("2026-03-07T10:00", {"direction": "debit", "amount": 3}),
        ("2026-03-07T11:00", {"direction": "credit", "amount": 40}),
        ("2026-03-07T12:00", {"direction": "debit", "amount": 500}),
    ]
    features = [
        make_feature(Aggregate.SUM, "7d", name="debit", where='direction == "debit"', field="amount"),
        make_feature(Aggregate.SUM, "7d", name="large", where="amount >= 40", field="amount"),
        make_feature(Aggregate.COUNT, "7d", name="all"),
        make_feature(Aggregate.MAX, "7d", name="most", where='direction == "debit"', field="amount"),
    ]
    found = attributes(features, events, "2026-03-08T12:00")
    assert (found["debit_7d"], found["large_7d"], found["all_7d"], found["most_7d"]) == (503, 540, 3, 500)


def test_events_without_the_field_count_but_do_not_sum():
    events = [("2026-03-07T10:00", {"amount": 6}), ("2026-03-07T11:00", {}), ("2026-03-07T12:00", {"amount": 0})]
    features = [
        make_feature(Aggregate.COUNT, "7d", name="n"),
        make_feature(Aggregate.MEAN, "7d", name="m", field="amount"),
    ]
    found = attributes(features, events, "2026-03-08T12:00")
    assert (found["n_7d"], found["m_7d"]) == (3, 3.0)


def test_two_fields_of_one_event_are_kept_apart():
    events = [("2026-03-07T10:00", {"amount": 6, "balance_after": -100}), ("2026-03-07T11:00", {"balance_after": 9})]
    features = [
        make_feature(Aggregate.COUNT, "7d", name="n"),
        make_feature(Aggregate.SUM, "7d", name="s", field="amount"),
        make_feature(Aggregate.MIN, "7d", name="b", field="balance_after"),
        make_feature(Aggregate.SUM, "7d", name="bs", field="balance_after"),
    ]
    found = attributes(features, events, "2026-03-08T12:00")
    assert (found["n_7d"], found["s_7d"], found["b_7d"], found["bs_7d"]) == (2, 6, -100, -91)


def test_at_the_same_moment_the_last_value_is_the_larger_and_the_first_the_smaller():
    events = amounts(("2026-03-07T10:00", 7), ("2026-03-07T10:00", 9), ("2026-03-07T10:00", 8))
    features = [make_feature(kind, name=kind.value, field="amount") for kind in (Aggregate.LAST, Aggregate.FIRST)]
    found = attributes(features, events, "2026-03-08T12:00")
    assert (found["last"], found["first"]) == (9, 7)


@pytest.mark.parametrize("value", ["饭店", True, 2.5, -7])
def test_last_values_keep_their_type(value):
    found = attributes(
        [
            make_feature(Aggregate.LAST, field="category"),
            make_feature(Aggregate.LAST, "7d", name="y", field="category"),
        ],
        [("2026-03-07T10:00", {"category": value})],
        "2026-03-08T12:00",
    )
    assert (found["x"], found["y_7d"]) == (value, value)
    assert type(found["x"]) is type(value)


def test_derived_features_follow_their_parts_and_are_missing_with_them():
    derived = [
        DerivedFeature(name=name, expression=text, type=AttributeType.DOUBLE, theme="t", description={})
        for name, text in (
            ("twice", "share * 2.0"),
            ("share", "last_amount / max(1, x_7d)"),
            ("nothing", "unseen_7d + 1.0"),
        )
    ]
    features = [
        make_feature(Aggregate.SUM, "7d", field="amount"),
        make_feature(Aggregate.LAST, name="last_amount", field="amount"),
        make_feature(Aggregate.MEAN, "7d", name="unseen", where="amount < 0", field="amount"),
    ]
    found = attributes(features, amounts(("2026-03-08T10:00", 8)), "2026-03-08T12:00", derived=derived)
    assert (found["share"], found["twice"]) == (1.0, 2.0)
    assert "nothing" not in found


def test_sums_extremes_and_decay_beyond_what_doubles_hold_are_exact():
    large = 2**53
    days = [(f"2026-03-{day:02}T12:00", (-1) ** day * (large - day)) for day in range(1, 9)]
    features = [
        make_feature(Aggregate.COUNT, "3d", "8d", name="events"),
        make_feature(Aggregate.SUM, "1d", "3d", "8d", name="total", field="amount"),
        make_feature(Aggregate.MIN, "3d", name="least", field="amount"),
        make_feature(Aggregate.MAX, "3d", name="most", field="amount"),
        make_feature(Aggregate.DECAYED, "8d", name="pace", field="amount", half_life=Window("d", 1)),
    ]
    many = [pair for pair in amounts(*days) for _ in range(3)]
    found = attributes(features, many, "2026-03-08T23:00")
    signed = {day: (-1) ** day * (large - day) for day in range(1, 9)}
    assert (found["events_3d"], found["events_8d"]) == (9, 24)
    assert found["total_1d"] == 3 * signed[8]
    assert found["total_3d"] == 3 * sum(signed[day] for day in (6, 7, 8))
    assert found["total_8d"] == 3 * sum(signed.values())
    assert (found["least_3d"], found["most_3d"]) == (signed[7], signed[6])
    weighed = sum(round(2 ** (20 - (8 - day))) * 3 * value for day, value in signed.items())
    assert found["pace_8d"] == weighed / 2**20


def test_what_lies_ahead_of_the_moment_read_as_of_is_left_out_of_everything_that_windows_tell():
    features = [
        make_feature(Aggregate.COUNT, "7d", name="events"),
        make_feature(Aggregate.MAX, "7d", name="most", field="amount"),
        make_feature(Aggregate.DISTINCT, "7d", name="kinds", field="amount"),
        make_feature(Aggregate.ACTIVE, "7d", name="active"),
        make_feature(Aggregate.DECAYED, name="pace", half_life=Window("d", 1)),
        make_feature(Aggregate.DAYS_SINCE_LAST, "7d", name="since"),
    ]
    found = attributes(features, WEEK, "2026-03-03T12:00")
    assert (found["events_7d"], found["most_7d"], found["kinds_7d"]) == (1, 100, 1)
    assert (found["active_7d"], found["pace"], found["since_7d"]) == (1, 0.25, 2)
