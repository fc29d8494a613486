"""Declared features made ready: what to store, how to fold an event, how to read all attributes at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from decision_engine.conditions.straight_line import Compute
from decision_engine.errors import DecisionEngineError
from decision_engine.features.definitions import (
    Aggregate,
    AttributeInfo,
    AttributeType,
    FeatureDeclarations,
    FeatureDefinition,
)
from decision_engine.features.derived import compile_derived
from decision_engine.features.dictionary import attribute_infos, attribute_names
from decision_engine.features.effects import EventPlan, plan_events, signature_width
from decision_engine.features.layout import Layout, plan_layout
from decision_engine.features.local_days import local_day_of, local_hour_of
from decision_engine.features.readings import ReadingPlan, plan_readings
from decision_engine.features.shapes import OF_ANY_FIELD, OF_PRODUCTS

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
    derive: Compute
    """Sets the derived attributes from the others."""
    profile_types: Mapping[str, AttributeType]
    day_of: Callable[[int], int]
    hour_of_day: Callable[[int], int]
    """The hour on the clock of the strategy's time zone at a moment."""
    duplicate_memory: int
    inferred: tuple[str, ...]
    late_days: int
    """An event this many local days older than the newest is outside every window; 0 when there are no windows."""
    signature_width: int
    layout_bytes: bytes = field(repr=False)
    declarations: FeatureDeclarations = field(repr=False)
    infos: Mapping[str, AttributeInfo] = field(repr=False)
    """The dictionary: attribute to its line."""


def compile_features(declarations: FeatureDeclarations, event_fields: EventFields | None = None) -> CompiledFeatures:
    """Compiles the declarations. With `event_fields` (`features.updates.EVENT_FIELDS`) names and types of filters and
    fields are checked; without, they are taken to be what their use asks for.

    Raises DecisionEngineError naming the first feature, filter or expression that cannot be used.
    """
    if event_fields is not None:
        _check_fields(declarations, event_fields)
    stored = plan_layout(declarations)
    day_of = local_day_of(declarations.time_zone)
    infos = attribute_infos(declarations, event_fields)
    types = {name: info.type for name, info in infos.items()}
    return CompiledFeatures(
        layout=stored.hash,
        names=tuple(types),
        stored=stored,
        plans=plan_events(stored, event_fields),
        readings=plan_readings(declarations, stored, types, day_of),
        derive=compile_derived(declarations, types, _untold(declarations) if event_fields is None else frozenset()),
        profile_types={attribute.name: attribute.type for attribute in declarations.profile},
        day_of=day_of,
        hour_of_day=local_hour_of(declarations.time_zone),
        duplicate_memory=declarations.duplicate_memory,
        inferred=tuple(sorted(declarations.inferred)),
        late_days=stored.days,
        signature_width=signature_width(stored),
        layout_bytes=bytes.fromhex(stored.hash),
        declarations=declarations,
        infos=infos,
    )


def _untold(declarations: FeatureDeclarations) -> frozenset[str]:
    """Attributes that take the type of an event's field."""
    of_fields = (Aggregate.LAST, Aggregate.FIRST, Aggregate.TOP)
    features = (feature for feature in declarations.features if feature.aggregate in of_fields)
    return frozenset(name for feature in features for name, _ in attribute_names(feature))


def _check_fields(declarations: FeatureDeclarations, event_fields: EventFields) -> None:
    for feature in declarations.features:
        problem = None if feature.aggregate in OF_PRODUCTS else _field_problem(feature, event_fields)
        if problem is not None:
            raise DecisionEngineError(f"feature {feature.name}: {problem}")


def _field_problem(feature: FeatureDefinition, event_fields: EventFields) -> str | None:
    fields = event_fields.get(feature.source)
    if fields is None:
        return f"no events of type {feature.source} become state"
    named = [(feature.source, name, fields.get(name)) for name in _fields_of(feature)]
    if feature.then is not None:
        after = event_fields.get(feature.then.source)
        if after is None:
            return f"no events of type {feature.then.source} become state"
        named += [(feature.then.source, feature.then.same, after.get(feature.then.same))] if feature.then.same else []
    for source, name, kind in named:
        if kind is None:
            return f"{source} has no field {name}"
    kind = fields.get(feature.field or "")
    whole = feature.aggregate not in OF_ANY_FIELD or feature.per is not None
    if kind is not None and whole and kind is not AttributeType.INT:
        return f"{feature.aggregate} takes a whole number, {feature.field} is a {kind}"
    return None


def _fields_of(feature: FeatureDefinition) -> list[str]:
    same = feature.then.same if feature.then is not None else None
    account = feature.per.field if feature.per is not None else None
    return [name for name in (feature.field, feature.weigh, account, same) if name]
