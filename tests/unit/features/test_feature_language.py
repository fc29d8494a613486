"""The richer aggregates with values worked out by hand."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import (
    Aggregate,
    FeatureDeclarations,
    FeatureDefinition,
    Grouping,
    RollUp,
    Sequel,
    Window,
)
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate, Update

SHANGHAI = ZoneInfo("Asia/Shanghai")
POSTED = "bank.transaction.posted"


def at(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).timestamp() * 1000)


def window(text):
    unit = text.lstrip("0123456789")
    return Window(unit, int(text.removesuffix(unit)))


def make_feature(aggregate, *windows, **overrides):
    values = {"name": "x", "source": POSTED, "theme": "t", "description": {}}
    return FeatureDefinition(
        aggregate=aggregate, windows=tuple(window(text) for text in windows), **{**values, **overrides}
    )


def attributes(feature, events, now):
    """Folds (local time, fields[, source]) and reads as of a local time."""
    features = compile_features(FeatureDeclarations(time_zone="Asia/Shanghai", features=(feature,)))
    updates = [
        PositionedUpdate(0, number, Update(event_key=number, source=source, time_ms=at(time), fields=fields))
        for number, (time, fields, source) in enumerate((*event, POSTED)[:3] for event in events)
    ]
    return read_snapshot(features, fold(features, None, updates).value, at(now)).attributes


def on(*days):
    return [(f"2026-03-{day:02}T12:00", {}) for day in days]


def amounts(*pairs):
    return [(time, {"amount": amount}) for time, amount in pairs]


def test_decay_halves_with_every_half_life():
    feature = make_feature(Aggregate.DECAYED, field="amount", half_life=Window("d", 7))
    events = amounts(("2026-03-15T12:00", 100), ("2026-03-08T12:00", 100), ("2026-03-01T12:00", 100))
    assert attributes(feature, events, "2026-03-15T20:00")["x"] == 175.0
    assert attributes(feature, events, "2026-03-22T20:00")["x"] == 87.5
    assert attributes(feature, events, "2026-07-01T20:00")["x"] == 0.0


def test_decayed_sums_beyond_32_bits_stay_exact():
    feature = make_feature(Aggregate.DECAYED, field="amount", half_life=Window("d", 1))
    events = amounts(("2026-03-15T12:00", 2**50), ("2026-03-14T12:00", 2**50))
    assert attributes(feature, events, "2026-03-15T20:00")["x"] == 1.5 * 2**50


@pytest.mark.parametrize(
    ("days", "streak", "longest", "active"),
    [
        ((8, 9, 10), 3, 3, 3),
        ((8, 9), 2, 2, 2),
        ((7, 8), 0, 2, 2),
        ((4, 5, 6, 7, 9, 10), 2, 4, 6),
        ((3, 4), 0, 1, 1),
    ],
    ids=["up to today", "today is not over", "broken yesterday", "the longest lies back", "the window cuts"],
)
def test_streaks_within_seven_days_as_of_the_tenth(days, streak, longest, active):
    told = {
        kind: attributes(make_feature(kind, "7d"), on(*days), "2026-03-10T09:00")["x_7d"]
        for kind in (Aggregate.STREAK, Aggregate.LONGEST_STREAK, Aggregate.ACTIVE)
    }
    assert told == {Aggregate.STREAK: streak, Aggregate.LONGEST_STREAK: longest, Aggregate.ACTIVE: active}


def test_months_in_a_row():
    events = [(f"2026-{month:02}-15T12:00", {}) for month in (1, 3, 4, 5)]
    assert attributes(make_feature(Aggregate.STREAK, "12mo"), events, "2026-06-02T09:00")["x_12mo"] == 3


def test_calendar_weeks_begin_on_monday_and_months_on_the_first():
    events = amounts(("2026-03-08T23:59", 1), ("2026-03-09T00:00", 10), ("2026-02-28T12:00", 100))
    feature = make_feature(Aggregate.SUM, "1w", "2w", "1mo", "2mo", field="amount")
    assert attributes(feature, events, "2026-03-10T09:00") == {
        "x_1w": 10, "x_2w": 11, "x_1mo": 11, "x_2mo": 111, "product_count": 0,
    }  # fmt: skip


def test_minutes():
    events = amounts(("2026-03-10T09:00:59", 1), ("2026-03-10T09:01:00", 10), ("2026-03-10T09:15:30", 100))
    feature = make_feature(Aggregate.SUM, "15m", field="amount")
    assert attributes(feature, events, "2026-03-10T09:15:40")["x_15m"] == 110
    assert attributes(feature, events, "2026-03-10T09:30:40")["x_15m"] == 0
    assert attributes(feature, events, "2030-03-10T09:15:40")["x_15m"] == 0


def test_a_habit_without_the_week_it_is_compared_with():
    """70 a day this week, 10 a day in the 83 days before."""
    events = amounts(*((f"2026-03-{day:02}T12:00", 70) for day in range(4, 11)), ("2026-02-01T12:00", 830))
    feature = FeatureDefinition(
        name="x", source=POSTED, aggregate=Aggregate.RATIO, theme="t", description={}, field="amount", apart=True,
        window_pairs=((Window("d", 7), Window("d", 90)),),
    )  # fmt: skip
    assert attributes(feature, events, "2026-03-10T20:00")["x_7d_90d"] == 7.0
    assert "x_7d_90d" not in attributes(feature, events[:-1], "2026-03-10T20:00")


def test_the_usual_hour_and_weekday_are_those_of_the_banks_clock():
    events = [("2026-03-02T21:10", {}), ("2026-03-09T21:50", {}), ("2026-03-10T08:00", {})]
    assert attributes(make_feature(Aggregate.USUAL_HOUR, "30d"), events, "2026-03-10T20:00")["x_30d"] == 21
    assert attributes(make_feature(Aggregate.USUAL_WEEKDAY, "30d"), events, "2026-03-10T20:00")["x_30d"] == 1


@pytest.mark.parametrize("values", [(), ("dining", "fuel", "travel")])
@pytest.mark.parametrize(("weigh", "top", "share"), [(None, "dining", 2 / 3), ("amount", "fuel", 0.75)])
def test_the_top_by_number_or_by_amount(values, weigh, top, share):
    events = [
        ("2026-03-09T12:00", {"category": "dining", "amount": 5}),
        ("2026-03-10T12:00", {"category": "dining", "amount": 5}),
        ("2026-03-10T13:00", {"category": "fuel", "amount": 30}),
    ]
    for kind, expected in ((Aggregate.TOP, top), (Aggregate.TOP_SHARE, share)):
        feature = make_feature(kind, "7d", field="category", weigh=weigh, values=values)
        assert attributes(feature, events, "2026-03-10T20:00")["x_7d"] == expected


def test_accounts_are_judged_by_themselves():
    events = [
        ("2026-03-09T12:00", {"account_id": "a", "balance_after": 500}),
        ("2026-03-10T12:00", {"account_id": "a", "balance_after": 100}),
        ("2026-03-01T12:00", {"account_id": "b", "balance_after": 300}),
        ("2026-03-01T12:00", {"balance_after": 9_000}),
    ]
    told = {
        over: attributes(
            make_feature(
                Aggregate.LAST, field="balance_after", per=Grouping(field="account_id", over=over, at_least=at_least)
            ),
            events,
            "2026-03-10T20:00",
        )["x"]
        for over, at_least in ((RollUp.MAX, None), (RollUp.SUM, None), (RollUp.MEAN, None), (RollUp.COUNT, 200))
    }
    assert told == {RollUp.MAX: 300, RollUp.SUM: 400, RollUp.MEAN: 200.0, RollUp.COUNT: 1}


def form(time, form_id, source="bank.channel.form_opened"):
    return time, {"form_id": form_id}, source


SUBMITTED = "bank.channel.form_submitted"
FORMS = [
    form("2026-03-08T10:00", "a"),
    form("2026-03-08T11:00", "a", SUBMITTED),
    form("2026-03-08T12:00", "b"),
    form("2026-03-09T12:01", "b", SUBMITTED),
    form("2026-03-10T08:00", "c"),
]


@pytest.mark.parametrize(("now", "followed", "waited"), [("2026-03-10T09:00", 1, 1), ("2026-03-11T09:00", 1, 2)])
def test_forms_submitted_within_a_day_and_those_left(now, followed, waited):
    """b was submitted a minute late; c is not overdue on the tenth."""
    then = Sequel(source=SUBMITTED, within_ms=86_400_000, same="form_id")
    for kind, expected in ((Aggregate.SEQUENCE, followed), (Aggregate.UNFOLLOWED, waited)):
        feature = make_feature(kind, "7d", source="bank.channel.form_opened", then=then)
        assert attributes(feature, FORMS, now)["x_7d"] == expected
        assert attributes(feature, FORMS[::-1], now)["x_7d"] == expected


def test_of_two_events_at_the_same_moment_neither_follows_the_other():
    then = Sequel(source=SUBMITTED, within_ms=86_400_000)
    feature = make_feature(Aggregate.SEQUENCE, "7d", source="bank.channel.form_opened", then=then)
    events = [form("2026-03-10T08:00", "a"), form("2026-03-10T08:00", "a", SUBMITTED)]
    assert attributes(feature, events, "2026-03-10T09:00")["x_7d"] == 0


def test_holdings_now_then_and_since():
    events = [
        ("2026-01-01T12:00", {"product": "card", "account_id": "1"}, "bank.product.opened"),
        ("2026-03-01T12:00", {"product": "loan", "account_id": "2"}, "bank.product.opened"),
        ("2026-03-08T12:00", {"product": "card", "account_id": "1"}, "bank.product.closed"),
    ]
    now = "2026-03-10T12:00"
    assert attributes(make_feature(Aggregate.HELD), events, now)["x"] == 1
    assert attributes(make_feature(Aggregate.HELD, "5d", "30d"), events, now) == {
        "x_5d": 2, "x_30d": 1, "product_count": 1,
    }  # fmt: skip
    assert attributes(make_feature(Aggregate.HELD_CHANGE, "5d"), events, now)["x_5d"] == -1
    assert attributes(make_feature(Aggregate.HELD_DAYS), events, now)["x"] == 9
    assert attributes(make_feature(Aggregate.HELD_DAYS), events[1:2], "2026-03-01T13:00")["x"] == 0
    assert "x" not in attributes(make_feature(Aggregate.HELD_DAYS, products=("card",)), events, now)


def test_a_declared_default_takes_the_place_of_nothing():
    feature = make_feature(Aggregate.STREAK, "7d", default=-1)
    assert attributes(feature, on(1), "2026-03-20T12:00")["x_7d"] == -1
    decayed = make_feature(Aggregate.DECAYED, half_life=Window("d", 1), default=-1.0)
    assert attributes(decayed, on(1), "2026-03-20T12:00")["x"] == -1.0
