"""One reading of the decision log for a whole report: labelled options, what every decision came to, and who was when
first decided for.

Decisions without personalisation are left out, and those whose attribution window is still open.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from decision_engine.features.definitions import Value
from models.decision_log.examples import (
    AttributionRule,
    Example,
    LoggedDecision,
    LoggedResponse,
    OfferFacts,
    accepted_within,
    join_examples,
)
from models.decision_log.labelled_rows import LogQuery, Progress, attribution_rule, responses_of
from models.decision_log.offer_catalogue import offers_of_model
from models.decision_log.records import read_decisions

HOLDOUT = "holdout"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionOutcome:
    """What one decision came to: whether an offer of the model was made, and what accepted ones were worth. `told` are
    the wanted attributes as the record has them."""

    decision_id: str
    customer: str
    decided_ms: int
    arm: str
    offered: bool
    accepted: bool
    earned: float
    options: int
    told: Mapping[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class LogPass:
    """What was read. `examples` are labelled options in order of time, `outcomes` all judged decisions, `first` by
    customer the first judged decision."""

    rule: AttributionRule
    offers: Mapping[str, OfferFacts]
    accepted: Mapping[str, bool]
    wanted: frozenset[str] = frozenset()
    examples: list[Example] = field(default_factory=list)
    outcomes: list[DecisionOutcome] = field(default_factory=list)
    first: dict[str, LoggedDecision] = field(default_factory=dict)


def read_log(
    query: LogQuery, judged_since_ms: int, progress: Progress, wanted: frozenset[str] = frozenset()
) -> LogPass:
    """Reads the query's period; examples are of all of it, outcomes and first decisions from `judged_since_ms` on,
    with the wanted attributes.     Raises TrainingRefused when no offer is scored by the model."""
    responses = responses_of(query)
    progress(f"{len(responses):,} responses")
    found = pass_over(query, read_decisions(query.archive, query.period), responses, judged_since_ms, wanted)
    progress(f"{len(found.outcomes):,} decisions to judge, {len(found.examples):,} labelled options")
    return found


def pass_over(
    query: LogQuery,
    decisions: Iterable[LoggedDecision],
    responses: list[LoggedResponse],
    judged_since_ms: int,
    wanted: frozenset[str] = frozenset(),
) -> LogPass:
    """The same for decisions and responses at hand."""
    rule = attribution_rule(query, responses)
    found = LogPass(
        rule=rule,
        offers=offers_of_model(query.offers, query.model),
        accepted=accepted_within(responses, rule),
        wanted=wanted,
    )
    kept: list[LoggedDecision] = []
    seen: set[str] = set()
    for decision in decisions:
        if decision.decision_id in seen or not decision.personalised:
            continue
        seen.add(decision.decision_id)
        if any(option.tracking_id in found.accepted for option in decision.options):
            kept.append(decision)
        if decision.decided_ms >= judged_since_ms and decision.decided_ms + rule.window_ms <= rule.log_end_ms:
            found.outcomes.append(_outcome(decision, found))
            _note_first(found.first, decision)
    found.examples = join_examples(kept, responses, found.offers, rule)
    return found


def _note_first(first: dict[str, LoggedDecision], decision: LoggedDecision) -> None:
    known = first.get(decision.customer_id)
    if known is None or (decision.decided_ms, decision.decision_id) < (known.decided_ms, known.decision_id):
        first[decision.customer_id] = decision


def _outcome(decision: LoggedDecision, found: LogPass) -> DecisionOutcome:
    mine = [option for option in decision.options if option.offer in found.offers]
    taken = [option.offer for option in mine if found.accepted.get(option.tracking_id, False)]
    return DecisionOutcome(
        decision_id=decision.decision_id,
        customer=decision.customer_id,
        decided_ms=decision.decided_ms,
        arm=decision.arm,
        offered=bool(mine),
        accepted=bool(taken),
        earned=sum(found.offers[offer].value for offer in taken),
        options=len(decision.options),
        told={name: decision.attributes[name] for name in found.wanted & decision.attributes.keys()},
    )
