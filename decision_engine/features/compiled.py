"""Declared features made ready: what to store, how to fold an event, how to read all attributes at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from decision_engine.errors import DecisionEngineError
from decision_engine.features.definitions import Aggregate, AttributeType, FeatureDeclarations
from decision_engine.features.derived import DerivedAttribute, compile_derived
from decision_engine.features.dictionary import attribute_infos, attribute_names
from decision_engine.features.effects import EventPlan, plan_events, signature_width
from decision_engine.features.layout import Layout, plan_layout
from decision_engine.features.local_days import local_day_of
from decision_engine.features.readings import ReadingPlan, plan_readings

EventFields = Mapping[str, Mapping[str, AttributeType]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledFeatures:
    """The features of one strategy, ready to fold and to read.

    `layout` names what determines the stored bytes (16 hex digits): states of another layout cannot be read.
    """

    layout: str
    names: tuple[str, ...]
    """Every attribute a snapshot may hold, in the order of the dictionary."""
    stored: Layout
    plans: Mapping[str, EventPlan]
    readings: ReadingPlan
    derived: tuple[DerivedAttribute, ...]
    profile_types: Mapping[str, AttributeType]
    day_of: Callable[[int], int]
    duplicate_memory: int
    late_days: int
    """An event this many local days older than the newest is outside every window; 0 when there are no windows."""
    signature_width: int
    layout_bytes: bytes = field(repr=False)


def compile_features(declarations: FeatureDeclarations, event_fields: EventFields | None = None) -> CompiledFeatures:
    """Compiles the declarations. With `event_fields` (`features.updates.EVENT_FIELDS`) names and types of filters and
    fields are checked; without, they are taken to be what their use asks for.

    Raises DecisionEngineError naming the first feature, filter or expression that cannot be used.
    """
    if event_fields is not None:
        _check_fields(declarations, event_fields)
    stored = plan_layout(declarations)
    day_of = local_day_of(declarations.time_zone)
    types = {name: info.type for name, info in attribute_infos(declarations, event_fields).items()}
    return CompiledFeatures(
        layout=stored.hash,
        names=tuple(types),
        stored=stored,
        plans=plan_events(stored, event_fields),
        readings=plan_readings(declarations, stored, types, day_of),
        derived=compile_derived(declarations, types, _untold(declarations) if event_fields is None else frozenset()),
        profile_types={attribute.name: attribute.type for attribute in declarations.profile},
        day_of=day_of,
        duplicate_memory=declarations.duplicate_memory,
        late_days=_late_days(stored),
        signature_width=signature_width(stored),
        layout_bytes=bytes.fromhex(stored.hash),
    )


def _untold(declarations: FeatureDeclarations) -> frozenset[str]:
    """Attributes that take the type of an event's field."""
    features = (feature for feature in declarations.features if feature.aggregate in (Aggregate.LAST, Aggregate.FIRST))
    return frozenset(name for feature in features for name, _ in attribute_names(feature))


def _late_days(layout: Layout) -> int:
    days = [reach for stream, reach in layout.keeps.items() if stream.unit == "d"]
    hours = [-(-reach // 24) + 1 for stream, reach in layout.keeps.items() if stream.unit == "h"]
    return max([*days, *hours], default=0)


_WHOLE_NUMBERS = frozenset(
    {Aggregate.SUM, Aggregate.MEAN, Aggregate.MIN, Aggregate.MAX, Aggregate.RATIO, Aggregate.TREND}
)


def _check_fields(declarations: FeatureDeclarations, event_fields: EventFields) -> None:
    for feature in declarations.features:
        fields = event_fields.get(feature.source)
        if fields is None:
            raise DecisionEngineError(f"feature {feature.name}: no events of type {feature.source} become state")
        if feature.field is None:
            continue
        kind = fields.get(feature.field)
        if kind is None:
            raise DecisionEngineError(f"feature {feature.name}: {feature.source} has no field {feature.field}")
        if feature.aggregate in _WHOLE_NUMBERS and kind is not AttributeType.INT:
            raise DecisionEngineError(
                f"feature {feature.name}: {feature.aggregate} takes a whole number, {feature.field} is a {kind}"
            )
