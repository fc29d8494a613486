"""Features in parts that no event has in common, so that an event moves, and has read again, no more than its part.

An attribute is computed from its own feature alone, and what a snapshot tells depends on no order of events but that
none is older than the longest window. So a customer's state can be kept as several. What happens between the requests
of one visit, clicks in a channel and responses, has a part each; everything else is with the record (profile, consents,
holdings). Answered consents and erasures go to all, for an erased customer's state takes nothing until a consent is
granted anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from decision_engine.conditions.parser import parse
from decision_engine.conditions.syntax import names_in
from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.definitions import Aggregate, FeatureDeclarations, FeatureDefinition
from decision_engine.features.shapes import OF_PRODUCTS, SEQUENCES, STREAKS, USUAL, windows_of
from decision_engine.features.updates import EVENT_FIELDS
from event_schemas.topics import CHANNEL_EVENTS, PROFILE_UPDATES, RESPONSES, topic_for

_OWN_PARTS = frozenset({CHANNEL_EVENTS, RESPONSES})
"""Topics of what happens between the requests of one visit."""
_TO_ALL = frozenset({"bank.consent.changed", "bank.customer.erased"})
_RECORD = _TO_ALL | {"bank.profile.updated", "bank.product.opened", "bank.product.closed"}


class Holds(IntEnum):
    """For how long what was read stays the same while nothing happens."""

    MOMENT = 0
    HOUR = 1
    DAY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePart:
    """Some of the features, the event types that change what they read, and how long a reading holds."""

    features: CompiledFeatures
    sources: frozenset[str]
    holds: Holds


@dataclass(frozen=True, slots=True, kw_only=True)
class PartedFeatures:
    """All features, and their parts, of which the first has the record. `holds`: how long what is derived from equal
    readings holds."""

    whole: CompiledFeatures
    parts: tuple[FeaturePart, ...]
    holds: Holds


def part_features(whole: CompiledFeatures) -> PartedFeatures:
    """Takes the features apart by the topics of their events."""
    of_record: list[FeatureDefinition] = []
    others: dict[str, list[FeatureDefinition]] = {}
    for feature in whole.declarations.features:
        topics = _topics(feature)
        alone = len(topics) == 1 and topics <= _OWN_PARTS
        (others.setdefault(min(topics), []) if alone else of_record).append(feature)
    for topic in [topic for topic, mine in others.items() if any(topic in _topics(other) for other in of_record)]:
        of_record += others.pop(topic)  # a sequence of both: its events would go to two parts
    parts = _part(whole, of_record, record=True), *(_part(whole, mine, record=False) for mine in others.values())
    return PartedFeatures(whole=whole, parts=parts, holds=holds_of(replace(whole.declarations, features=())))


def holds_of(declarations: FeatureDeclarations) -> Holds:
    """How long what is read, and derived from that, holds."""
    if any("now" in names_in(parse(derived.expression)) for derived in declarations.derived):
        return Holds.MOMENT
    return min(map(_holds, declarations.features), default=Holds.DAY)


def _holds(feature: FeatureDefinition) -> Holds:
    kind, windows = feature.aggregate, (*windows_of(feature), *sum(feature.window_pairs, ()))
    units = {window.unit for window in windows}
    if "m" in units or kind in SEQUENCES or (kind in OF_PRODUCTS and windows):
        return Holds.MOMENT  # products held so many days ago are those of this time of that day
    if "h" in units or kind in _BY_THE_HOUR:
        return Holds.HOUR
    return Holds.DAY


_BY_THE_HOUR = STREAKS | USUAL | {Aggregate.DECAYED}


def _part(whole: CompiledFeatures, features: Sequence[FeatureDefinition], *, record: bool) -> FeaturePart:
    declared = whole.declarations
    mine = replace(declared, profile=declared.profile if record else (), features=tuple(features), derived=())
    compiled = replace(compile_features(mine, EVENT_FIELDS), late_days=whole.late_days)
    return FeaturePart(
        features=compiled,
        sources=frozenset({*compiled.plans, *(_RECORD if record else _TO_ALL)}),
        holds=holds_of(mine),
    )


def _topics(feature: FeatureDefinition) -> frozenset[str]:
    sources = [feature.source] if feature.then is None else [feature.source, feature.then.source]
    return frozenset({PROFILE_UPDATES}) if feature.aggregate in OF_PRODUCTS else frozenset(map(topic_for, sources))
