"""Online beliefs in the engine: segments, model versions, treatments of one offer, and draws from the posterior."""

import numpy as np
import pytest
from scipy import stats

from decision_engine.online import (
    EVERYBODY,
    OnlineLearning,
    OnlinePlan,
    OnlineTable,
    Row,
    believed,
    believed_by_offer,
    look_up,
    segment_of,
)
from decision_engine.thompson import Posteriors, posterior_chances, sample_multiplied

TERMS = OnlineLearning(half_life_seconds=1, window_seconds=60, steps=(60,), segments=("rich", "young"))


def plan() -> OnlinePlan:
    """Two offers, the first with two treatments in the channel."""
    return OnlinePlan(
        terms=TERMS,
        treatments=("a.mobile.x", "a.mobile.y", "b.mobile.x"),
        numbers={"a.mobile.x": 0, "a.mobile.y": 1, "b.mobile.x": 2},
        offer_of=np.array([0, 0, 1]),
        shares=np.array([0.5, 0.5, 1.0]),
        in_channel={"mobile": np.array([0, 1, 2])},
        segments=(("rich", 4), ("young", 2)),
    )


def row(*multipliers: float) -> Row:
    return Row(multipliers=np.array(multipliers), shapes=np.full(len(multipliers), 9.0))


def table() -> OnlineTable:
    rows = {("m1", ""): row(1, 2, 3), ("m1", "rich"): row(4, 5, 6), ("m2", ""): row(7, 8, 9)}
    return OnlineTable(treatments=plan().treatments, unseen=row(1, 1, 1), rows=rows)


def test_the_first_segment_that_holds_counts() -> None:
    truth = np.zeros(6, np.bool_)
    assert segment_of(plan(), truth) == EVERYBODY
    truth[2] = True
    assert segment_of(plan(), truth) == "young"
    truth[4] = True
    assert segment_of(plan(), truth) == "rich"


def test_each_treatment_is_looked_up_under_the_version_that_scored_its_offer() -> None:
    by_model = np.array([0, 0, 1])
    assert look_up(plan(), table(), "", ["m1", "m2"], by_model).multipliers.tolist() == [1, 2, 9]
    assert look_up(plan(), table(), "rich", ["m1", "m1"], by_model).multipliers.tolist() == [4, 5, 6]
    assert look_up(plan(), table(), "rich", ["m1", "m9"], by_model).multipliers.tolist() == [4, 5, 1]


def test_one_version_is_read_by_reference() -> None:
    found = table()
    assert look_up(plan(), found, "", ["m1"], np.zeros(3, np.intp)) is found.rows["m1", ""]


@pytest.mark.parametrize("base", [0.0, 1e-9, 0.02, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("multiplier", [0.01, 0.5, 1.0, 3.0, 100.0])
def test_a_believed_propensity_is_one(base: float, multiplier: float) -> None:
    found = believed_by_offer(plan(), np.array([2]), np.array([0.1, base]), np.array([1.0, 1.0, multiplier]))
    assert 0.0 <= found[1] <= 1.0
    assert found[0] == 0.1
    if 0.0 < base < 1.0:
        assert found[1] / (1 - found[1]) == pytest.approx(multiplier * base / (1 - base))
    if multiplier == 1.0:
        assert found[1] == pytest.approx(base, rel=1e-11)


def test_an_offer_is_worth_the_mean_of_the_treatments_it_may_be_shown_in() -> None:
    found = believed_by_offer(plan(), np.array([0, 1]), np.array([0.2, 0.3]), np.array([1.0, 4.0, 9.0]))
    assert found.tolist() == pytest.approx([(0.2 + 0.5) / 2, 0.3])


@pytest.mark.parametrize("shape", [1.0, 4.0, 60.0])
def test_draws_have_the_mean_and_the_spread_of_the_gamma_distribution(shape: float) -> None:
    drawn = sample_multiplied(np.array([1e-6]), np.array([shape]), "seed", "label", 60_000)[:, 0] / 1e-6
    true = stats.gamma(shape, scale=1.0 / shape)
    assert drawn.mean() == pytest.approx(1.0, abs=0.02)
    assert drawn.std() == pytest.approx(true.std(), rel=0.04)
    assert np.quantile(drawn, [0.25, 0.5, 0.9]) == pytest.approx(true.ppf([0.25, 0.5, 0.9]), abs=0.04)


def test_the_less_is_known_the_more_often_the_second_best_is_tried() -> None:
    def chance(shape: float) -> float:
        beliefs = Posteriors(
            odds=np.array([0.12, 0.1]), shapes=np.array([200.0, shape]),
            propensity=believed(np.full(2, 0.1), np.ones(2)), priorities=np.array([0.1, 0.1]), worths=np.ones(2),
        )  # fmt: skip
        return float(posterior_chances(beliefs, "seed", "label", 4_000)[1])

    assert chance(2.0) > chance(30.0) > chance(400.0)
    assert chance(400.0) < 0.05
