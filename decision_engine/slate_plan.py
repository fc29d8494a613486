"""What a strategy says about slates: how often offers and groups may repeat, limits, and bundles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.offers import Offer
from decision_engine.strategy import SlateRules


@dataclass(frozen=True, slots=True, kw_only=True)
class SlatePlan:
    """The rules over offer numbers. `quotas` names the groups of which only so many may stand in one slate, `channels`
    how many options a slate of a channel has at most; `bundles` are children by parent, in their order."""

    by_value: bool
    repeats: int
    group_of: tuple[str, ...]
    quotas: Mapping[str, int]
    channels: Mapping[str, int]
    bundles: Mapping[int, tuple[int, ...]]
    children: frozenset[int]
    mandatory: frozenset[int]
    limited: frozenset[int]
    """The offers whose group has a quota."""

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the places limits a slate."""
        return not (self.quotas or self.channels or self.bundles) and self.repeats == 1


def plan_slate(rules: SlateRules, offers: Sequence[Offer]) -> SlatePlan:
    """Finds the offers that the rules name."""
    number = {offer.name: place for place, offer in enumerate(offers)}
    groups = tuple(offer.group for offer in offers)
    quotas: dict[str, int] = {}
    if rules.group_repeats is not None:
        quotas = dict.fromkeys(groups, rules.group_repeats)
    bundles = {
        number[bundle.parent]: tuple(number[child] for child in bundle.children if child in number)
        for bundle in rules.bundles
        if bundle.parent in number
    }
    quotas |= dict(rules.groups)
    return SlatePlan(
        by_value=rules.by_value,
        repeats=rules.offer_repeats,
        group_of=groups,
        quotas=quotas,
        channels=dict(rules.channels),
        bundles=bundles,
        children=frozenset(child for children in bundles.values() for child in children),
        mandatory=frozenset(place for place, offer in enumerate(offers) if offer.mandatory),
        limited=frozenset(place for place, group in enumerate(groups) if group in quotas),
    )
