"""The analysis of experiments: intervals over customers, lift, and a test that may be looked at every day."""

from math import inf

import numpy as np
import pytest

from decision_engine.outcomes import Outcome
from models.decision_log.examples import (
    AttributionRule,
    LoggedDecision,
    LoggedOption,
    LoggedResponse,
    OfferFacts,
    accepted_within,
)
from models.errors import EvaluationRefused
from models.evaluation.arm_rewards import ArmRewards, arm_rewards
from models.evaluation.clustered_ratio import clustered_ratio, difference, relative_lift
from models.evaluation.experiment_report import HOLDOUT_NOTE, experiment_lines
from models.evaluation.experiments import judge_experiment
from models.evaluation.sequential_test import (
    ALPHA,
    Look,
    always_valid_interval,
    log_ratio,
    sequential_verdict,
)

DAY_MS = 86_400_000
RULE = AttributionRule(window_ms=1000, log_end_ms=100 * DAY_MS)
OFFERS = {
    "card": OfferFacts(offer="card", group="cards", issue="acquire", model="m", value=500.0, base_rate=0.1),
}


def decision(number: int, *, shown: bool = True, **facts: object) -> LoggedDecision:
    option = LoggedOption(tracking_id=f"{number}.0", placement="p", rank=1, offer="card", treatment="card.m.b")
    fields: dict[str, object] = {
        "decision_id": str(number), "customer_id": f"c{number}", "decided_ms": number * DAY_MS, "channel": "mobile",
        "arm": "full", "personalised": True, "models": {}, "attributes": {}, "context": {},
        "options": (option,) if shown else (),
    }  # fmt: skip
    return LoggedDecision(**(fields | facts))  # type: ignore[arg-type]


def response(number: int, outcome: Outcome, at_ms: int) -> LoggedResponse:
    return LoggedResponse(
        response_id=f"{number}{outcome}", tracking_id=f"{number}.0", decision_id=str(number), outcome=outcome,
        at_ms=at_ms,
    )  # fmt: skip


def simulated(seed: int, *, lift: float = 0.0, customers: int = 400, days: int = 20, rate: float = 0.1) -> ArmRewards:
    """Customers who come back, on some days and not on others, each with a liking of their own; two arms."""
    draw = np.random.default_rng(seed)
    arm = draw.integers(0, 2, customers)
    liking = np.clip(draw.gamma(2.0, rate / 2.0, customers) * (1 + lift * arm), 0, 1)
    comes = draw.random((days, customers)) < draw.uniform(0.1, 0.9, customers)
    accepts = (draw.random((days, customers)) < liking) & comes
    day, who = np.nonzero(comes)
    accepted = accepts[day, who].astype(float)
    return ArmRewards(
        experiment="test", arms=("control", "arm"), customers=who, days=day, arm_of=arm[who], accepted=accepted,
        value=accepted * 500.0,
    )  # fmt: skip


def test_every_decision_with_its_window_behind_it_counts_also_one_that_showed_nothing() -> None:
    decisions = [
        decision(0), decision(0), decision(1, shown=False), decision(2, arm="holdout", shown=False), decision(100),
    ]  # fmt: skip
    responses = [response(0, Outcome.IMPRESSION, 10), response(0, Outcome.ACCEPT, 20)]
    (rewards,) = arm_rewards(decisions, accepted_within(responses, RULE), OFFERS, RULE)
    assert (rewards.experiment, rewards.arms) == ("arms", ("full", "holdout"))
    assert rewards.accepted.tolist() == [1.0, 0.0, 0.0]
    assert rewards.value.tolist() == [500.0, 0.0, 0.0]
    assert rewards.days.tolist() == [0, 1, 2]
    assert rewards.arm_of.tolist() == [0, 0, 1]


def test_each_experiment_is_read_from_the_decisions_that_were_in_it() -> None:
    decisions = [decision(0), decision(1, experiments={"levers": "up"}), decision(2, experiments={"levers": "control"})]
    standing, levers = arm_rewards(decisions, {}, OFFERS, RULE)
    assert (standing.customers.size, levers.customers.size) == (3, 2)
    assert (levers.experiment, levers.arms, levers.arm_of.tolist()) == ("levers", ("control", "up"), [1, 0])


def test_without_a_closed_window_there_is_nothing_to_say() -> None:
    with pytest.raises(EvaluationRefused):
        arm_rewards([decision(100)], {}, OFFERS, RULE)


def test_variance_is_over_customers_not_decisions() -> None:
    """Ten customers who each do the same a hundred times are ten observations."""
    rewards, decisions = np.array([100.0] * 5 + [0.0] * 5), np.full(10, 100.0)
    ratio = clustered_ratio(rewards, decisions)
    assert (ratio.mean, ratio.customers, ratio.decisions) == (0.5, 10, 1000)
    assert ratio.variance == pytest.approx(0.25 * 10 / 9 / 10)
    assert clustered_ratio(np.array([1.0]), np.array([3.0])).variance == inf


def test_interval_of_the_rate_covers_it_in_95_of_100_samples() -> None:
    covered = 0
    for seed in range(300):
        estimate = judge_experiment(simulated(seed, customers=300, days=6)).arms[0].accept_rate.estimate
        covered += estimate.low <= 0.1 <= estimate.high
    assert 0.90 <= covered / 300 <= 0.985


def test_lift_is_relative_to_the_comparison_arm() -> None:
    arm = clustered_ratio(np.full(50, 3.0) + np.arange(50) % 2, np.full(50, 10.0))
    other = clustered_ratio(np.full(50, 2.0) + np.arange(50) % 2, np.full(50, 10.0))
    lift = relative_lift(arm, other)
    assert lift is not None
    assert lift.value == pytest.approx(0.35 / 0.25 - 1)
    assert lift.low < lift.value < lift.high
    assert difference(arm, other).value == pytest.approx(0.1)
    assert relative_lift(arm, clustered_ratio(np.zeros(5), np.ones(5))) is None


def test_looking_daily_errs_in_at_most_five_of_a_hundred_experiments_without_a_difference() -> None:
    """Twenty daily looks at customers who keep coming back. The ordinary interval, looked at less often, errs more."""
    runs, wrong, naive_wrong = 400, 0, 0
    for seed in range(runs):
        rewards = simulated(seed)
        verdict = judge_experiment(rewards).arms[1].accept_verdict
        assert verdict is not None
        wrong += verdict.decided_at is not None
        naive_wrong += naive_peeking_finds_something(rewards)
    assert wrong / runs <= ALPHA
    assert naive_wrong / runs > 2 * ALPHA


def test_error_rate_is_kept_also_where_the_test_is_at_its_sharpest() -> None:
    """Means of growing samples without a difference, looked at 300 times, down to a standard error of a tenth of tau:
    the ratio errs a few times in a hundred, not never, and never more often than it may."""
    draw = np.random.default_rng(7)
    looks = np.arange(1, 301)
    sums = np.cumsum(draw.normal(size=(600, len(looks))), axis=1)
    tau = 10.0 / np.sqrt(len(looks))
    ratios = [[log_ratio(float(seen), 1.0 / n, tau) for seen, n in zip(path / looks, looks.tolist(), strict=True)]
              for path in sums]  # fmt: skip
    wrong = np.mean([max(path) >= np.log(1 / ALPHA) for path in ratios])
    assert 0.01 < wrong <= ALPHA


def naive_peeking_finds_something(rewards: ArmRewards) -> bool:
    for day in range(4, 20, 3):
        mine = rewards.days <= day
        cut = ArmRewards(
            experiment="", arms=rewards.arms, customers=rewards.customers[mine], days=rewards.days[mine],
            arm_of=rewards.arm_of[mine], accepted=rewards.accepted[mine], value=rewards.value[mine],
        )  # fmt: skip
        ratios = [
            clustered_ratio(
                np.bincount(cut.customers[cut.arm_of == arm], cut.accepted[cut.arm_of == arm], 400),
                np.bincount(cut.customers[cut.arm_of == arm], minlength=400).astype(float),
            )
            for arm in (1, 0)
        ]
        seen = difference(*ratios)
        if seen.low > 0 or seen.high < 0:
            return True
    return False


def test_a_real_difference_is_found_and_stays_found() -> None:
    found = 0
    for seed in range(20):
        verdict = judge_experiment(simulated(seed, lift=1.0, customers=1200, days=30)).arms[1].accept_verdict
        assert verdict is not None
        found += verdict.decided_at is not None
        assert (verdict.p_value <= ALPHA) == (verdict.decided_at is not None)
    assert found >= 18


def test_interval_leaves_zero_exactly_when_the_ratio_passes_its_bound() -> None:
    for seen in (0.0, 0.01, 0.02, 0.03, 0.05):
        interval = always_valid_interval(Look(difference=seen, variance=1e-4, enough=True), 0.02)
        assert (interval.low > 0) == (log_ratio(seen, 1e-4, 0.02) > np.log(1 / ALPHA))
        assert interval.high - seen == pytest.approx(seen - interval.low)


def test_nothing_is_concluded_from_too_little() -> None:
    verdict = sequential_verdict([Look(difference=9.0, variance=1e-9, enough=False)], 0.1)
    assert (verdict.p_value, verdict.decided_at, verdict.interval.low) == (1.0, None, -inf)
    assert log_ratio(1.0, inf, 0.1) == log_ratio(1.0, 0.0, 0.1) == log_ratio(1.0, 1.0, 0.0) == 0.0
    assert sequential_verdict([], 0.1).p_value == 1.0


def test_report_names_arms_lifts_and_verdicts() -> None:
    text = "\n".join(experiment_lines([judge_experiment(simulated(1, lift=1.0, customers=2000))]))
    for words in ("experiment test, 20 days", "control", "arm: accept rate", "arm: value", "better since day", "lift"):
        assert words in text
    held = arm_rewards([decision(0), decision(1, arm="holdout", shown=False)], {}, OFFERS, RULE)
    lines = experiment_lines([judge_experiment(rewards) for rewards in held])
    assert lines[0] == "the standing experiment, 2 days"
    assert lines[-1] == HOLDOUT_NOTE
