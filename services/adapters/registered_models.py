"""The model registry for those who look back: exactly the versions that scored, and what moved their scores."""

from collections.abc import Mapping
from pathlib import Path

from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Scorers
from decision_engine.scoring import PRIOR
from models.decision_log.design_matrix import build_matrix
from models.decision_log.examples import LoggedDecision, OfferFacts
from models.decision_log.offer_catalogue import offer_facts
from models.decision_log.records import logged_decision
from models.errors import ModelsError
from models.evaluation.full_report.decision_contributions import explain_score
from models.gbdt_scorer import GbdtScorer
from models.registry import ModelRegistry
from services.use_cases.decision_replay import ReplayImpossible
from services.use_cases.observing.decision_proof import ScorePart, ScoreParts, ScoreUnexplained

MISSING = "missing"
"""How the explanation writes an input without a value."""


class RegistryModels:
    """Implements `decision_proof.RegisteredModels` over the folder of the registry."""

    def __init__(self, root: Path) -> None:
        self._registry = ModelRegistry(root)

    def scorers(self, used: Mapping[str, str]) -> Scorers:
        """The scorers of these versions. Raises ReplayImpossible."""
        try:
            return {name: self._registry.load(version) for name, version in used.items()}
        except ModelsError as error:
            raise ReplayImpossible(f"a model it was made with is not in the registry: {error}") from error

    def score_parts(self, record: bytes, prepared: PreparedStrategy, offer: str) -> ScoreParts:
        """Why the offer was given its chance. Raises ScoreUnexplained."""
        decision, facts = logged_decision(record), offer_facts(prepared.strategy).get(offer)
        if decision is None or facts is None:
            raise ScoreUnexplained("unknown_offer", f"the strategy that decided has no offer {offer}")
        if not decision.personalised:
            raise ScoreUnexplained("not_personalised", "the decision used no model, as it was not personalised")
        model = _model_of(facts, decision)
        version = decision.models.get(model, PRIOR)
        if version == PRIOR:
            raise ScoreUnexplained("prior", f"base rates stood in for {model}")
        try:
            scorer = self._registry.load(version)
        except ModelsError as error:
            raise ScoreUnexplained("not_kept", f"{version} is not in the registry: {error}") from error
        if not isinstance(scorer, GbdtScorer):
            raise ScoreUnexplained("no_trees", f"{version} has no trees")
        row = build_matrix([(decision, facts)], scorer.schema, prepared.zone)
        found = explain_score(scorer, row, {})
        return ScoreParts(
            model=model,
            version=version,
            average_probability=found.average_probability,
            probability=found.probability,
            parts=tuple(
                ScorePart(
                    column=part.column,
                    source=part.source,
                    value="" if part.value == MISSING else part.value,
                    missing=part.value == MISSING,
                    margin=part.margin,
                    probability=part.probability,
                )
                for part in found.contributions
                if part.margin
            ),
        )


def _model_of(facts: OfferFacts, decision: LoggedDecision) -> str:
    """As the engine chooses it: newcomers to the group's products have a model of their own, where there is one."""
    newcomer = facts.newcomers is not None and facts.newcomers in decision.models
    if newcomer and decision.holdings.isdisjoint(facts.group_products):
        return facts.newcomers or facts.model
    return facts.model
