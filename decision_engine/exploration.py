"""Exploration: a placement's order is sometimes drawn instead of arbitrated, with probabilities known exactly.

`off`             nothing is drawn.
`epsilon_greedy`  with probability epsilon the order of the movers is drawn uniformly.
`inverse_gap`     one treatment is put first, the less often the further its priority is behind the leader's.
`thompson`        one treatment is put first, as often as it may well be the best for all that is believed.

Whatever the scheme, it moves only offers that passed every gate and cap, and among those only marketing offers that
are not mandatory. Its budget holds for each decision: only the part `share` of the decisions draws at all, and no offer
is a mover whose priority is more than `max_regret` percent of the leader's below the leader; nor, for the last two,
one behind the best `contenders`, unless (`thompson` with online learning) it is yet unproven: a new offer that a model
ranks last could otherwise never show what it is worth. New offers with a ramp are
put first in a guaranteed share of the decisions in which they are movers, whatever the scheme.

What a draw is and what its probabilities are says `lottery`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decision_engine.candidates import PlacementPlan
from decision_engine.inverse_gap import inverse_gap_chances
from decision_engine.lottery import Draw, Lottery, Promotables, Promotion, promotables
from decision_engine.online import OnlineUse
from decision_engine.ramp import mover_floors, raise_to_floors
from decision_engine.strategy import Exploration
from decision_engine.thompson import (
    Beliefs,
    Counts,
    Evidence,
    Posteriors,
    believe,
    posterior_chances,
    thompson_chances,
)

Numbers = NDArray[np.float64]

_PROMOTING = frozenset({"inverse_gap", "thompson"})
"""The kinds that put one treatment first. Their contenders are few, as every one of them gets some chance."""
UNSEEN = Counts(0.0, 0.0)
UNPROVEN_SHAPE = 5.0
"""Beliefs of a lesser shape, that is of fewer acceptances, are never left out of the rounds for their place."""
RANDOM_ORDER = Exploration(kind="epsilon_greedy", epsilon=1.0)
"""Every mover is as likely as any other to stand at any of their places."""


class Stakes(NamedTuple):  # every decision makes one, and a tuple is made three times as fast
    """What is at stake, by offer of the strategy: the priority it is ranked by, the propensity that was made with, and
    what the priority gains by per unit of propensity."""

    priorities: Numbers
    propensity: Numbers
    worths: Numbers


class Explorer(NamedTuple):
    """How one decision explores: the scheme, the seed its draws are made from, what is at stake, the shares that new
    offers are guaranteed now (by offer number), and what online learning has counted."""

    scheme: Exploration
    seed: str
    stakes: Stakes
    floors: Mapping[int, float] = MappingProxyType({})
    evidence: Evidence = MappingProxyType({})
    online: OnlineUse | None = None
    """What online learning believes, where the strategy learns so; it then stands for `evidence`."""

    def lottery(self, number: int, plan: PlacementPlan, greedy: Sequence[int], places: Sequence[int]) -> Lottery:
        """The lottery of the placement of that number in the request. `greedy` is the order of its offers without a
        draw, `places` where those stand in it that may be moved, ascending."""
        scheme = self.scheme
        places = self._within_regret(greedy, places)
        draw = Draw(seed=self.seed, label=f"explore.{number}")
        shuffle = scheme.epsilon * scheme.share if scheme.kind == "epsilon_greedy" else 0.0
        promotion = None
        if places and (self.floors or scheme.kind in _PROMOTING):
            promotion = self._promotion(plan, [greedy[place] for place in places], draw, shuffle)
        return Lottery(plan, greedy, places, draw, shuffle, promotion)

    def _within_regret(self, greedy: Sequence[int], places: Sequence[int]) -> Sequence[int]:
        """The leader's place, and those of the offers that cost little enough to be tried."""
        scheme = self.scheme
        promotes = scheme.kind in _PROMOTING
        if not places or (scheme.max_regret is None and not promotes):
            return places
        if scheme.max_regret is not None:
            priorities = self.stakes.priorities
            leader = float(priorities[greedy[places[0]]])
            least = leader - abs(leader) * scheme.max_regret / 100
            places = [places[0], *(place for place in places[1:] if priorities[greedy[place]] >= least)]
        if not promotes:
            return places
        unproven = [place for place in places[scheme.contenders :] if self._is_unproven(greedy[place])]
        return [*places[: scheme.contenders], *unproven]

    def _is_unproven(self, offer: int) -> bool:
        """Whether so little is known of the offer that it may be far better than it is ranked."""
        if self.scheme.kind != "thompson" or self.online is None:
            return False
        concerned = self.online.concerned
        shapes = self.online.shapes[concerned[self.online.plan.offer_of[concerned] == offer]]
        return bool((shapes < UNPROVEN_SHAPE).any())

    def _promotion(self, plan: PlacementPlan, movers: Sequence[int], draw: Draw, shuffle: float) -> Promotion | None:
        """The chances of being put first; None when they are all the leader's."""
        known = promotables(plan, movers)
        chances = self._chances(plan, known, draw)
        floors = mover_floors(known.movers, self.floors, shuffle)
        if floors is not None:
            chances = raise_to_floors(chances, known.mover_of, floors)
        return None if chances[0] >= 1.0 else Promotion(known, chances)

    def _chances(self, plan: PlacementPlan, known: Promotables, draw: Draw) -> Numbers:
        scheme = self.scheme
        priorities = self.stakes.priorities[known.movers[known.mover_of]]
        if scheme.kind == "inverse_gap":
            chances = inverse_gap_chances(priorities, scheme.gamma)
        elif scheme.kind == "thompson" and self.online is not None:
            posteriors = self._posteriors(self.online, plan, known, priorities)
            chances = posterior_chances(posteriors, draw.seed, f"{draw.label}.rounds", scheme.rounds)
        elif scheme.kind == "thompson":
            beliefs = self._beliefs(plan, known, priorities)
            chances = thompson_chances(beliefs, draw.seed, f"{draw.label}.rounds", scheme.rounds)
        else:
            return np.asarray(np.eye(1, len(priorities))[0], np.float64)
        chances = chances * scheme.share
        chances[0] += 1.0 - scheme.share
        return chances

    def _posteriors(
        self, online: OnlineUse, plan: PlacementPlan, known: Promotables, priorities: Numbers
    ) -> Posteriors:
        offers = known.movers[known.mover_of]
        numbers = online.plan.numbers
        places = np.array([numbers[plan.treatments[one].name] for one in known.candidates.tolist()], np.intp)
        return Posteriors(
            odds=online.odds(places) * online.multipliers[places],
            shapes=online.shapes[places],
            propensity=self.stakes.propensity[offers],
            priorities=priorities,
            worths=self.stakes.worths[offers],
        )

    def _beliefs(self, plan: PlacementPlan, known: Promotables, priorities: Numbers) -> Beliefs:
        offers = known.movers[known.mover_of]
        seen = [self.evidence.get(plan.treatments[candidate].name, UNSEEN) for candidate in known.candidates.tolist()]
        propensity = self.stakes.propensity[offers]
        accepted, declined = believe(
            propensity,
            np.array([counts.impressions for counts in seen]),
            np.array([counts.accepts for counts in seen]),
            self.scheme.prior_strength,
        )
        return Beliefs(
            accepted=accepted,
            declined=declined,
            propensity=propensity,
            priorities=priorities,
            worths=self.stakes.worths[offers],
        )
