"""What ranking by the judged version would have earned, off-policy, for the head of a report.

Ranking every candidate of every decision again is dear, so beyond some thousand decisions those of a seeded sample of
the customers are judged; `kairos evaluate policy` judges them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from decision_engine.propensity import Scorer
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.records import read_decisions
from models.errors import EvaluationRefused
from models.evaluation.full_report.log_pass import DecisionOutcome, LogPass
from models.evaluation.off_policy.first_choices import RewardRule, first_choices, judged_policy, recorded_choices
from models.evaluation.off_policy.judgement import JudgingRule, OffPolicyReport, judge_policies
from models.evaluation.off_policy.ranking_policy import RankingPolicy

MOST_DECISIONS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyHeadline:
    """The judgement, None where there can be none; `statement` says why, or on how much of the log it rests."""

    report: OffPolicyReport | None
    statement: str


def policy_headline(query: LogQuery, found: LogPass, scorer: Scorer, seed: int) -> PolicyHeadline:
    """Judges the ranking by the scorer on first choices of single placements."""
    answered = [outcome for outcome in found.outcomes if outcome.options]
    ids = sampled_decisions(answered, seed)
    read = list(read_decisions(query.archive, query.period, ids, strategy_of=query.strategy_of))
    # The chances of a second placement depend on what was drawn for the first.
    decisions = [decision for decision in read if len({c.placement for c in decision.candidates}) == 1]
    unread = sum(not decision.candidates for decision in read)
    ranking = RankingPolicy(scorer=scorer, offers=found.offers, zone=query.zone)
    choices, rule = list(first_choices(decisions, found.rule)), RewardRule(accepted=found.accepted)
    try:
        recorded = recorded_choices(choices, rule)
        policy = judged_policy(choices, ranking.chances, rule)
        report = judge_policies(recorded, {f"ranked by {scorer.version}": policy}, JudgingRule(seed=seed))
    except EvaluationRefused as refusal:
        why = f"; the candidates of {unread:,} cannot be read, as their strategy is not kept" if unread else ""
        return PolicyHeadline(report=None, statement=f"{refusal} (of {len(read):,} decisions{why})")
    sample = f"a sample of the customers, {len(ids):,} of {len(answered):,} decisions"
    whole = f"all {len(answered):,} decisions"
    head = f"judged on {sample if len(ids) < len(answered) else whole} that offered anything"
    return PolicyHeadline(report=report, statement=head)


def sampled_decisions(outcomes: Sequence[DecisionOutcome], seed: int) -> frozenset[str]:
    """The ids of all decisions of some customers, drawn until there are enough."""
    by_customer: dict[str, list[str]] = {}
    for outcome in outcomes:
        by_customer.setdefault(outcome.customer, []).append(outcome.decision_id)
    customers = sorted(by_customer)
    kept: set[str] = set()
    for place in np.random.default_rng(seed).permutation(len(customers)).tolist():
        if len(kept) >= MOST_DECISIONS:
            break
        kept.update(by_customer[customers[place]])
    return frozenset(kept)
