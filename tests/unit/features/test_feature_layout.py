"""What belongs to the layout of a state and what does not, and which declarations have no meaning."""

import pytest

from decision_engine.errors import DecisionEngineError
from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    DerivedFeature,
    FeatureDeclarations,
    FeatureDefinition,
    ProfileAttribute,
    Window,
)
from decision_engine.features.updates import EVENT_FIELDS

WEEK, MONTH = Window("d", 7), Window("d", 30)


def make_feature(**overrides):
    values = {
        "name": "x",
        "source": "bank.transaction.posted",
        "aggregate": Aggregate.SUM,
        "field": "amount",
        "where": 'direction == "debit"',
        "windows": (WEEK, MONTH),
        "theme": "transaction",
        "description": {},
    }
    return FeatureDefinition(**{**values, **overrides})


def make_declarations(*features, **overrides):
    return FeatureDeclarations(**{"time_zone": "Asia/Shanghai", "features": features or (make_feature(),), **overrides})


def make_profile(name="age", kind=AttributeType.INT, **overrides):
    return ProfileAttribute(name=name, type=kind, theme="basic", description={}, **overrides)


def layout(*features, **overrides):
    return compile_features(make_declarations(*features, **overrides)).layout


def derived(expression, kind=AttributeType.DOUBLE, name="d"):
    return DerivedFeature(name=name, expression=expression, type=kind, theme="t", description={})


def test_the_layout_is_sixteen_hexadecimal_digits():
    assert len(layout()) == 16
    assert int(layout(), 16) >= 0


@pytest.mark.parametrize(
    "other",
    [
        make_declarations(make_feature(name="y", theme="risk", description={"en": "words"}, default=3)),
        make_declarations(make_feature(windows=(MONTH,))),
        make_declarations(make_feature(), make_feature(name="m", aggregate=Aggregate.MEAN, windows=(WEEK,))),
        make_declarations(make_feature(where=' direction == "debit" ')),
        make_declarations(derived=(derived("x_7d * 2.0 / 1.0"),)),
    ],
    ids=["words", "a shorter window", "another aggregate of the same stream", "blanks", "a derived feature"],
)
def test_what_changes_no_bytes_keeps_the_layout(other):
    assert compile_features(other).layout == layout()


@pytest.mark.parametrize(
    "other",
    [
        make_declarations(make_feature(where='direction == "credit"')),
        make_declarations(make_feature(windows=(Window("d", 31),))),
        make_declarations(make_feature(windows=(Window("h", 30),))),
        make_declarations(make_feature(field="balance_after")),
        make_declarations(make_feature(), make_feature(name="m", aggregate=Aggregate.MAX)),
        make_declarations(make_feature(), make_feature(name="m", windows=())),
        make_declarations(time_zone="Europe/Berlin"),
        make_declarations(duplicate_memory=64),
        make_declarations(profile=(make_profile(),)),
    ],
    ids=["filter", "longest window", "unit", "field", "extremes", "slot", "time zone", "memory", "profile"],
)
def test_what_changes_bytes_changes_the_layout(other):
    assert compile_features(other).layout != layout()


def test_the_order_of_declarations_does_not_matter():
    features = [make_feature(), make_feature(name="n", aggregate=Aggregate.COUNT, field=None)]
    profile = (make_profile("a"), make_profile("b"))
    assert layout(*features, profile=profile) == layout(*reversed(features), profile=profile[::-1])


def test_features_over_the_same_events_share_a_stream():
    compiled = compile_features(
        make_declarations(
            make_feature(),
            make_feature(name="m", aggregate=Aggregate.MEAN),
            make_feature(name="t", aggregate=Aggregate.TREND),
            make_feature(name="most", aggregate=Aggregate.MAX),
        )
    )
    assert len(compiled.stored.streams) == 1
    assert compiled.stored.reaches == (60,)


def test_with_the_fields_of_events_the_layout_is_the_same():
    declarations = make_declarations()
    assert compile_features(declarations, EVENT_FIELDS).layout == compile_features(declarations).layout


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (make_feature(aggregate=Aggregate.RATIO), "pairs of windows"),
        (make_feature(window_pairs=((WEEK, MONTH),)), "only a ratio"),
        (make_feature(aggregate=Aggregate.TREND, windows=()), "trend takes windows"),
        (make_feature(field=None), "sum takes a field"),
        (make_feature(windows=(Window("y", 1),)), "hours or days"),
        (make_feature(windows=(Window("d", 0),)), "hours or days"),
        (make_feature(aggregate=Aggregate.DAYS_SINCE_LAST, windows=(Window("h", 4),)), "windows are in days"),
        (make_feature(where="direction =="), "cannot be used"),
        (make_feature(where='has_product("x")'), "knows only the event"),
        (make_feature(where='directoin == "debit"'), "did you mean direction"),
        (make_feature(source="bank.nothing"), "no events of type"),
        (make_feature(field="amuont"), "has no field"),
        (make_feature(field="category"), "takes a whole number"),
    ],
)
def test_declarations_without_meaning_are_refused_by_name(feature, message):
    with pytest.raises(DecisionEngineError, match=message):
        compile_features(make_declarations(feature), EVENT_FIELDS)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((derived("x_8d + 1"),), "x_7d"),
        ((derived("x_7d > 1"),), "declared as double"),
        ((derived("e", name="d"), derived("d", name="e")), "depend on each other"),
    ],
)
def test_derived_features_that_cannot_be_computed_are_refused(features, message):
    with pytest.raises(DecisionEngineError, match=message):
        compile_features(make_declarations(derived=features))


@pytest.mark.parametrize("memory", [-1, 5000])
def test_a_memory_that_would_not_fit_is_refused(memory):
    with pytest.raises(DecisionEngineError, match="duplicate_memory"):
        layout(duplicate_memory=memory)


def test_an_unknown_time_zone_is_refused():
    with pytest.raises(DecisionEngineError, match="time zone 'Mars/Olympus' is not known"):
        layout(time_zone="Mars/Olympus")


@pytest.mark.parametrize(
    "where",
    [
        "amount >= 500 && !(own_account == true)",
        "own_account && amount + balance_after < 10",
        'category.startsWith("tr") || kind in ["fee", "tax"]',
        'has(merchant_country) && merchant_country != "CN"',
        "-balance_after > amount * 2",
    ],
)
def test_filters_mean_the_same_with_and_without_the_schema(where):
    """Without the schema of events the types of names follow from their use."""
    declarations = make_declarations(make_feature(where=where, aggregate=Aggregate.COUNT, field=None))
    plans = [compile_features(declarations, fields).plans["bank.transaction.posted"] for fields in (None, EVENT_FIELDS)]
    events = [
        {"amount": 600, "own_account": False, "balance_after": 1},
        {"amount": 600, "own_account": True, "balance_after": -2000},
        {"category": "travel", "merchant_country": "FR"},
        {"kind": "tax", "merchant_country": "CN"},
        {},
    ]
    answers = [[plan.filters(fields, 0) for fields in events] for plan in plans]
    assert answers[0] == answers[1]
    assert any(answers[0])
    assert not all(answers[0])
