"""A deterministic policy: the candidate with the highest `propensity * boost - cost` by a given scorer stands first.

Candidates that another model scores keep the propensity they had.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo

from decision_engine.propensity import Scorer
from models.decision_log.design_matrix import build_matrix
from models.decision_log.examples import OfferFacts
from models.evaluation.off_policy.first_choices import Chances, FirstChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingPolicy:
    """The scorer, the offers it scores, and the bank's time zone."""

    scorer: Scorer
    offers: Mapping[str, OfferFacts]
    zone: tzinfo

    def chances(self, choice: FirstChoice) -> Chances:
        """All chance is with the best candidate; ties go to the first in order of candidates."""
        return {self.order(choice)[0]: 1.0}

    def order(self, choice: FirstChoice) -> list[str]:
        """The treatments as this policy ranks them, the best first."""
        rivals = choice.rivals
        propensities = [rival.propensity for rival in rivals]
        holdings = choice.decision.holdings
        scored = [
            place
            for place, rival in enumerate(rivals)
            if rival.offer in self.offers and self.offers[rival.offer].concerns(holdings)
        ]
        if scored:
            rows = [(choice.decision, self.offers[rivals[place].offer]) for place in scored]
            scores = self.scorer.score(build_matrix(rows, self.scorer.schema, self.zone))
            for place, score in zip(scored, scores.tolist(), strict=True):
                propensities[place] = score
        priorities = [p * rival.boost - rival.cost for p, rival in zip(propensities, rivals, strict=True)]
        best_first = sorted(range(len(rivals)), key=lambda place: -priorities[place])
        return [rivals[place].treatment for place in best_first]
