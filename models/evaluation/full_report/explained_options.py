"""Why the options of a recorded decision got their probabilities, by the versions that scored them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo

from decision_engine.propensity import Scorer
from models.decision_log.design_matrix import build_matrix
from models.decision_log.examples import LoggedDecision, LoggedOption, OfferFacts
from models.errors import EvaluationRefused
from models.evaluation.full_report.decision_contributions import explain_score
from models.evaluation.full_report.report_content import ExplainedOption
from models.gbdt_scorer import GbdtScorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Explaining:
    """What it takes: the offers as the catalogue has them, what columns are in words, the bank's time zone, and where
    a version is loaded from (raises RegistryError)."""

    offers: Mapping[str, OfferFacts]
    described: Mapping[str, str]
    zone: tzinfo
    load: Callable[[str], Scorer]


def explain_options(decision: LoggedDecision, explaining: Explaining) -> tuple[ExplainedOption, ...]:
    """Every option that trees scored, in the order of the record. Raises EvaluationRefused when there is none, naming
    why, and RegistryError when a version is not to be had."""
    found = []
    reasons = []
    for option in decision.options:
        facts = explaining.offers.get(option.offer)
        version = None if facts is None else decision.models.get(facts.model)
        if facts is None or version is None:
            reasons.append(f"{option.offer}: not in the catalogue, or scored by no model")
            continue
        if version == "prior":
            reasons.append(f"{option.offer}: scored by its base rate, not by a model")
            continue
        scorer = explaining.load(version)
        if isinstance(scorer, GbdtScorer):
            found.append(_explained(decision, option, facts, (scorer, explaining)))
        else:
            reasons.append(f"{option.offer}: {version} has no trees")
    if not found:
        said = "; ".join(reasons) or "it offered nothing"
        raise EvaluationRefused(f"{decision.decision_id}: no option was scored by trees ({said})")
    return tuple(found)


def _explained(
    decision: LoggedDecision, option: LoggedOption, facts: OfferFacts, by: tuple[GbdtScorer, Explaining]
) -> ExplainedOption:
    scorer, explaining = by
    row = build_matrix([(decision, facts)], scorer.schema, explaining.zone)
    return ExplainedOption(
        decision_id=decision.decision_id,
        offer=option.offer,
        treatment=option.treatment,
        rank=option.rank,
        recorded=option.propensity,
        explanation=explain_score(scorer, row, explaining.described),
    )
