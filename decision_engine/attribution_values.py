"""The memory of attribution as plain lists, and back: what a store keeps of it, in as few bytes as JSON allows."""

from collections.abc import Mapping, Sequence
from typing import Any

from decision_engine.attribution import Conversion, Touch
from decision_engine.attribution_memory import AttributionMemory, Decided, DecidedOption, Published
from decision_engine.errors import DecisionEngineError

Plain = Sequence[Any]


class AttributionUnreadable(DecisionEngineError):
    """The value is no attribution memory of this release."""


def to_plain(memory: AttributionMemory) -> Plain:
    """Lists, texts, numbers and None only."""
    return [
        memory.newest_ms,
        memory.erased_ms,
        [_plain_touch(touch) for touch in memory.touches.values()],
        [_plain_decided(decided) for decided in memory.unseen.values()],
        [_plain_conversion(conversion) for conversion in memory.conversions.values()],
        [[name, one.revision, one.digest, one.settled] for name, one in memory.published.items()],
    ]


def from_plain(value: Plain) -> AttributionMemory:
    """The memory. Raises AttributionUnreadable."""
    try:
        newest_ms, erased_ms, touches, unseen, conversions, published = value
        return AttributionMemory(
            newest_ms=newest_ms,
            erased_ms=erased_ms,
            touches={row[0]: _touch(row) for row in touches},
            unseen={row[0]: _decided(row) for row in unseen},
            conversions={row[0]: _conversion(row) for row in conversions},
            published={name: Published(revision, digest, settled) for name, revision, digest, settled in published},
        )
    except (ValueError, TypeError, IndexError) as error:
        raise AttributionUnreadable(f"the attribution memory cannot be read: {error}") from error


def _plain_touch(touch: Touch) -> Plain:
    return [
        touch.tracking_id, touch.offer, touch.treatment, touch.channel, touch.placement, touch.arm,
        _plain_mapping(touch.experiments), touch.offered_ms, touch.seen_ms, touch.engaged_ms, touch.facts,
    ]  # fmt: skip


def _touch(row: Plain) -> Touch:
    tracking_id, offer, treatment, channel, placement, arm, experiments, offered, seen, engaged, facts = row
    return Touch(
        tracking_id=tracking_id,
        offer=offer,
        treatment=treatment,
        channel=channel,
        placement=placement,
        arm=arm,
        experiments=experiments or {},
        offered_ms=offered,
        seen_ms=seen,
        engaged_ms=engaged,
        facts=facts,
    )


def _plain_decided(decided: Decided) -> Plain:
    options = [[o.tracking_id, o.offer, o.treatment, o.placement] for o in decided.options]
    head = [decided.decision_id, decided.at_ms, decided.channel, decided.arm, _plain_mapping(decided.experiments)]
    return [*head, options]


def _decided(row: Plain) -> Decided:
    decision_id, at_ms, channel, arm, experiments, options = row
    return Decided(
        decision_id=decision_id,
        at_ms=at_ms,
        channel=channel,
        arm=arm,
        experiments=experiments or {},
        options=tuple(
            DecidedOption(tracking_id=tracking_id, offer=offer, treatment=treatment, placement=placement)
            for tracking_id, offer, treatment, placement in options
        ),
    )


def _plain_conversion(one: Conversion) -> Plain:
    return [one.id, one.at_ms, one.offers, one.cause_type, one.cause_id, one.outcome, one.tracking_id, one.value]


def _conversion(row: Plain) -> Conversion:
    identity, at_ms, offers, cause_type, cause_id, outcome, tracking_id, value = row
    return Conversion(
        id=identity,
        at_ms=at_ms,
        offers=tuple(offers),
        cause_type=cause_type,
        cause_id=cause_id,
        outcome=outcome,
        tracking_id=tracking_id,
        value=value,
    )


def _plain_mapping(mapping: Mapping[str, str]) -> Mapping[str, str] | None:
    return dict(mapping) if mapping else None
