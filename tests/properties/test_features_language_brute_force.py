"""Decay, shares, tops, habits, streaks, sequences, accounts and holdings equal what their definitions say, recomputed
from plain lists of events by code that shares nothing, for any order of arrival and with repetitions."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

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

MINUTE, HOUR = 60_000, 3_600_000
DAY = 24 * HOUR
START = 1_742_000_000_000  # 15 March 2025: New York has just changed its clocks, Berlin is about to
ZONES = ("Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
POSTED, LOGIN, OPENED, CLOSED = (
    "bank.transaction.posted", "bank.channel.login", "bank.product.opened", "bank.product.closed",
)  # fmt: skip
FILTERS = {None: lambda _: True, 'direction == "debit"': lambda f: f["direction"] == "debit"}
PART = "amount >= 500"
ALL_UNITS = (Window("m", 90), Window("h", 30), Window("d", 10), Window("w", 3), Window("mo", 2))
PAIRS = (
    (Window("m", 15), Window("m", 200)), (Window("h", 5), Window("h", 48)), (Window("d", 7), Window("d", 30)),
    (Window("w", 1), Window("w", 4)), (Window("mo", 1), Window("mo", 2)),
)  # fmt: skip
CALENDAR = tuple(window for window in ALL_UNITS if window.unit in ("d", "w", "mo"))
WITHIN = 36 * HOUR


@dataclass(frozen=True)
class Event:
    key: int
    source: str
    time_ms: int
    fields: dict


def feature(name, aggregate, **overrides):
    values = {"source": POSTED, "theme": "t", "description": {}}
    return FeatureDefinition(name=name, aggregate=aggregate, **{**values, **overrides})


def declared():
    for number, where in enumerate(FILTERS):
        for kind in ("count", "sum", "mean", "min", "max", "trend", "share"):
            amount = None if kind == "count" else "amount"
            part = PART if kind == "share" else None
            yield feature(f"{kind}_{number}", Aggregate(kind), where=where, field=amount, part=part, windows=ALL_UNITS)
        yield feature(f"share_events_{number}", Aggregate.SHARE, where=where, part=PART, windows=ALL_UNITS)
        for field in (None, "amount"):
            label = f"{number}_{field}"
            for apart in (False, True):
                yield feature(
                    f"ratio_{apart}_{label}", Aggregate.RATIO, where=where, field=field, window_pairs=PAIRS, apart=apart
                )
            for half_life in (Window("d", 3), Window("h", 12)):
                yield feature(
                    f"pace_{half_life}_{label}", Aggregate.DECAYED, where=where, field=field, half_life=half_life
                )
            bounded = (Window("d", 10),)
            yield feature(
                f"bounded_{label}",
                Aggregate.DECAYED,
                where=where,
                field=field,
                half_life=Window("d", 3),
                windows=bounded,
            )
        for kind in (Aggregate.TOP, Aggregate.TOP_SHARE):
            for weigh in (None, "amount"):
                for values in ((), ("a", "c")):
                    yield feature(
                        f"{kind}_{weigh}_{len(values)}_{number}", kind, where=where, field="category", weigh=weigh,
                        values=values, windows=ALL_UNITS,
                    )  # fmt: skip
        for kind in (Aggregate.ACTIVE, Aggregate.STREAK, Aggregate.LONGEST_STREAK):
            yield feature(f"{kind}_{number}", kind, where=where, windows=ALL_UNITS[1:])
        for kind in (Aggregate.USUAL_HOUR, Aggregate.USUAL_WEEKDAY):
            yield feature(f"{kind}_{number}", kind, where=where, windows=CALENDAR)
        for kind in (Aggregate.LAST_AT, Aggregate.FIRST_AT):
            yield feature(f"{kind}_{number}", kind, where=where)
        for same in (None, "account_id"):
            for kind in (Aggregate.SEQUENCE, Aggregate.UNFOLLOWED):
                yield feature(
                    f"{kind}_{same}_{number}", kind, where=where, windows=(Window("d", 10),),
                    then=Sequel(source=POSTED, where='direction == "credit"', within_ms=WITHIN, same=same),
                )  # fmt: skip
        yield from accounts(number, where)
    for products in ((), ("card",)):
        label = len(products)
        yield feature(f"held_{label}", Aggregate.HELD, source=OPENED, products=products)
        yield feature(f"held_then_{label}", Aggregate.HELD, source=OPENED, products=products, windows=(Window("d", 5),))
        change = (Window("d", 5), Window("d", 30))
        yield feature(f"held_change_{label}", Aggregate.HELD_CHANGE, source=OPENED, products=products, windows=change)
        yield feature(f"held_days_{label}", Aggregate.HELD_DAYS, source=OPENED, products=products)


def accounts(number, where):
    for over in RollUp:
        for kind in ("count", "sum", "mean", "min", "max", "last", "first", "days_since_last", "days_since_first"):
            aggregate = Aggregate(kind)
            field = None if kind in ("count", "days_since_last", "days_since_first") else "amount"
            per = Grouping(field="account_id", over=over)
            yield feature(f"per_{kind}_{over}_{number}", aggregate, where=where, field=field, per=per)
            if kind in ("count", "sum", "mean", "min", "max"):
                enough = Grouping(field="account_id", over=over, at_least=400)
                yield feature(
                    f"per_w_{kind}_{over}_{number}", aggregate, where=where, field=field, per=enough, windows=ALL_UNITS
                )
        per = Grouping(field="account_id", over=over)
        yield feature(f"per_streak_{over}_{number}", Aggregate.STREAK, where=where, per=per, windows=CALENDAR)


FEATURES = tuple(declared())
COMPILED = {
    zone: compile_features(FeatureDeclarations(time_zone=zone, features=FEATURES, duplicate_memory=32))
    for zone in ZONES
}
ZERO = {"count", "sum", "active", "streak", "longest_streak", "sequence", "unfollowed", "held", "held_change"}


class Model:
    """The definitions, word for word, over a plain list of events."""

    def __init__(self, events, zone, now_ms):
        self.events, self.zone, self.now_ms = events, ZoneInfo(zone), now_ms

    def local(self, time_ms):
        return datetime.fromtimestamp(time_ms / 1000, self.zone)

    def unit(self, time_ms, unit):
        moment = self.local(time_ms)
        monday = moment.date() - timedelta(days=moment.weekday())
        return {
            "m": time_ms // MINUTE, "h": time_ms // HOUR, "d": moment.date().toordinal(),
            "w": monday.toordinal() // 7, "mo": moment.year * 12 + moment.month,
        }[unit]  # fmt: skip

    def age(self, event, unit):
        return self.unit(self.now_ms, unit) - self.unit(event.time_ms, unit)

    def chosen(self, definition, window=None, shifted=0):
        needed = [definition.field, definition.weigh, definition.per.field if definition.per else None]
        return [
            event
            for event in self.events
            if event.source == definition.source
            and FILTERS[definition.where](event.fields)
            and all(name in event.fields for name in needed if name)
            and (
                window is None
                or shifted * window.length <= self.age(event, window.unit) < (shifted + 1) * window.length
            )
        ]

    @staticmethod
    def amount(definition, events):
        field = definition.weigh if definition.aggregate in (Aggregate.TOP, Aggregate.TOP_SHARE) else definition.field
        return sum(e.fields[field] for e in events) if field else len(events)

    def value(self, definition, window):
        kind = str(definition.aggregate)
        if kind.startswith("held"):
            return self.held(definition, window)
        if kind in ("sequence", "unfollowed"):
            return self.sequence(definition, window)
        events = self.chosen(definition, window)
        if definition.per:
            return self.rolled_up(definition, events, window)
        if kind == "trend":
            now, before = (self.amount(definition, self.chosen(definition, window, shift)) for shift in (0, 1))
            return (now - before) / before if before else None
        if kind == "share":
            part = [e for e in events if e.fields.get("amount", 0) >= 500]
            whole = self.amount(definition, events)
            return self.amount(definition, part) / whole if whole else None
        if kind == "decayed":
            return self.decayed(definition, events)
        if kind.startswith("top"):
            return self.top(definition, events)
        if kind.startswith("usual"):
            read = (lambda m: m.hour) if kind == "usual_hour" else (lambda m: m.isoweekday() % 7)
            found = Counter(read(self.local(e.time_ms)) for e in events)
            return min(found, key=lambda v: (-found[v], v)) if found else None
        return self.single(kind, events, definition.field, window)

    def single(self, kind, events, field, window):
        if kind in ("active", "streak", "longest_streak"):
            return self.run(kind, {self.age(e, window.unit) for e in events}, window.length)
        if not events:
            return 0 if kind in ZERO else None
        values = [e.fields[field] for e in events] if field else []
        today = self.unit(self.now_ms, "d")
        ordered = sorted(events, key=lambda e: (e.time_ms, e.fields[field] if field else 0))
        return {
            "count": lambda: len(events),
            "sum": lambda: sum(values),
            "mean": lambda: sum(values) / len(values),
            "min": lambda: min(values),
            "max": lambda: max(values),
            "last": lambda: ordered[-1].fields[field],
            "first": lambda: ordered[0].fields[field],
            "last_at": lambda: ordered[-1].time_ms,
            "first_at": lambda: ordered[0].time_ms,
            "days_since_last": lambda: today - self.unit(ordered[-1].time_ms, "d"),
            "days_since_first": lambda: today - self.unit(ordered[0].time_ms, "d"),
        }[kind]()

    @staticmethod
    def run(kind, ages, length):
        if kind == "active":
            return len(ages)
        begins = range(length) if kind == "longest_streak" else (0, 1)
        runs = []
        for begin in begins:
            run = 0
            while begin + run in ages:
                run += 1
            runs.append(run)
            if kind == "streak" and run:
                break
        return max(runs)

    def decayed(self, definition, events):
        half_life = definition.half_life
        horizon = definition.windows[0].length if definition.windows else 10 * half_life.length
        total = Fraction(0)
        for event in events:
            age = self.age(event, half_life.unit)
            if age < horizon:
                weight = Fraction(round(2 ** (20 - age / half_life.length)), 2**20)
                total += weight * (event.fields[definition.field] if definition.field else 1)
        return float(total)

    def top(self, definition, events):
        groups = defaultdict(list)
        for event in events:
            value = event.fields["category"]
            if not definition.values or value in definition.values:
                groups[value].append(event)
        if not groups:
            return None
        amounts = {value: self.amount(definition, group) for value, group in groups.items()}
        best = min(amounts, key=lambda value: (-amounts[value], value))
        if definition.aggregate is Aggregate.TOP:
            return best
        whole = sum(amounts.values())
        return amounts[best] / whole if whole else None

    def rolled_up(self, definition, events, window):
        groups = defaultdict(list)
        for event in events:
            groups[event.fields["account_id"]].append(event)
        kind = str(definition.aggregate)
        values = [self.single(kind, group, definition.field, window) for group in groups.values()]
        if definition.per.at_least is not None:
            values = [value for value in values if value >= definition.per.at_least]
        if definition.per.over is RollUp.COUNT:
            return len(values)
        if not values:
            return None
        return {
            RollUp.MAX: lambda: max(values),
            RollUp.MIN: lambda: min(values),
            RollUp.SUM: lambda: sum(sorted(values)),
            RollUp.MEAN: lambda: sum(sorted(values)) / len(values),
        }[definition.per.over]()

    def sequence(self, definition, window):
        same = definition.then.same
        accepts = FILTERS[definition.where]
        posted = [e for e in self.events if e.source == POSTED and (not same or same in e.fields)]
        first = [e for e in posted if accepts(e.fields)]
        then = [e for e in posted if e.fields["direction"] == "credit"]

        def follows(a, b):
            shared = not same or a.fields[same] == b.fields[same]
            return shared and a.time_ms < b.time_ms <= a.time_ms + WITHIN

        def inside(e):
            return self.age(e, "d") < window.length

        if definition.aggregate is Aggregate.SEQUENCE:
            return sum(inside(b) and any(follows(a, b) for a in first) for b in then)
        waited = [a for a in first if a.time_ms + WITHIN <= self.now_ms]
        return sum(inside(a) and not any(follows(a, b) for b in then) for a in waited)

    def held(self, definition, window):
        then_ms = self.now_ms - (window.length if window else 0) * DAY
        now = {p: self.since(p, self.now_ms) for p in self.products(definition)}
        count = sum(bool(since) for since in now.values())
        then = sum(bool(self.since(p, then_ms)) for p in self.products(definition))
        if definition.aggregate is Aggregate.HELD:
            return then if window else count
        if definition.aggregate is Aggregate.HELD_CHANGE:
            return count - then
        opened = [since for times in now.values() for since in times]
        return self.unit(self.now_ms, "d") - self.unit(min(opened), "d") if opened else None

    def products(self, definition):
        seen = {e.fields["product"] for e in self.events if e.source in (OPENED, CLOSED)}
        return seen & set(definition.products) if definition.products else seen

    def since(self, product, moment_ms):
        """When the accounts held then were opened. Every account is opened once in these histories."""
        found = []
        for event in self.events:
            if event.source == OPENED and event.fields["product"] == product and event.time_ms <= moment_ms:
                account = event.fields["account_id"]
                own = self.closings(product, account)
                everything = self.closings(product, None)
                # Of each kind only the newest closing is known.
                newest = [max(times) for times in (own, everything) if times]
                if not any(event.time_ms <= closing <= moment_ms for closing in newest):
                    found.append(event.time_ms)
        return found

    def closings(self, product, account):
        fields = {"product": product} if account is None else {"product": product, "account_id": account}
        return [e.time_ms for e in self.events if e.source == CLOSED and e.fields == fields]

    def attributes(self):
        found = {
            "product_count": sum(bool(self.since(p, self.now_ms)) for p in self.products(feature("x", Aggregate.HELD)))
        }
        for definition in FEATURES:
            for short, long in definition.window_pairs:
                found[f"{definition.name}_{short}_{long}"] = self.ratio(definition, short, long)
            for window in definition.windows:
                found[f"{definition.name}_{window}"] = self.value(definition, window)
            if not definition.windows and not definition.window_pairs:
                found[definition.name] = self.value(definition, None)
        return {name: value for name, value in found.items() if value is not None}

    def ratio(self, definition, short, long):
        days = {"m": 1 / 1440, "h": 1 / 24, "d": 1, "w": 7, "mo": 365.25 / 12}
        above, below = (self.amount(definition, self.chosen(definition, w)) for w in (short, long))
        above_days, below_days = (w.length * days[w.unit] for w in (short, long))
        if definition.apart:
            below, below_days = below - above, below_days - above_days
        return (above / above_days) / (below / below_days) if below else None


def close(seen, expected):
    """Equal, but for the last digits of ratios."""
    assert seen.keys() == expected.keys()
    for name, value in expected.items():
        if name.startswith("ratio") or "mean" in name:
            assert abs(seen[name] - value) <= 1e-12 * max(1.0, abs(value)), name
        else:
            assert (seen[name], type(seen[name])) == (value, type(value)), name


posting = st.fixed_dictionaries(
    {"direction": st.sampled_from(["debit", "credit"]), "account_id": st.sampled_from(["one", "two", "three"])},
    optional={"amount": st.integers(0, 1000) | st.just(3_000_000_000), "category": st.sampled_from(["a", "b", "c"])},
)


@st.composite
def histories(draw, span_days=60):
    """Up to thirty events, clustered so that units, windows and moments collide."""
    anchors = draw(st.lists(st.integers(0, span_days * 24), min_size=1, max_size=6))
    events = []
    for key in range(draw(st.integers(1, 30))):
        time_ms = START + draw(st.sampled_from(anchors)) * HOUR
        time_ms += draw(st.sampled_from([0, 1, HOUR - 1, HOUR // 2, -1, 7 * HOUR, 10 * MINUTE, 40 * MINUTE, WITHIN]))
        source = draw(st.sampled_from([POSTED, POSTED, POSTED, POSTED, OPENED, CLOSED]))
        if source == POSTED:
            fields = draw(posting)
        else:
            fields = {"product": draw(st.sampled_from(["card", "loan"]))}
            if source == OPENED:
                fields["account_id"] = f"account-{key}"
            elif draw(st.booleans()):
                fields["account_id"] = f"account-{draw(st.integers(0, 29))}"
        events.append(Event(key, source, time_ms, fields))
    return events


def positioned(events):
    return [
        PositionedUpdate(
            0, number, Update(event_key=event.key, source=event.source, time_ms=event.time_ms, fields=event.fields)
        )
        for number, event in enumerate(events)
    ]


@settings(max_examples=40, deadline=None)
@given(history=histories(), zone=st.sampled_from(ZONES), later=st.integers(0, 20 * DAY))
def test_every_attribute_of_the_language_equals_its_definition(history, zone, later):
    features = COMPILED[zone]
    in_order = sorted(history, key=lambda event: event.time_ms)
    now_ms = in_order[-1].time_ms + later
    seen = read_snapshot(features, fold(features, None, positioned(in_order)).value, now_ms).attributes
    close(seen, Model(history, zone, now_ms).attributes())


@settings(max_examples=40, deadline=None)
@given(
    history=histories(span_days=50),
    zone=st.sampled_from(ZONES),
    later=st.integers(0, 20 * DAY),
    order=st.randoms(use_true_random=False),
    repeats=st.lists(st.integers(0, 29), max_size=8),
    cut=st.integers(0, 38),
)
def test_order_repetition_and_batches_change_nothing_of_what_is_told(history, zone, later, order, repeats, cut):
    features = COMPILED[zone]
    in_order = sorted(history, key=lambda event: event.time_ms)
    shuffled = list(history)
    order.shuffle(shuffled)
    shuffled += [history[number % len(history)] for number in repeats]
    now_ms = in_order[-1].time_ms + later
    updates = positioned(shuffled)
    state = fold(features, fold(features, None, updates[:cut]).value, updates[cut:]).value
    seen = read_snapshot(features, state, now_ms).attributes
    straight = read_snapshot(features, fold(features, None, positioned(in_order)).value, now_ms).attributes
    assert seen == straight
    close(seen, Model(history, zone, now_ms).attributes())
