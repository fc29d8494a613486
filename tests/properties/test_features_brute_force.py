"""Snapshots equal what the definitions say, recomputed from plain lists of events by code that shares nothing."""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    FeatureDeclarations,
    FeatureDefinition,
    ProfileAttribute,
    Window,
)
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate, Update

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_742_000_000_000  # 15 March 2025: New York has just changed its clocks, Berlin is about to
ZONES = ("Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
POSTED, LOGIN = "bank.transaction.posted", "bank.channel.login"
FILTERS = {
    "all": (None, lambda _: True),
    "debit": ('direction == "debit"', lambda f: f.get("direction") == "debit"),
    "large": ("amount >= 500", lambda f: f.get("amount") is not None and f["amount"] >= 500),
    "known": ("has(category)", lambda f: "category" in f),
}
WINDOWS = (Window("d", 1), Window("d", 7), Window("d", 30), Window("h", 5), Window("h", 48))
BASIC = tuple(
    Aggregate(name)
    for name in (
        "count", "sum", "mean", "min", "max", "last", "first", "days_since_last", "days_since_first", "distinct",
        "ratio", "trend",
    )
)  # fmt: skip
DAYS = tuple(window for window in WINDOWS if window.unit == "d")
PAIRS = ((Window("d", 7), Window("d", 30)), (Window("h", 48), Window("d", 7)))


@dataclass(frozen=True)
class Event:
    key: int
    source: str
    time_ms: int
    fields: dict


def declared():
    """Every aggregate, windowed and over the whole life, over every filter."""
    features = []
    for name, (where, _) in FILTERS.items():
        for aggregate in BASIC:
            features += list(_variants(name, where, aggregate))
    features.append(_feature("logins", Aggregate.COUNT, None, source=LOGIN, windows=WINDOWS))
    return tuple(features)


def _variants(name, where, aggregate):
    label = f"{name}_{aggregate}"
    field = {"last": "category", "first": "category", "distinct": "category"}.get(aggregate, "amount")
    if aggregate in (Aggregate.COUNT, Aggregate.DAYS_SINCE_FIRST, Aggregate.DAYS_SINCE_LAST):
        field = None
    if aggregate is Aggregate.RATIO:
        yield _feature(label, aggregate, where, field=field, window_pairs=PAIRS)
        yield _feature(f"{label}_events", aggregate, where, window_pairs=PAIRS)
        return
    days_only = aggregate in (Aggregate.DAYS_SINCE_FIRST, Aggregate.DAYS_SINCE_LAST)
    yield _feature(label, aggregate, where, field=field, windows=DAYS if days_only else WINDOWS)
    if aggregate is not Aggregate.TREND:
        yield _feature(f"{label}_ever", aggregate, where, field=field)
    if aggregate in (Aggregate.LAST, Aggregate.FIRST):
        yield _feature(f"{label}_amount", aggregate, where, field="amount", windows=WINDOWS)
        yield _feature(f"{label}_amount_ever", aggregate, where, field="amount")


def _feature(name, aggregate, where, *, source=POSTED, field=None, windows=(), window_pairs=()):
    return FeatureDefinition(
        name=name, source=source, aggregate=aggregate, theme="t", description={}, field=field, where=where,
        windows=windows, window_pairs=window_pairs,
    )  # fmt: skip


FEATURES = declared()
COMPILED = {
    zone: compile_features(
        FeatureDeclarations(
            time_zone=zone,
            duplicate_memory=32,
            features=FEATURES,
            profile=(
                ProfileAttribute(name="age", type=AttributeType.INT, theme="t", description={}),
                ProfileAttribute(name="city", type=AttributeType.STRING, theme="t", description={}, default="?"),
            ),
        )
    )
    for zone in ZONES
}


class Model:
    """The definitions, word for word, over a plain list of events."""

    def __init__(self, events, zone, now_ms):
        self.events, self.zone, self.now_ms = events, ZoneInfo(zone), now_ms

    def unit(self, time_ms, unit):
        if unit == "h":
            return time_ms // HOUR
        return datetime.fromtimestamp(time_ms / 1000, self.zone).date().toordinal()

    def chosen(self, feature, window=None, shifted=0):
        accepts = next(accepts for where, accepts in FILTERS.values() if where == feature.where)
        inside = []
        for event in self.events:
            if event.source != feature.source or not accepts(event.fields):
                continue
            if feature.field and feature.field not in event.fields:
                continue
            if window is not None:
                age = self.unit(self.now_ms, window.unit) - self.unit(event.time_ms, window.unit)
                if not shifted * window.length <= age < (shifted + 1) * window.length:
                    continue
            inside.append(event)
        return inside

    def amount(self, feature, window, shifted=0):
        events = self.chosen(feature, window, shifted)
        return sum(e.fields[feature.field] for e in events) if feature.field else len(events)

    def value(self, feature, window):
        events = self.chosen(feature, window)
        kind = feature.aggregate
        if kind is Aggregate.COUNT:
            return len(events)
        if kind is Aggregate.DISTINCT:
            return len({e.fields[feature.field] for e in events})
        values = [e.fields[feature.field] for e in events] if feature.field else []
        if kind is Aggregate.SUM:
            return sum(values)
        if kind is Aggregate.TREND:
            now, before = self.amount(feature, window), self.amount(feature, window, 1)
            return (now - before) / before if before else None
        if not events:
            return None
        today = self.unit(self.now_ms, "d")
        ordered = sorted(events, key=lambda e: (e.time_ms, e.fields.get(feature.field) if feature.field else 0))
        return {
            Aggregate.MEAN: lambda: sum(values) / len(values),
            Aggregate.MIN: lambda: min(values),
            Aggregate.MAX: lambda: max(values),
            Aggregate.LAST: lambda: ordered[-1].fields[feature.field],
            Aggregate.FIRST: lambda: ordered[0].fields[feature.field],
            Aggregate.DAYS_SINCE_LAST: lambda: today - self.unit(ordered[-1].time_ms, "d"),
            Aggregate.DAYS_SINCE_FIRST: lambda: today - self.unit(ordered[0].time_ms, "d"),
        }[kind]()

    def ratio(self, feature, short, long):
        whole = self.amount(feature, long)
        days = [w.length / (1 if w.unit == "d" else 24) for w in (short, long)]
        return (self.amount(feature, short) / days[0]) / (whole / days[1]) if whole else None

    def attributes(self):
        found = {"city": "?", "product_count": 0}
        for feature in FEATURES:
            for short, long in feature.window_pairs:
                found[f"{feature.name}_{short}_{long}"] = self.ratio(feature, short, long)
            for window in feature.windows:
                found[f"{feature.name}_{window}"] = self.value(feature, window)
            if not feature.windows and not feature.window_pairs:
                found[feature.name] = self.value(feature, None)
        return {name: value for name, value in found.items() if value is not None}


fields = st.fixed_dictionaries(
    {"direction": st.sampled_from(["debit", "credit"])},
    optional={"amount": st.integers(0, 1000) | st.just(3_000_000_000), "category": st.sampled_from(["a", "b", "c"])},
)


@st.composite
def histories(draw, span_days=100):
    """Up to thirty events, clustered so that units, windows and moments collide."""
    count = draw(st.integers(1, 30))
    anchors = draw(st.lists(st.integers(0, span_days * 24), min_size=1, max_size=6))
    events = []
    for key in range(count):
        hours = draw(st.sampled_from(anchors))
        time_ms = START + hours * HOUR + draw(st.sampled_from([0, 1, HOUR - 1, HOUR // 2, -1, 7 * HOUR]))
        source = draw(st.sampled_from([POSTED, POSTED, POSTED, LOGIN]))
        events.append(Event(key, source, time_ms, draw(fields) if source == POSTED else {}))
    return events


def positioned(events, first_offset=0):
    return [
        PositionedUpdate(
            0 if event.source == POSTED else 1,
            first_offset + number,
            Update(event_key=event.key, source=event.source, time_ms=event.time_ms, fields=event.fields),
        )
        for number, event in enumerate(events)
    ]


def without_counter(state):
    return state[:16] + state[24:]


@settings(max_examples=60, deadline=None)
@given(history=histories(), zone=st.sampled_from(ZONES), later=st.integers(0, 40 * DAY))
def test_every_attribute_equals_its_definition(history, zone, later):
    features = COMPILED[zone]
    in_order = sorted(history, key=lambda event: event.time_ms)
    state = fold(features, None, positioned(in_order)).value
    now_ms = in_order[-1].time_ms + later
    assert read_snapshot(features, state, now_ms).attributes == Model(history, zone, now_ms).attributes()


@settings(max_examples=60, deadline=None)
@given(
    history=histories(span_days=50),
    zone=st.sampled_from(ZONES),
    later=st.integers(0, 40 * DAY),
    order=st.randoms(use_true_random=False),
    repeats=st.lists(st.integers(0, 29), max_size=8),
)
def test_order_and_duplicates_within_the_longest_window_change_nothing(history, zone, later, order, repeats):
    features = COMPILED[zone]
    shuffled = list(history)
    order.shuffle(shuffled)
    shuffled += [history[number % len(history)] for number in repeats]
    folded = fold(features, None, positioned(shuffled))
    now_ms = max(event.time_ms for event in history) + later
    assert folded.late == 0
    assert folded.duplicates == len(repeats)
    assert read_snapshot(features, folded.value, now_ms).attributes == Model(history, zone, now_ms).attributes()


@settings(max_examples=40, deadline=None)
@given(history=histories(span_days=400), zone=st.sampled_from(ZONES), order=st.randoms(use_true_random=False))
def test_events_late_beyond_every_window_are_counted_and_leave_windows_alone(history, zone, order):
    features = COMPILED[zone]
    order.shuffle(history)
    folded = fold(features, None, positioned(history))
    newest, late = 0, 0
    days = Model([], zone, 0)
    for event in history:
        newest = max(newest, event.time_ms)
        late += days.unit(newest, "d") - days.unit(event.time_ms, "d") >= 60
    assert folded.late == late
    assert folded.applied == len(history) - late
    assert read_snapshot(features, folded.value, newest).attributes == Model(history, zone, newest).attributes()


@settings(max_examples=40, deadline=None)
@given(history=histories(), cuts=st.lists(st.integers(0, 30), max_size=5))
def test_batching_makes_no_difference_to_the_bytes(history, cuts):
    features = COMPILED["Europe/Berlin"]
    updates = positioned(history)
    whole = fold(features, None, updates).value
    state = None
    edges = sorted({0, *(min(cut, len(updates)) for cut in cuts), len(updates)})
    for start, stop in pairwise(edges):
        state = fold(features, state, updates[start:stop]).value
    assert without_counter(state) == without_counter(whole)


@settings(max_examples=40, deadline=None)
@given(history=histories())
def test_folding_the_same_records_again_changes_nothing(history):
    features = COMPILED["Asia/Shanghai"]
    updates = positioned(history)
    state = fold(features, None, updates).value
    again = fold(features, state, updates)
    assert again.value == state
    assert not again.changed
    assert again.repeated == len(updates)


@settings(max_examples=40, deadline=None)
@given(history=histories(span_days=12), earlier=st.integers(0, 12 * DAY))
def test_totals_as_of_an_earlier_moment_leave_out_what_came_later(history, earlier):
    features = COMPILED["America/New_York"]
    state = fold(features, None, positioned(history)).value
    now_ms = max(event.time_ms for event in history) - earlier
    seen = read_snapshot(features, state, now_ms).attributes
    expected = Model(history, "America/New_York", now_ms).attributes()
    for feature in FEATURES:
        if feature.aggregate in (Aggregate.COUNT, Aggregate.SUM, Aggregate.MIN, Aggregate.MAX):
            for window in set(feature.windows) & set(DAYS):  # rows in hours are given up after two days
                name = f"{feature.name}_{window}"
                assert seen.get(name) == expected.get(name)


profile_changes = st.lists(
    st.tuples(st.integers(0, 5), st.dictionaries(st.sampled_from(["age", "city"]), st.integers(0, 9))), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(changes=profile_changes, order=st.randoms(use_true_random=False))
def test_the_newest_profile_value_wins_in_any_order(changes, order):
    features = COMPILED["Asia/Shanghai"]
    updates = [
        Update(
            event_key=number,
            source="bank.profile.updated",
            time_ms=START + tick,
            attributes={name: str(value) if name == "city" else value for name, value in attributes.items()},
        )
        for number, (tick, attributes) in enumerate(changes)
    ]
    expected = {"city": "?"}
    for update in sorted(updates, key=lambda update: (update.time_ms, update.attributes.get("age", -1))):
        if "age" in update.attributes:
            expected["age"] = update.attributes["age"]
    for update in sorted(updates, key=lambda update: (update.time_ms, update.attributes.get("city", ""))):
        if "city" in update.attributes:
            expected["city"] = update.attributes["city"]
    order.shuffle(updates)
    state = fold(features, None, [PositionedUpdate(2, n, update) for n, update in enumerate(updates)]).value
    attributes = read_snapshot(features, state, START + DAY).attributes
    assert {name: attributes[name] for name in ("age", "city") if name in attributes} == expected
