"""Where a value comes from: definition, window as of now, and what lies behind it."""

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
    Grouping,
    ProfileAttribute,
    RollUp,
    Sequel,
    Window,
)
from decision_engine.features.evidence import NOTHING_BEHIND
from decision_engine.features.fold import fold
from decision_engine.features.provenance import AttributeUnknown, provenance
from decision_engine.features.update import PositionedUpdate, Update

BERLIN = ZoneInfo("Europe/Berlin")
POSTED, LOGIN = "bank.transaction.posted", "bank.channel.login"
WEEK, MONTHS = Window("d", 7), Window("mo", 2)
PER = Grouping(field="account_id", over=RollUp.MAX)


def at(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1000)


def make_feature(name, aggregate, *windows, **overrides):
    values = {"source": POSTED, "theme": "t", "description": {"en": name}}
    return FeatureDefinition(name=name, aggregate=aggregate, windows=windows, **{**values, **overrides})


FEATURES = compile_features(
    FeatureDeclarations(
        time_zone="Europe/Berlin",
        profile=(ProfileAttribute(name="age", type=AttributeType.INT, theme="basic", description={}),),
        features=(
            make_feature("spend", Aggregate.SUM, WEEK, field="amount", where='direction == "debit"'),
            make_feature("change", Aggregate.TREND, WEEK, field="amount", where='direction == "debit"'),
            FeatureDefinition(
                name="pace", source=POSTED, aggregate=Aggregate.RATIO, theme="t", description={},
                window_pairs=((Window("h", 5), Window("h", 48)),),
            ),
            make_feature("months", Aggregate.COUNT, MONTHS),
            make_feature("ever", Aggregate.COUNT),
            make_feature("last_at", Aggregate.LAST_AT),
            make_feature("category", Aggregate.LAST, field="category"),
            make_feature("recent", Aggregate.LAST, WEEK, field="category"),
            make_feature("kinds", Aggregate.DISTINCT, WEEK, field="category"),
            make_feature("largest", Aggregate.MAX, field="amount", per=PER),
            make_feature("held", Aggregate.HELD),
            make_feature("pairs", Aggregate.SEQUENCE, WEEK, then=Sequel(source=LOGIN, within_ms=86_400_000)),
        ),
        derived=(
            DerivedFeature(
                name="share", expression="spend_7d / max(1, ever)", type=AttributeType.INT, theme="t", description={}
            ),
        ),
    )
)  # fmt: skip
NOW = at("2026-03-31T20:00")
EVENTS = (
    (POSTED, at("2026-03-20T09:00"), {"direction": "debit", "amount": 5, "account_id": "a", "category": "fuel"}),
    (POSTED, at("2026-03-30T09:00"), {"direction": "debit", "amount": 7, "account_id": "a", "category": "dining"}),
    (POSTED, at("2026-03-30T11:00"), {"direction": "debit", "amount": 9, "account_id": "b", "category": "travel"}),
    (POSTED, at("2026-03-31T19:00"), {"direction": "credit", "amount": 50, "account_id": "a"}),
    (LOGIN, at("2026-03-31T19:30"), {}),
    ("bank.product.opened", at("2026-03-25T10:00"), {"product": "card", "account_id": "c"}),
)
UPDATES = [PositionedUpdate(0, n, Update(n, source, time, fields)) for n, (source, time, fields) in enumerate(EVENTS)]
UPDATES.append(PositionedUpdate(1, 0, Update(99, "bank.profile.updated", at("2026-03-01T08:00"), {}, {"age": 40})))
STATE = fold(FEATURES, None, UPDATES).value


def told(name):
    return provenance(FEATURES, STATE, NOW, name)


def test_a_window_in_days_begins_at_local_midnight_across_a_change_of_the_clock():
    spend = told("spend_7d")
    assert (spend.value, spend.aggregate, spend.field, spend.where) == (16, "sum", "amount", 'direction == "debit"')
    assert (spend.info.source, spend.window) == (POSTED, "7d")
    assert (spend.window_from_ms, spend.window_until_ms) == (at("2026-03-25T00:00"), NOW)
    assert (spend.evidence.rows, spend.evidence.events) == (1, 2)
    assert spend.evidence.bucket_unit == "d"


def test_a_trend_looks_at_the_window_before_as_well():
    assert told("change_7d").window_from_ms == at("2026-03-18T00:00")
    assert told("change_7d").evidence.events == 3


def test_the_longer_window_of_a_ratio_counts():
    pace = told("pace_5h_48h")
    assert pace.window == "5h_48h"
    assert pace.window_from_ms == at("2026-03-29T21:00")
    assert pace.evidence.events == 3


def test_months_are_told_by_month():
    months = told("months_2mo")
    assert months.window_from_ms == at("2026-02-01T00:00")
    assert (months.evidence.events, months.evidence.bucket_unit) == (4, "mo")


@pytest.mark.parametrize(
    ("name", "rows", "events", "newest"),
    [
        ("ever", 1, 4, None),
        ("last_at", 1, None, "2026-03-31T19:00"),
        ("category", 1, None, "2026-03-30T11:00"),
        ("recent_7d", 1, None, "2026-03-30T11:00"),
        ("largest", 2, None, None),
        ("held", 1, 1, "2026-03-25T10:00"),
        ("product_count", 1, 1, "2026-03-25T10:00"),
        ("pairs_7d", 4, 4, "2026-03-31T19:30"),
        ("age", 1, None, "2026-03-01T08:00"),
    ],
)
def test_what_lies_behind_each_kind(name, rows, events, newest):
    evidence = told(name).evidence
    assert (evidence.rows, evidence.events) == (rows, events)
    assert evidence.newest_ms == (None if newest is None else at(newest))
    assert told(name).value is not None


def test_different_values_are_counted_with_the_day_last_seen():
    kinds = told("kinds_7d")
    assert (kinds.value, kinds.evidence.rows, kinds.evidence.bucket_unit) == (2, 2, "d")


def test_a_derived_attribute_names_its_parts():
    share = told("share")
    assert share.parts == ("ever", "spend_7d")
    assert (share.value, share.evidence) == (4, NOTHING_BEHIND)


def test_of_an_unknown_customer_there_is_only_the_definition():
    spend = provenance(FEATURES, None, NOW, "spend_7d")
    assert (spend.value, spend.evidence) == (None, NOTHING_BEHIND)
    assert spend.info.definition == 'sum of amount where direction == "debit", within 7 calendar days'


def test_a_name_nobody_declared_is_refused():
    with pytest.raises(AttributeUnknown, match="spend_9d"):
        told("spend_9d")
