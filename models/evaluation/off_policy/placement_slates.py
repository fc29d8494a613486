"""A placement's options from the top down as a slate, with the chance each had to stand at its very place.

The record holds exactly these chances, so a slate is judged by item and place; the chance of an option given those
above it is not recorded. A judged ranking is deterministic: at each place one treatment has all chance.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from models.errors import EvaluationRefused
from models.evaluation.off_policy.first_choices import FirstChoice, RewardRule
from models.evaluation.off_policy.slates import RecordedSlates

Ranked = Callable[[FirstChoice], Sequence[str]]
"""The treatments of a choice as a policy ranks them, the best first."""


def placement_slates(choices: Iterable[FirstChoice], ranked: Ranked, rule: RewardRule) -> RecordedSlates:
    """One row a placement. Left out are those with a mandatory option or a place without a chance.

    Raises EvaluationRefused when none is left.
    """
    rows = [row for row in (_row(choice, ranked, rule) for choice in choices) if row is not None]
    if not rows:
        raise EvaluationRefused("no placement in this period has a selection probability at each of its places")
    width = max(len(places) for _, places in rows)
    grid = np.full((3, len(rows), width), np.nan)
    grid[0] = 0.0
    numbers: dict[str, int] = {}
    clusters = [numbers.setdefault(customer, len(numbers)) for customer, _ in rows]
    for number, (_, places) in enumerate(rows):
        grid[:, number, : len(places)] = np.array(places).T
    return RecordedSlates(rewards=grid[0], logged=grid[1], target=grid[2], clusters=np.array(clusters, np.intp))


def _row(choice: FirstChoice, ranked: Ranked, rule: RewardRule) -> tuple[str, list[tuple[float, float, float]]] | None:
    """The customer, and per place the reward, the logged chance and the judged one."""
    options = sorted(
        (option for option in choice.decision.options if option.placement == choice.option.placement),
        key=lambda option: option.rank,
    )
    order, places = _one_an_offer(choice, ranked(choice)), []
    for place, option in enumerate(options):
        chance = option.selection_probability
        if option.mandatory or chance is None or not 0 < chance <= 1:
            return None
        agrees = place < len(order) and order[place] == option.treatment
        places.append((rule.earned(option), chance, float(agrees)))
    return choice.decision.customer_id, places


def _one_an_offer(choice: FirstChoice, order: Sequence[str]) -> list[str]:
    """The best treatment of each offer: an offer stands once."""
    offer_of = {rival.treatment: rival.offer for rival in choice.rivals}
    best: dict[str, str] = {}
    for treatment in order:
        best.setdefault(offer_of[treatment], treatment)
    return list(best.values())
