"""The value of a slate: by hand, and each assumption where it holds and where it does not."""

from itertools import permutations

import numpy as np
import pytest

from models.errors import EvaluationRefused
from models.evaluation.off_policy.judgement import JudgingRule
from models.evaluation.off_policy.report import slate_json, slate_lines
from models.evaluation.off_policy.slates import RecordedSlates, SlateModel, place_weights, slate_value

FAST = JudgingRule(replicates=100)
NAN = np.nan
BY_HAND = RecordedSlates(
    rewards=np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
    logged=np.array([[0.5, 0.5], [0.5, 0.25], [0.25, NAN]]),
    target=np.array([[0.25, 1.0], [0.5, 0.25], [0.5, NAN]]),
)


def test_weights_by_hand() -> None:
    """Ratios are 1/2 and 2; 1 and 1; 2 and nothing."""
    assert place_weights(BY_HAND, SlateModel.ITEM_POSITION).tolist() == [[0.5, 2.0], [1.0, 1.0], [2.0, 1.0]]
    assert place_weights(BY_HAND, SlateModel.CASCADE).tolist() == [[0.5, 1.0], [1.0, 1.0], [2.0, 2.0]]
    assert place_weights(BY_HAND, SlateModel.STANDARD).tolist() == [[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]]


def test_values_by_hand() -> None:
    """The reward where nothing stood counts for nothing."""
    value = slate_value(BY_HAND, SlateModel.ITEM_POSITION, FAST)
    assert value.logged.value == pytest.approx(3 / 3)
    assert value.inverse_propensity.value == pytest.approx((0.5 * 1 + 2 * 1 + 1 * 1) / 3)
    assert [place.inverse_propensity.value for place in value.places] == pytest.approx([2.5 / 3, 1 / 3])
    assert value.places[0].self_normalised.value == pytest.approx(2.5 / 3.5)
    assert value.places[1].self_normalised.value == pytest.approx(1 / 3 * 2 / 3)
    assert value.refusals and "place 1: only" in value.refusals[0]


def preferences() -> tuple[np.ndarray, np.ndarray]:
    return np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])


def given_above(preference: np.ndarray, slate: tuple[int, ...]) -> np.ndarray:
    left, chances = 1.0, []
    for item in slate:
        chances.append(preference[item] / left)
        left -= preference[item]
    return np.array(chances)


def at_place(preference: np.ndarray) -> np.ndarray:
    chances = np.zeros((3, 2))
    for slate in permutations(range(3), 2):
        chances[list(slate), [0, 1]] += given_above(preference, slate).prod()
    return chances


def exact_expectation(model: SlateModel, rewards: dict[tuple[int, ...], np.ndarray]) -> tuple[float, float]:
    """The IPS estimate's expectation over all slates of two out of three items, and the judged policy's true value."""
    logged, target = preferences()
    at = [at_place(preference) for preference in (logged, target)]
    expected, truth = 0.0, 0.0
    for slate in permutations(range(3), 2):
        if model is SlateModel.ITEM_POSITION:
            chances = [grid[list(slate), [0, 1]] for grid in at]
        else:
            chances = [given_above(preference, slate) for preference in (logged, target)]
        one = RecordedSlates(rewards=rewards[slate][None], logged=chances[0][None], target=chances[1][None])
        weights = place_weights(one, model)[0]
        expected += float(given_above(logged, slate).prod() * (weights @ rewards[slate]))
        truth += float(given_above(target, slate).prod() * rewards[slate].sum())
    return expected, truth


def test_whole_slate_weights_are_unbiased_whatever_the_rewards_depend_on() -> None:
    anything = {
        slate: np.array([slate[0] * 0.3 + slate[1] * 0.1, (slate[0] == 2) * 0.7]) for slate in permutations(range(3), 2)
    }
    expected, truth = exact_expectation(SlateModel.STANDARD, anything)
    assert expected == pytest.approx(truth, abs=1e-12)


def test_cascade_weights_are_unbiased_where_places_below_do_not_matter_and_only_there() -> None:
    from_above = {
        slate: np.array([slate[0] * 0.3, slate[1] * 0.2 + (slate[0] == 2) * 0.4]) for slate in permutations(range(3), 2)
    }
    expected, truth = exact_expectation(SlateModel.CASCADE, from_above)
    assert expected == pytest.approx(truth, abs=1e-12)
    from_below = {slate: np.array([(slate[1] == 2) * 0.5, 0.0]) for slate in permutations(range(3), 2)}
    expected, truth = exact_expectation(SlateModel.CASCADE, from_below)
    assert abs(expected - truth) > 0.01


def test_place_weights_are_unbiased_where_only_the_own_option_matters_and_only_there() -> None:
    own = {slate: np.array([slate[0] * 0.3, slate[1] * 0.2]) for slate in permutations(range(3), 2)}
    expected, truth = exact_expectation(SlateModel.ITEM_POSITION, own)
    assert expected == pytest.approx(truth, abs=1e-12)
    competing = {slate: np.array([0.0, (slate[0] == 0) * 0.8]) for slate in permutations(range(3), 2)}
    expected, truth = exact_expectation(SlateModel.ITEM_POSITION, competing)
    assert abs(expected - truth) > 0.01


def test_one_place_is_the_same_under_every_assumption() -> None:
    draw = np.random.default_rng(1)
    chances = draw.uniform(0.2, 1.0, (50, 1))
    slates = RecordedSlates(rewards=draw.random((50, 1)), logged=chances, target=draw.uniform(0, 1, (50, 1)))
    found = {slate_value(slates, model, FAST).inverse_propensity for model in SlateModel}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("slates", "message"),
    [
        (RecordedSlates(rewards=np.zeros((2, 2)), logged=np.ones((2, 3)), target=np.ones((2, 2))), "logged chances"),
        (RecordedSlates(rewards=np.zeros(2), logged=np.ones(2), target=np.ones(2)), "a row a slate"),
        (RecordedSlates(rewards=np.zeros((1, 2)), logged=np.array([[0.5, 0.0]]), target=np.ones((1, 2))), "logged sel"),
        (RecordedSlates(rewards=np.zeros((1, 2)), logged=np.array([[0.5, NAN]]), target=np.ones((1, 2))), "place 2"),
        (RecordedSlates(rewards=np.zeros((1, 1)), logged=np.ones((1, 1)), target=np.full((1, 1), NAN)), "finite"),
        (
            RecordedSlates(
                rewards=np.zeros((2, 1)), logged=np.ones((2, 1)), target=np.ones((2, 1)), clusters=np.zeros(3, np.intp)
            ),
            "clusters",
        ),
    ],
)
def test_slates_that_do_not_fit_are_refused_by_name(slates: RecordedSlates, message: str) -> None:
    with pytest.raises(EvaluationRefused, match=message):
        slate_value(slates, SlateModel.CASCADE, FAST)


def test_the_table_names_the_assumption_and_every_place() -> None:
    value = slate_value(BY_HAND, SlateModel.CASCADE, FAST)
    text = "\n".join(slate_lines(value))
    for word in ("assuming cascade", "place 1", "place 2", "all places", "NO CONCLUSION"):
        assert word in text
    assert slate_json(value)["assumes"] == "cascade"
