"""All attributes of a customer at a moment, computed again from the raw CloudEvents and the strategy's files.

Independent on purpose: nothing of the engine is imported, declarations are read with yaml, conditions by
`oracle_expressions`. What `docs/features.md` says is what is computed; erasures and linked subjects are not known here.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import yaml

from loadtests.oracle_aggregates import DAY_MS, About, Found, NotComparable, aggregate, sequence
from loadtests.oracle_events import Feature, Happened, History, Moment
from loadtests.oracle_expressions import UNKNOWN, Unknown, Value, compiled

ZERO_WHEN_EMPTY = frozenset({
    "count", "sum", "distinct", "decayed", "active", "streak", "longest_streak", "sequence", "unfollowed", "held",
    "held_change",
})  # fmt: skip
HELD = frozenset({"held", "held_change", "held_days"})
SEQUENCES = frozenset({"sequence", "unfollowed"})
Expected = dict[str, Value | About | NotComparable]


class FeatureOracle:
    """The attributes a strategy declares, and what they are."""

    def __init__(self, strategy: Path) -> None:
        self.profile: list[Feature] = []
        self.features: list[Feature] = []
        self.derived: list[tuple[str, object]] = []
        time_zone = ""
        for file in sorted(strategy.glob("*.yaml")):
            declared = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            time_zone = declared.get("time_zone", time_zone)
            self.profile += declared.get("profile", [])
            self.features += declared.get("features", [])
            self.derived += [(one["name"], compiled(one["expression"])) for one in declared.get("derived", [])]
            self.derived += [(f"segment_{one['name']}", compiled(one["when"])) for one in declared.get("segments", [])]
        self.zone = ZoneInfo(time_zone)

    def history(self, raw: Sequence[tuple[bytes, int]]) -> History:
        """Of one customer: events as published, each with the time it arrived at."""
        return History(raw, self.zone)

    def attributes(self, history: History, now_ms: int, log_ms: int) -> Expected:
        """All that are known as of `now_ms` from what had arrived by `log_ms`; missing ones are absent."""
        moment = Moment.of(now_ms, log_ms, self.zone)
        arrived = history.arrived(moment)
        found: Expected = dict(_profile(self.profile, arrived))
        spans = list(_spans(arrived))
        found["product_count"] = len({product for product, _, end in spans if end is None})
        for feature in self.features:
            for name, window in _attributes(feature):
                value = self._value(feature, window, history, spans, moment)
                if value is None:
                    value = _default(feature)
                if value is not None:
                    found[name] = value
        self._derive(found)
        return found

    def _value(
        self, feature: Feature, window: object, history: History, spans: Sequence["Span"], moment: Moment
    ) -> Found:
        kind = str(feature["aggregate"])
        if kind in HELD:
            return _held(spans, feature, window, moment, self.zone)
        events = history.chosen(feature, moment)
        if kind in SEQUENCES:
            then = feature["then"]
            assert isinstance(then, Mapping)
            return sequence(events, history.chosen(then, moment), feature, window, moment)
        return aggregate(events, feature, window, moment)

    def _derive(self, found: Expected) -> None:
        """Again and again until nothing new is known, since one may be built on another."""
        waiting = dict(self.derived)
        while waiting:
            names = {name: value for name, value in found.items() if isinstance(value, bool | int | float | str)}
            loose = {name for name, value in found.items() if isinstance(value, About | NotComparable)}
            unknown = set(waiting)
            for name, evaluate in list(waiting.items()):
                assert callable(evaluate)
                needed = _Asked({**names})
                value = evaluate(needed)
                if needed.asked & (unknown - {name}):
                    continue
                del waiting[name]
                if needed.asked & loose:
                    found[name] = NotComparable()
                elif not isinstance(value, Unknown):
                    found[name] = value
            if len(waiting) == len(unknown):
                raise ValueError(f"derived features need one another: {sorted(waiting)}")


class _Asked(dict[str, Value]):
    """Notes what an expression looks at."""

    def __init__(self, known: Mapping[str, Value]) -> None:
        super().__init__(known)
        self.asked: set[str] = set()

    def get(self, name: str, default: object = UNKNOWN) -> object:  # type: ignore[override]
        self.asked.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)


def _attributes(feature: Feature) -> Iterator[tuple[str, object]]:
    windows = feature.get("windows")
    if not isinstance(windows, list) or not windows:
        yield str(feature["name"]), None
        return
    for window in windows:
        yield f"{feature['name']}_{'_'.join(window) if isinstance(window, list) else window}", window


def _default(feature: Feature) -> Value | None:
    zero = feature["over"] == "count" if "per" in feature else feature["aggregate"] in ZERO_WHEN_EMPTY
    declared = feature.get("default", 0 if zero else None)
    assert declared is None or isinstance(declared, bool | int | float | str)
    return declared


def _profile(declared: Sequence[Feature], arrived: Sequence[Happened]) -> Iterator[tuple[str, Value]]:
    """The newest value of the declared type, of equally new ones the larger."""
    fits = {"bool": (bool,), "int": (int,), "timestamp": (int,), "double": (int, float), "string": (str,)}
    for attribute in declared:
        name, kinds = str(attribute["name"]), fits[str(attribute["type"])]
        said = [(e.at_ms, e.attributes[name]) for e in arrived if type(e.attributes.get(name)) in kinds]
        if said:
            yield name, max(said)[1]
        elif (default := attribute.get("default")) is not None:
            assert isinstance(default, bool | int | float | str)
            yield name, default


Span = tuple[str, int, int | None]
"""Product, opened, closed; epoch milliseconds."""


def _spans(arrived: Sequence[Happened]) -> Iterator[Span]:
    """The newest opening of each account, until the newest closing of its own or of the whole product."""
    opened: dict[tuple[str, object], int] = {}
    closed: dict[tuple[str, object], int] = {}
    for event in arrived:
        if event.type not in ("bank.product.opened", "bank.product.closed"):
            continue
        account = str(event.fields["product"]), event.fields.get("account_id")
        known = opened if event.type == "bank.product.opened" else closed
        known[account] = max(event.at_ms, known.get(account, event.at_ms))
    for (product, of), at_ms in opened.items():
        ends = [end for one in (of, None) if (end := closed.get((product, one))) is not None and end >= at_ms]
        yield product, at_ms, min(ends) if ends else None


def _held(spans: Sequence[Span], feature: Feature, window: object, moment: Moment, zone: ZoneInfo) -> Found:
    products = feature.get("products")
    chosen = [span for span in spans if not isinstance(products, list) or span[0] in products]
    if feature["aggregate"] == "held_days":
        since = [opened for _, opened, end in chosen if end is None]
        return moment.day - Moment.of(min(since), 0, zone).day if since else None
    now = len({product for product, _, end in chosen if end is None})
    if window is None:
        return now
    then_ms = moment.now_ms - int(str(window).removesuffix("d")) * DAY_MS
    then = len({p for p, opened, end in chosen if opened <= then_ms and (end is None or end > then_ms)})
    return then if feature["aggregate"] == "held" else now - then
