"""Off-policy estimates are those computed by hand, and a conclusion is refused by the stated rule."""

from dataclasses import replace

import numpy as np
import pytest

from models.errors import EvaluationRefused
from models.evaluation.intervals import Estimate
from models.evaluation.off_policy.bootstrap import cluster_sums, interval, resample
from models.evaluation.off_policy.estimators import Estimator
from models.evaluation.off_policy.judgement import JudgingRule, OffPolicyReport, clipping_bias, judge_policies
from models.evaluation.off_policy.recorded_choices import JudgedPolicy, Predictions, RecordedChoices, importance_weights
from models.evaluation.off_policy.report import as_json, report_lines
from models.evaluation.off_policy.reward_model import ObservedOptions, cross_fitted_rewards, predictions
from models.evaluation.off_policy.weight_health import effective_size, weight_health

FAST = JudgingRule(replicates=200)
REWARDS = np.array([1.0, 0.0, 1.0, 0.0])
LOGGED = np.array([0.5, 0.25, 0.25, 0.5])
CHANCES = np.array([0.5, 0.75, 0.25, 0.0])  # weights 1, 3, 1, 0
BY_HAND = RecordedChoices(rewards=REWARDS, logged=LOGGED)
WITH_MODEL = JudgedPolicy(
    chances=CHANCES,
    predictions=Predictions(chosen=np.array([0.5, 0.25, 0.5, 0.25]), expected=np.array([0.5, 0.25, 0.25, 0.5])),
)


def values(policy: JudgedPolicy, rule: JudgingRule = FAST, choices: RecordedChoices = BY_HAND) -> dict[str, float]:
    report = judge_policies(choices, {"judged": policy}, rule)
    return {kind.value: found.value for kind, found in report.policy("judged").estimates.items()}


def test_the_estimates_are_those_computed_by_hand() -> None:
    residuals = 1 * 0.5 + 3 * -0.25 + 1 * 0.5 + 0  # w (r - q), summed
    assert values(WITH_MODEL) == pytest.approx(
        {
            "IPS": (1 + 1) / 4,
            "SNIPS": (1 + 1) / 5,
            "DM": 1.5 / 4,
            "DR": 1.5 / 4 + residuals / 4,
            "SN-DR": 1.5 / 4 + residuals / 5,
        }
    )


def test_clipping_at_two_takes_one_unit_of_weight_from_the_second_choice() -> None:
    residuals = 1 * 0.5 + 2 * -0.25 + 1 * 0.5
    kept = 1 * 0.5 + 1 * 0.5  # switching leaves the second choice to the model
    assert values(WITH_MODEL, replace(FAST, clip=2.0)) == pytest.approx(
        {
            "IPS": 2 / 4,
            "SNIPS": 2 / 4,
            "DM": 1.5 / 4,
            "DR": 1.5 / 4 + residuals / 4,
            "SN-DR": 1.5 / 4 + residuals / 4,
            "switch-DR": 1.5 / 4 + kept / 4,
        }
    )


def test_the_bias_of_clipping_is_stated_as_seen_and_at_most() -> None:
    rewards = np.array([1.0, 2.0, 1.0, 0.0])
    bias = clipping_bias(replace(BY_HAND, rewards=rewards), WITH_MODEL, 2.0)
    assert bias.observed == pytest.approx(-1 * 2 / 4)
    assert bias.bound == pytest.approx(1 / 4 * 2)


def test_what_is_left_idle_earns_nothing() -> None:
    """A policy that offers only half the time and then as the log did is worth half of what the log earned."""
    half = JudgedPolicy(chances=LOGGED / 2, idle=np.full(4, 0.5))
    assert values(half)["IPS"] == pytest.approx(0.25)
    assert values(half)["SNIPS"] == pytest.approx(0.25)
    assert weight_health(BY_HAND, half, None).mean_expected == pytest.approx(0.5)


def test_a_policy_that_is_the_log_is_worth_what_was_earned() -> None:
    report = judge_policies(BY_HAND, {"same": JudgedPolicy(chances=LOGGED)}, FAST)
    same = report.policy("same")
    assert {found.value for found in same.estimates.values()} == {report.logged.value} == {0.5}
    assert same.over_log == Estimate(value=0.0, low=0.0, high=0.0)
    assert same.health.effective == 4


def test_the_diagnosis_of_weights_is_that_computed_by_hand() -> None:
    choices = replace(BY_HAND, clusters=np.array([7, 7, 9, 9], np.intp))
    health = weight_health(choices, WITH_MODEL, None)
    assert health.effective == pytest.approx(25 / 11)
    assert health.effective_clusters == pytest.approx(25 / 17)  # weights 4 and 1
    assert (health.clusters, health.largest_weight, health.rewarded) == (2, 3.0, 2)
    assert health.largest_share == pytest.approx(4 / 5)
    assert health.mean_weight == pytest.approx(5 / 4)
    clipped = weight_health(choices, WITH_MODEL, 2.0)
    assert (clipped.clipped_choices, clipped.clipped_share) == (1, pytest.approx(1 / 5))
    assert effective_size(np.zeros(3)) == 0.0


def sound_log(rows: int = 400, seed: int = 3) -> tuple[RecordedChoices, JudgedPolicy]:
    """Two options a fair coin drew, judged: the first with chance 0.7."""
    draw = np.random.default_rng(seed)
    first = draw.random(rows) < 0.5
    rewards = (draw.random(rows) < np.where(first, 0.6, 0.2)).astype(float)
    policy = JudgedPolicy(chances=np.where(first, 0.7, 0.3))
    return RecordedChoices(rewards=rewards, logged=np.full(rows, 0.5)), policy


def refusals(choices: RecordedChoices, policy: JudgedPolicy, clip: float | None = None) -> str:
    return "; ".join(weight_health(choices, policy, clip).refusals())


def test_sound_weights_carry_a_conclusion() -> None:
    choices, policy = sound_log()
    report = judge_policies(choices, {"mostly first": policy}, FAST)
    assert report.conclusive
    found = report.policy("mostly first").estimates[Estimator.SNIPS]
    assert found.low < 0.7 * 0.6 + 0.3 * 0.2 < found.high


def test_too_few_effective_choices_carry_none() -> None:
    choices, policy = sound_log(28)
    assert "effective observations" in refusals(choices, policy)
    everyone = replace(sound_log()[0], clusters=np.arange(400, dtype=np.intp) % 12)
    assert "effective observations" in refusals(everyone, policy=sound_log()[1])


def test_one_choice_that_carries_the_weight_carries_no_conclusion() -> None:
    choices, policy = sound_log()
    heavy = replace(choices, logged=np.where(np.arange(400) == 0, 0.005, 0.5))
    assert "of all weight" in refusals(heavy, policy)


def test_a_policy_on_what_the_log_never_showed_carries_none() -> None:
    choices, policy = sound_log()
    assert "no chance to show" in refusals(choices, replace(policy, unsupported=np.full(400, 0.06)))
    assert "no chance to show" in "".join(
        weight_health(choices, replace(policy, unsupported=np.full(400, 0.01)), None).warnings()
    )


def test_chances_that_cannot_be_right_show_in_the_mean_weight() -> None:
    choices, policy = sound_log()
    assert "mean weight" in refusals(replace(choices, logged=np.full(400, 0.25)), policy)


def test_clipping_most_of_the_weight_away_carries_none() -> None:
    choices, policy = sound_log()
    assert "clipping takes" in refusals(choices, policy, clip=0.7)
    assert "clipping" not in refusals(choices, policy, clip=1.4)


def test_hardly_any_reward_carries_none() -> None:
    choices, policy = sound_log()
    rewards = np.where(np.cumsum(choices.rewards) <= 9, choices.rewards, 0.0)
    assert "only 9 choices" in refusals(replace(choices, rewards=rewards), policy)


def test_a_policy_that_never_agrees_is_reported_and_carries_none() -> None:
    choices, _ = sound_log()
    report = judge_policies(choices, {"never": JudgedPolicy(chances=np.zeros(400))}, FAST)
    assert not report.conclusive
    assert "undefined" in "\n".join(report_lines(report))
    assert as_json(report)["conclusive"] is False
    assert as_json(report)["policies"][0]["estimates"]["SNIPS"]["value"] is None  # type: ignore[index]


@pytest.mark.parametrize(
    ("choices", "policy", "message"),
    [
        (replace(BY_HAND, logged=np.array([0.5, 0.0, 0.5, 0.5])), WITH_MODEL, "logged selection probabilities"),
        (replace(BY_HAND, logged=np.array([0.5, 1.1, 0.5, 0.5])), WITH_MODEL, "logged selection probabilities"),
        (replace(BY_HAND, rewards=np.array([0.0, np.nan, 0, 0])), WITH_MODEL, "rewards must be finite; row 1"),
        (BY_HAND, JudgedPolicy(chances=np.array([0.5, -0.1, 0, 0])), "target probabilities"),
        (BY_HAND, JudgedPolicy(chances=np.array([0.5, 0.1])), "target probabilities have shape"),
        (BY_HAND, replace(WITH_MODEL, idle=np.full(4, 2.0)), "idle"),
        (replace(BY_HAND, clusters=np.zeros(3, np.intp)), WITH_MODEL, "clusters have shape"),
        (RecordedChoices(rewards=np.empty(0), logged=np.empty(0)), WITH_MODEL, "no recorded choices"),
    ],
)
def test_arrays_that_cannot_be_what_they_should_be_are_refused_by_name(
    choices: RecordedChoices, policy: JudgedPolicy, message: str
) -> None:
    with pytest.raises(EvaluationRefused, match=message):
        judge_policies(choices, {"judged": policy}, FAST)


@pytest.mark.parametrize("logged", [0.0, -0.1, 1.1, np.nan])
def test_impossible_logged_probabilities_are_refused(logged: float) -> None:
    with pytest.raises(EvaluationRefused, match="selection probabilities"):
        importance_weights(np.array([1.0]), np.array([logged]))


def test_rules_that_give_no_estimate_are_refused() -> None:
    with pytest.raises(EvaluationRefused, match="clipped at 0"):
        JudgingRule(clip=0.0)
    with pytest.raises(EvaluationRefused, match="replicates"):
        JudgingRule(replicates=10)
    with pytest.raises(EvaluationRefused, match="no policy"):
        judge_policies(BY_HAND, {}, FAST)


def test_customers_are_resampled_whole() -> None:
    """With every customer's choices repeated ten times the interval stays as wide; one by one it would shrink."""
    choices, policy = sound_log()
    repeated = RecordedChoices(
        rewards=np.repeat(choices.rewards, 10),
        logged=np.repeat(choices.logged, 10),
        clusters=np.repeat(np.arange(400, dtype=np.intp), 10),
    )
    widths = [
        width(judge_policies(repeated, {"p": JudgedPolicy(chances=np.repeat(policy.chances, 10))}, FAST)),
        width(judge_policies(choices, {"p": policy}, FAST)),
    ]
    assert widths[0] == pytest.approx(widths[1])
    assert cluster_sums(np.array([[1.0], [2], [4]]), np.array([5, 9, 5], np.intp)).tolist() == [[5.0], [2.0]]


def width(report: OffPolicyReport) -> float:
    found = report.policy("p").estimates[Estimator.SNIPS]
    return found.high - found.low


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly() -> None:
    choices, policy = sound_log()
    first, again, other = (
        judge_policies(choices, {"p": policy}, JudgingRule(seed=seed)).policy("p").estimates[Estimator.IPS]
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert first.low == pytest.approx(other.low, abs=0.01)


def test_differences_are_paired_and_opposite() -> None:
    """The same policy twice differs by nothing at all, whatever the resample."""
    choices, policy = sound_log()
    report = judge_policies(choices, {"a": policy, "b": policy, "log": JudgedPolicy(chances=choices.logged)}, FAST)
    assert report.difference("a", "b") == Estimate(value=0.0, low=0.0, high=0.0)
    forth, back = report.difference("a", "log"), report.difference("log", "a")
    assert (back.value, back.low, back.high) == (-forth.value, -forth.high, -forth.low)
    assert forth.low == pytest.approx(report.policy("a").over_log.low)


def test_the_interval_of_skewed_rewards_reaches_further_to_the_side_of_the_tail() -> None:
    table = np.ones((200, 2))
    table[:, 1] = np.where(np.arange(200) < 5, 40.0, 0.0)
    found = interval(lambda totals: totals[..., 1] / totals[..., 0], resample(table, None, 2_000, 1))
    assert found.value == 1.0
    assert found.high - found.value > 1.3 * (found.value - found.low)


def test_a_single_customer_has_an_unbounded_interval() -> None:
    report = judge_policies(replace(BY_HAND, clusters=np.zeros(4, np.intp)), {"p": WITH_MODEL}, FAST)
    assert report.logged.high == np.inf
    assert not report.conclusive


def test_a_reward_is_never_predicted_from_the_customers_own() -> None:
    """With each customer their own segment there is nothing of others to learn from but the mean."""
    draw = np.random.default_rng(2)
    rewards = draw.random(60)
    customers = np.repeat(np.arange(20, dtype=np.intp), 3)
    observed = ObservedOptions(options=np.zeros(60, np.intp), segments=customers, clusters=customers, option_count=1)
    predicted = cross_fitted_rewards(rewards, observed)
    for customer in range(20):
        mine = customers == customer
        changed = cross_fitted_rewards(np.where(mine, 9.0, rewards), observed)
        assert np.array_equal(changed[mine], predicted[mine])
    with pytest.raises(EvaluationRefused, match="folds"):
        cross_fitted_rewards(
            rewards[:3], replace(observed, options=customers[:3], segments=customers[:3], clusters=customers[:3])
        )


def test_predictions_are_the_policys_mean_over_options() -> None:
    found = predictions(
        np.array([[0.1, 0.5], [0.2, 0.4]]), np.array([0, 1], np.intp), np.array([[0.5, 0.5], [1.0, 0.0]])
    )
    assert found.chosen.tolist() == [0.1, 0.4]
    assert found.expected == pytest.approx([0.3, 0.2])
