"""What a channel asks for when a customer is there: which placement, how many options, which context."""

from collections.abc import Mapping
from dataclasses import dataclass

from decision_engine.features.definitions import Value
from decision_engine.identifiers import PlacementId
from decision_engine.offers import Placement
from decision_engine.strategy import Strategy
from services.simulation.visits import Visit

PLACEMENT_WORDS = {
    "cards": "card",
    "instalments": "card",
    "wealth": "wealth",
    "deposits": "wealth",
}
"""Pages whose placements have the word in their name; all others show the channel's general placement."""
OPTIONS_FOR_PEOPLE = 3
"""People who talk to customers want a choice; a screen asks for one option a visit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question: the placement, how many options, and the context the strategy has declared."""

    channel: str
    placement: PlacementId
    count: int
    context: Mapping[str, Value]


class Asking:
    """Turns visits into questions for one strategy."""

    def __init__(self, strategy: Strategy) -> None:
        self._by_channel: dict[str, list[Placement]] = {}
        for placement in strategy.placements.values():
            self._by_channel.setdefault(placement.channel, []).append(placement)
        self._declared = frozenset(attribute.name for attribute in strategy.declarations.context)

    def question(self, visit: Visit) -> Asked | None:
        """What to ask on this visit; None when the strategy has no placement in its channel."""
        placements = self._by_channel.get(visit.channel)
        if not placements:
            return None
        placement = _placement(placements, visit.page)
        count = 1 if visit.channel == "mobile" else min(placement.max_count, OPTIONS_FOR_PEOPLE)
        context: dict[str, Value] = {"page": visit.page} if visit.page and "page" in self._declared else {}
        return Asked(channel=visit.channel, placement=placement.id, count=count, context=context)


def _placement(placements: list[Placement], page: str | None) -> Placement:
    word = PLACEMENT_WORDS.get(page or "")
    special = next((p for p in placements if word and word in p.id), None)
    general = next((p for p in placements if not any(w in p.id for w in PLACEMENT_WORDS.values())), placements[0])
    return special or general
