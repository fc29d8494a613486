"""What the service's choices on a dealt wave are worth, from the archive alone, beside simple policies.

The log's choices are the imported decisions that sent an offer, each with the chance of a tenth; rewards are responses
within three days. A policy's predictions, for the doubly robust estimate, are the propensities that the service itself
recorded when it decided, before anybody could respond and learnt from earlier waves only.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from decision_engine.outcomes import Outcome
from loadtests.starbucks_deployment import WINDOW_SECONDS, MeasurementFailed
from models.decision_log.examples import AttributionRule, LoggedDecision, LoggedResponse, accepted_within
from models.decision_log.records import read_decisions, read_responses
from models.evaluation.discrimination import auc_estimate
from models.evaluation.intervals import Estimate
from models.evaluation.off_policy.estimators import Estimator
from models.evaluation.off_policy.first_choices import (
    FirstChoice,
    PolicyOf,
    RewardRule,
    first_choices,
    judged_policy,
    recorded_choices,
)
from models.evaluation.off_policy.judgement import JudgingRule, OffPolicyReport, judge_policies
from models.evaluation.off_policy.report import as_json, estimate_json, report_lines
from services.bootstrap import strategy_finder
from services.settings import Settings
from services.simulation.starbucks import WAVES
from services.simulation.starbucks_events import DEALING_MS, at_hour

SERVICE, UNIFORM = "the service", "uniform"
BEST_BEFORE = "best single offer"
"""Of the earlier waves, by the same responses within three days."""
BEST_RUN_OUT = "best single offer, full length"
"""Of the earlier waves by all responses before the judged one: offers that run longer look better by it."""
BEST_IN_HINDSIGHT = "best single offer in hindsight"
"""Of the judged wave itself: nobody could have known it."""
SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceValue:
    """The judgement. `chosen` counts the service's choices by treatment, `singles` are the treatments of the policies
    that give everybody one; `auc` is that of the recorded propensity of what the log dealt, `predicted` and `observed`
    are mean rates of it."""

    report: OffPolicyReport
    chosen: Mapping[str, int]
    singles: Mapping[str, str]
    auc: Estimate
    predicted: float
    observed: float

    @property
    def holds(self) -> bool:
        """Whether the service is above the best single offer, the interval excluding it."""
        return self.report.conclusive and self.report.difference(SERVICE, BEST_BEFORE).low > 0

    def figures(self) -> str:
        """One line."""
        texts = [f"{row.name} {_figure(row.estimates[Estimator.DR])}" for row in self.report.policies]
        less = [(row, self.report.difference(SERVICE, row.name)) for row in self.report.policies[1:]]
        texts += [f"{SERVICE} less {row.name} {_figure(found, sign=True)}" for row, found in less]
        return "; ".join(texts)


def judge_service(settings: Settings, hour: int, chosen: Mapping[str, str]) -> ServiceValue:
    """Judges the decisions `chosen` (customer to decision id) on the wave of that hour.

    Raises MeasurementFailed when one of them is not in the archive.
    """
    decisions = list(read_decisions(settings.archive_path, strategy_of=strategy_finder(settings)))
    wanted = set(chosen.values())
    served = {decision.customer_id: decision for decision in decisions if decision.decision_id in wanted}
    if len(served) != len(chosen):
        raise MeasurementFailed(f"{len(chosen) - len(served)} of {len(chosen)} decisions are not in the archive")
    responses = list(read_responses(settings.archive_path))
    # The log is complete for three days after each deal it is judged on, though its newest response is older.
    end_ms = at_hour(hour) + WINDOW_SECONDS * 1000 + DEALING_MS
    accepted = accepted_within(responses, AttributionRule(window_ms=WINDOW_SECONDS * 1000, log_end_ms=end_ms))
    dealt = {wave: _dealt(decisions, wave) for wave in WAVES if wave <= hour}
    earlier = [choice for wave, rows in dealt.items() if wave < hour for choice in rows]
    run_out = {response.tracking_id for response in responses if _used_before(response, hour)}
    singles = {
        BEST_BEFORE: _best(earlier, accepted),
        BEST_RUN_OUT: _best(earlier, dict.fromkeys(run_out, True)),
        BEST_IN_HINDSIGHT: _best(dealt[hour], accepted),
    }
    choices = [_with_predictions(choice, served[choice.decision.customer_id]) for choice in dealt[hour]]
    return _judged(choices, served, accepted, singles)


def value_lines(value: ServiceValue) -> list[str]:
    """All of it for people."""
    total = sum(value.chosen.values())
    shares = ", ".join(f"{name} {count / total:.1%}" for name, count in value.chosen.items())
    gap = f"mean predicted {value.predicted:.3f}, observed {value.observed:.3f}"
    return [
        *report_lines(value.report),
        *(f"{title}: {treatment}" for title, treatment in value.singles.items()),
        f"the service chose: {shares}",
        f"propensities of what the log dealt: AUC {_figure(value.auc)}, {gap}",
    ]


def value_json(value: ServiceValue) -> dict[str, object]:
    """All of it for machines."""
    return {
        **as_json(value.report),
        "holds": value.holds,
        "chosen": dict(value.chosen),
        "singles": dict(value.singles),
        "auc": estimate_json(value.auc),
        "mean_predicted": value.predicted,
        "mean_observed": value.observed,
    }


def _judged(
    choices: Sequence[FirstChoice],
    served: Mapping[str, LoggedDecision],
    accepted: Mapping[str, bool],
    singles: Mapping[str, str],
) -> ServiceValue:
    first = {customer: decision.options[0].treatment for customer, decision in served.items()}
    treatments = sorted({choice.option.treatment for choice in choices})
    uniform = {name: 1 / len(treatments) for name in treatments}
    rule = RewardRule(accepted=accepted)
    recorded = recorded_choices(choices, rule)
    policies = {
        SERVICE: judged_policy(choices, lambda choice: {first[choice.decision.customer_id]: 1.0}, rule),
        **{name: judged_policy(choices, _always(treatment), rule) for treatment, name in _once_each(singles).items()},
        UNIFORM: judged_policy(choices, lambda _: uniform, rule),
    }
    predictions = policies[UNIFORM].predictions
    assert predictions is not None
    return ServiceValue(
        report=judge_policies(recorded, policies, JudgingRule(seed=SEED)),
        chosen=dict(Counter(first.values()).most_common()),
        singles=singles,
        auc=auc_estimate(recorded.rewards, predictions.chosen),
        predicted=float(np.mean(predictions.chosen)),
        observed=float(np.mean(recorded.rewards)),
    )


def _once_each(singles: Mapping[str, str]) -> dict[str, str]:
    """Treatment to policy: one that several name is judged under the first of these names."""
    named: dict[str, str] = {}
    for name, treatment in singles.items():
        named.setdefault(treatment, name)
    return named


def _always(treatment: str) -> PolicyOf:
    return lambda _: {treatment: 1.0}


def _used_before(response: LoggedResponse, hour: int) -> bool:
    return response.outcome is Outcome.ACCEPT and response.at_ms < at_hour(hour)


def _with_predictions(choice: FirstChoice, served: LoggedDecision) -> FirstChoice:
    """The log's choice with the service's propensities; the chances stay those of the log."""
    chances = {rival.treatment: rival.selection_probability for rival in choice.rivals}
    rivals = [replace(c, selection_probability=chances[c.treatment]) for c in served.candidates]
    return replace(choice, rivals=tuple(rivals))


def _dealt(decisions: Sequence[LoggedDecision], wave: int) -> list[FirstChoice]:
    """What the log dealt then, of those it dealt something."""
    return list(first_choices(decision for decision in decisions if decision.decision_id.startswith(f"wave{wave}-")))


def _best(choices: Sequence[FirstChoice], accepted: Mapping[str, bool]) -> str:
    """The treatment most often accepted among those it was dealt to."""
    dealt, taken = Counter[str](), Counter[str]()
    for choice in choices:
        dealt[choice.option.treatment] += 1
        taken[choice.option.treatment] += accepted.get(choice.option.tracking_id, False)
    return max(sorted(dealt), key=lambda name: taken[name] / dealt[name])


def _figure(found: Estimate, *, sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]"
