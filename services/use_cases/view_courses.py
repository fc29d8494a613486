"""How windowed attributes of a customer went: read from the state of today, as of now and as of earlier moments."""

from collections.abc import Callable
from dataclasses import dataclass

from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.definitions import Aggregate, FeatureDefinition, Window
from decision_engine.features.dictionary import attribute_names
from decision_engine.features.shapes import windows_of
from decision_engine.features.snapshot import read_snapshot
from decision_engine.identifiers import CustomerId
from decision_engine.portrait import Series
from services.ports import Clock, DecisionStore
from services.use_cases.make_decision import Live

MOST_POINTS = 12
_UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000, "mo": 30 * 86_400_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A series' values, oldest first, each with the moment it is as of (epoch milliseconds); None where it is missing.
    Windows do not overlap."""

    series: Series
    values: tuple[float | None, ...]
    at_ms: tuple[int, ...]
    additive: bool
    """Whether values are sums or counts over the window, not levels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewCourses:
    """Reads the courses that the strategy's portrait names, as far back as the state goes."""

    live: Callable[[], Live]
    store: DecisionStore
    clock: Clock

    async def __call__(self, customer_id: CustomerId) -> tuple[Course, ...]:
        """In the portrait's order; none without a portrait or a state. Raises StoreUnavailable."""
        live = self.live()
        portrait = live.prepared.strategy.portrait
        if portrait is None or not portrait.series:
            return ()
        state = (await (live.states or self.store).read_for_decision(customer_id, None)).state
        return () if state is None else courses(live.features, state, self.clock.now_ms(), portrait.series)


def courses(
    features: CompiledFeatures, state: bytes, now_ms: int, wanted: tuple[Series, ...]
) -> tuple[Course, ...]:  # fmt: skip
    """Each moment is read once for all series that step alike."""
    steps = {series.attribute: _steps(features, series.attribute) for series in wanted}
    moments = sorted({now_ms - step * i for step, points in steps.values() for i in range(points)})
    values = {moment: read_snapshot(features, state, moment).attributes for moment in moments}
    found = []
    for series in wanted:
        step, points = steps[series.attribute]
        at_ms = tuple(now_ms - step * i for i in reversed(range(points)))
        read = tuple(_number(values[moment].get(series.attribute)) for moment in at_ms)
        feature, _ = _declared(features, series.attribute)
        additive = feature.aggregate in (Aggregate.SUM, Aggregate.COUNT)
        found.append(Course(series=series, values=read, at_ms=at_ms, additive=additive))
    return tuple(found)


def _steps(features: CompiledFeatures, attribute: str) -> tuple[int, int]:
    """The window's length in milliseconds, and as of how many moments it can be read: what is kept reaches back as far
    as the longest window over the same events."""
    feature, window = _declared(features, attribute)
    step = _UNIT_MS[str(window.unit)] * window.length
    kept = max(
        _UNIT_MS[str(other.unit)] * other.length
        for sibling in features.declarations.features
        if (sibling.source, sibling.where) == (feature.source, feature.where)
        for other in windows_of(sibling)
        if other.unit == window.unit
    )
    return step, max(1, min(MOST_POINTS, kept // step))


def _declared(features: CompiledFeatures, attribute: str) -> tuple[FeatureDefinition, Window]:
    for feature in features.declarations.features:
        names = [name for name, _ in attribute_names(feature)]
        if attribute in names:
            return feature, windows_of(feature)[names.index(attribute)]
    raise ValueError(f"{attribute} is read over no window")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
