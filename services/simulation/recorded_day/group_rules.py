"""Groups of customers that a report tells apart: the strategy's segments, and declared groups for fairness."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from decision_engine.customer import CustomerSnapshot
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.strategy import Strategy
from services.simulation.recorded_day.failures import SimulationRefused

SEGMENT = "segment"
UNKNOWN = "unknown"
Label = tuple[str, str]
"""What is told apart (`segment`, or an attribute), and the group."""


@dataclass(frozen=True, slots=True)
class GroupRule:
    """A declared attribute whose values are groups; numbers are parted at `cuts`, ascending."""

    attribute: str
    cuts: tuple[float, ...] = ()

    def group_of(self, value: Value | None) -> str:
        """The group of a value."""
        if value is None:
            return UNKNOWN
        if not self.cuts or isinstance(value, str | bool):
            return str(value).lower() if isinstance(value, bool) else str(value)
        place = bisect_right(self.cuts, value)
        low = "" if place == 0 else f"{self.cuts[place - 1]:g}"
        high = "" if place == len(self.cuts) else f"{self.cuts[place]:g}"
        return f"below {high}" if not low else f"{low} and more" if not high else f"{low} to below {high}"


def declared_groups(strategy: Strategy) -> tuple[GroupRule, ...]:
    """The attributes that the strategy declares sensitive, but for numbers, which need cuts."""
    return tuple(
        GroupRule(attribute.name)
        for attribute in strategy.declarations.profile
        if attribute.sensitive and attribute.type in (AttributeType.STRING, AttributeType.BOOL)
    )


def read_group(text: str, strategy: Strategy) -> GroupRule:
    """`gender`, or `age:25,40,60`. Raises SimulationRefused naming what is wrong."""
    name, _, listed = text.partition(":")
    info = strategy.dictionary.get(name)
    if info is None:
        raise SimulationRefused(f"group {name}: the strategy has no such attribute")
    try:
        cuts = tuple(float(cut) for cut in listed.split(",")) if listed else ()
    except ValueError as error:
        raise SimulationRefused(f"group {name}: {listed!r} are not numbers to part it at") from error
    if list(cuts) != sorted(set(cuts)):
        raise SimulationRefused(f"group {name}: {listed} must ascend")
    is_number = info.type not in (AttributeType.STRING, AttributeType.BOOL)
    if is_number and not cuts:
        raise SimulationRefused(f"group {name}: it is a number; say where to part it, as in {name}:25,40,60")
    if cuts and not is_number:
        raise SimulationRefused(f"group {name}: it is no number, so there is nothing to part")
    return GroupRule(name, cuts)


def attributes_labelled(strategy: Strategy, groups: Sequence[GroupRule]) -> frozenset[str]:
    """What has to be read of customers to label them."""
    known = strategy.dictionary
    wanted = {segment.attribute for segment in strategy.segments} | {rule.attribute for rule in groups}
    return frozenset(wanted & known.keys())


def labels(strategy: Strategy, groups: Sequence[GroupRule], snapshot: CustomerSnapshot) -> tuple[Label, ...]:
    """The segments and groups a customer belongs to."""
    known = snapshot.attributes
    segments = [(SEGMENT, segment.name) for segment in strategy.segments if known.get(segment.attribute) is True]
    return (*segments, *((rule.attribute, rule.group_of(known.get(rule.attribute))) for rule in groups))
