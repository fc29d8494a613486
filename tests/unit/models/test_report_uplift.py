"""Qini and uplift: by hand, against a known truth, and what is said where a log cannot tell."""

import numpy as np
import pytest

from models.decision_log.examples import LoggedDecision
from models.errors import EvaluationRefused
from models.evaluation.full_report.holdout_uplift import (
    ACCEPTED,
    EARNED,
    NO_BOOKS,
    NO_HOLDOUT,
    OPENED,
    UpliftPopulation,
    uplift_section,
)
from models.evaluation.full_report.qini import Trial, coefficient, qini_curve, qini_gains, uplift


def make_decision(number: int, arm: str = "full", **experiments: str) -> LoggedDecision:
    return LoggedDecision(
        decision_id=f"D{number}", customer_id=f"retail:{number}", decided_ms=number, channel="mobile", arm=arm,
        personalised=True, models={}, attributes={}, context={}, options=(), experiments=experiments,
    )  # fmt: skip


def simulated(size: int, seed: int, slope: float) -> Trial:
    """Half are treated; treatment raises the chance by `slope` times the score, from 0.1."""
    draw = np.random.default_rng(seed)
    scores, treated = draw.uniform(size=size), draw.uniform(size=size) < 0.5
    outcomes = (draw.uniform(size=size) < 0.1 + treated * slope * scores).astype(np.float64)
    return Trial(scores=scores, treated=treated, outcomes=outcomes)


def test_the_qini_curve_of_six_customers_by_hand() -> None:
    """By score: T1, C0, T1, C1, T0, C0. Gains times 3 treated: 1; 1; 2 - 0 x 2/1 = 2; 2 - 1 x 2/2 = 1;
    2 - 1 x 3/2 = 0.5; 2 - 1 x 3/3 = 1."""
    trial = Trial(
        scores=np.array([6.0, 5, 4, 3, 2, 1]),
        treated=np.array([True, False, True, False, True, False]),
        outcomes=np.array([1.0, 0, 1, 1, 0, 0]),
    )
    shares, gains = qini_gains(trial, np.arange(6), np.ones(6))
    assert shares == pytest.approx(np.arange(7) / 6)
    assert gains * 3 == pytest.approx([0, 1, 1, 2, 1, 0.5, 1])
    area = (0.5 + 1 + 1.5 + 1.5 + 0.75 + 0.75) / 6 / 3
    assert coefficient(shares, gains) == pytest.approx(area - 1 / 3 / 2)


def test_counting_a_customer_twice_is_having_two_of_them() -> None:
    trial = simulated(200, seed=2, slope=0.4)
    order = np.argsort(-trial.scores, kind="stable")
    ordered = trial.where(order)
    times = np.random.default_rng(4).integers(0, 3, 200)
    counted = qini_gains(ordered, np.arange(200), times.astype(np.float64))
    repeated = ordered.where(np.repeat(np.arange(200), times))
    ends = np.flatnonzero(np.append(np.diff(repeated.scores), 1.0))
    plain = qini_gains(repeated, ends, np.ones(repeated.scores.size))
    assert coefficient(*counted) == pytest.approx(coefficient(*plain))


def test_the_coefficient_finds_the_truth_of_a_simulation() -> None:
    """With the effect 0.4 s for scores even on 0..1, treating the best share x gains 0.4 (x - x^2 / 2) a customer: the
    area is 0.4 / 3, less half of 0.2, so the coefficient is 1/30."""
    curve = qini_curve(simulated(40_000, seed=5, slope=0.4), seed=1, replicates=200)
    assert curve.uplift.low < 0.2 < curve.uplift.high
    assert curve.coefficient.low < 1 / 30 < curve.coefficient.high
    assert curve.coefficient.low > 0
    effects = [band.uplift.value for band in curve.bands]
    assert effects == pytest.approx([0.36, 0.28, 0.2, 0.12, 0.04], abs=0.03)
    assert [point.share for point in curve.points][::25] == pytest.approx([0.0, 0.5, 1.0])


def test_intervals_hold_the_truth_in_most_simulations() -> None:
    curves = [qini_curve(simulated(1_500, seed=seed, slope=0.4), seed=1, replicates=100) for seed in range(40)]
    assert sum(curve.coefficient.low <= 1 / 30 <= curve.coefficient.high for curve in curves) >= 34


def test_a_score_that_finds_who_would_accept_anyway_has_no_qini() -> None:
    draw = np.random.default_rng(6)
    scores, treated = draw.uniform(size=20_000), draw.uniform(size=20_000) < 0.5
    outcomes = (draw.uniform(size=20_000) < 0.6 * scores + 0.1 * treated).astype(np.float64)
    curve = qini_curve(Trial(scores=scores, treated=treated, outcomes=outcomes), seed=1, replicates=200)
    assert curve.uplift.low > 0
    assert curve.coefficient.low < 0 < curve.coefficient.high


def test_equal_scores_give_the_straight_line() -> None:
    trial = simulated(500, seed=8, slope=0.4)
    flat = Trial(scores=np.ones(500), treated=trial.treated, outcomes=trial.outcomes)
    curve = qini_curve(flat, seed=1, replicates=50)
    assert curve.coefficient.value == pytest.approx(0.0, abs=1e-12)
    assert curve.points[-1].gain.value == pytest.approx(uplift(flat).value)


def test_the_same_seed_gives_the_same_intervals_and_thirty_in_each_arm_are_needed() -> None:
    trial = simulated(300, seed=9, slope=0.2)
    assert qini_curve(trial, seed=3, replicates=50) == qini_curve(trial, seed=3, replicates=50)
    few = trial.where(np.flatnonzero(trial.treated)[:40])
    with pytest.raises(EvaluationRefused, match="40 treated, 0 in the control arm"):
        qini_curve(few, seed=3)


def population(arms: list[str], opened: np.ndarray | None, **experiments: list[str]) -> UpliftPopulation:
    draw = np.random.default_rng(1)
    size = len(arms)
    layers = [{name: values[n] for name, values in experiments.items()} for n in range(size)]
    return UpliftPopulation(
        scores=draw.uniform(size=size),
        decisions=[make_decision(n, arm, **layers[n]) for n, arm in enumerate(arms)],
        accepted=(draw.uniform(size=size) < 0.3).astype(np.float64),
        earned=np.full(size, 50.0),
        opened=opened,
        parts={"channel": np.array(["mobile"] * (size - 10) + ["branch"] * 10)},
    )


def test_a_log_without_holdout_says_so() -> None:
    section = uplift_section(population(["full"] * 100, np.zeros(100)), seed=1)
    assert section.statements == (NO_HOLDOUT,)
    assert not section.comparisons


def test_a_holdout_without_the_banks_own_openings_gives_no_uplift() -> None:
    section = uplift_section(population(["full", "holdout"] * 50, None), seed=1)
    assert section.statements == (NO_BOOKS,)
    assert not section.comparisons


def test_the_served_are_compared_with_the_holdout_by_products_opened() -> None:
    arms = ["full", "holdout", "no_levers", "prior"] * 60
    opened = np.array([1.0, 0.0, 1.0, 0.0] * 60)
    section = uplift_section(population(arms, opened), seed=1)
    holdout, prior, worth = section.comparisons
    assert (holdout.against, holdout.outcome, holdout.curve.treated, holdout.curve.control) == (
        "the holdout", OPENED, 120, 60,
    )  # fmt: skip
    assert holdout.curve.uplift.value == pytest.approx(1.0)
    assert (prior.against, prior.outcome, prior.curve.control) == ("the arm prior", ACCEPTED, 60)
    assert ([one.part for one in holdout.slices], holdout.suppressed) == (["mobile"], 1)
    assert (worth.outcome, worth.curve.uplift.value) == (EARNED, 0.0)
    assert section.statements == ()


def test_the_holdout_of_an_issue_is_compared_among_the_served() -> None:
    layer = ["holdout", "control"] * 60
    section = uplift_section(population(["full"] * 118 + ["holdout"] * 2, np.ones(120), holdout_retain=layer), seed=1)
    names = {found.against: (found.curve.treated, found.curve.control) for found in section.comparisons}
    assert names == {"the holdout holdout_retain": (59, 59)}
    assert any("30 customers in each arm" in statement for statement in section.statements)
