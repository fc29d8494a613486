"""Where an attribute's value comes from: its definition, the window as of now, and what lies behind it."""

from collections.abc import Callable
from dataclasses import dataclass

from decision_engine.conditions.parser import parse
from decision_engine.conditions.syntax import names_in
from decision_engine.errors import DecisionEngineError
from decision_engine.features.calendar_units import DAYS, HOURS, MINUTE_MS, MINUTES, Now, first_day
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.definitions import Aggregate, AttributeInfo, FeatureDefinition, Value, Window
from decision_engine.features.dictionary import attribute_names
from decision_engine.features.evidence import NOTHING_BEHIND, Evidence, feature_evidence, profile_evidence
from decision_engine.features.local_days import DAY_MS, HOUR_MS
from decision_engine.features.shapes import windows_of
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.state import decode_state


class AttributeUnknown(DecisionEngineError):
    """No attribute of this name is declared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """An attribute as of a moment. Times are epoch milliseconds; what is not known is None."""

    info: AttributeInfo
    value: Value | None
    """None while it is missing."""
    aggregate: str | None
    where: str | None
    """The filter its events pass, None for all of them."""
    field: str | None
    window: str | None
    """As declared: `7d`, or `7d_90d` for a ratio; None for the whole life."""
    window_from_ms: int | None
    """When the window began, the longer one of two; a trend's begins with the one it is compared with."""
    window_until_ms: int | None
    evidence: Evidence
    parts: tuple[str, ...]
    """The attributes a derived one is computed from."""


def provenance(features: CompiledFeatures, state: bytes | None, now_ms: int, name: str) -> Provenance:
    """Where the attribute's value comes from as of `now_ms`. Raises AttributeUnknown for a name that is not declared,
    StateUnreadable for bytes of another layout."""
    info = features.infos.get(name)
    if info is None:
        raise AttributeUnknown(f"no attribute {name} is declared")
    value = read_snapshot(features, state, now_ms).attributes.get(name)
    found = _declared(features, name)
    if found is None:
        return _plain(features, info, value, state)
    feature, windows = found
    now = Now(now_ms, features.day_of(now_ms))
    begin = None if not windows else _begins(features.day_of, now, _longest(feature, windows))
    evidence = NOTHING_BEHIND
    if state is not None:
        reach = None if not windows else _longest(feature, windows)
        evidence = feature_evidence(features, decode_state(state, features.layout_bytes), now, feature, reach)
    return Provenance(
        info=info,
        value=value,
        aggregate=feature.aggregate.value,
        where=feature.where,
        field=feature.field,
        window="_".join(str(window) for window in windows) or None,
        window_from_ms=begin,
        window_until_ms=None if begin is None else now_ms,
        evidence=evidence,
        parts=(),
    )


def _plain(features: CompiledFeatures, info: AttributeInfo, value: Value | None, state: bytes | None) -> Provenance:
    """A profile attribute, a derived or a built-in one."""
    derived = {feature.name: feature.expression for feature in features.declarations.derived}
    parts: tuple[str, ...] = ()
    evidence = NOTHING_BEHIND
    if info.name in derived:
        parts = tuple(sorted(names_in(parse(derived[info.name])) & features.infos.keys()))
    elif state is not None:
        evidence = profile_evidence(features, decode_state(state, features.layout_bytes), info.name)
    return Provenance(
        info=info,
        value=value,
        aggregate=None,
        where=None,
        field=None,
        window=None,
        window_from_ms=None,
        window_until_ms=None,
        evidence=evidence,
        parts=parts,
    )


def _declared(features: CompiledFeatures, name: str) -> tuple[FeatureDefinition, tuple[Window, ...]] | None:
    """The feature that yields the attribute, with the windows of this one."""
    for feature in features.declarations.features:
        names = [declared for declared, _ in attribute_names(feature)]
        if name in names:
            at = names.index(name)
            if feature.window_pairs:
                return feature, feature.window_pairs[at]
            windows = windows_of(feature)
            return feature, windows[at : at + 1]
    return None


def _longest(feature: FeatureDefinition, windows: tuple[Window, ...]) -> Window:
    longest = windows[-1]
    return Window(longest.unit, 2 * longest.length) if feature.aggregate is Aggregate.TREND else longest


def _begins(day_of: Callable[[int], int], now: Now, window: Window) -> int:
    """The first moment of the window."""
    bucket = now.bucket(window.unit) - window.length + 1
    if window.unit in (MINUTES, HOURS):
        return bucket * (MINUTE_MS if window.unit == MINUTES else HOUR_MS)
    return day_begins(day_of, first_day(window.unit, bucket) if window.unit != DAYS else bucket)


def day_begins(day_of: Callable[[int], int], day: int) -> int:
    """The first millisecond of a local day."""
    low, high = (day - 2) * DAY_MS, (day + 2) * DAY_MS
    while low < high:
        middle = (low + high) // 2
        if day_of(middle) < day:
            low = middle + 1
        else:
            high = middle
    return low
