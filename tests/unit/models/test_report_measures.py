"""The formulas of the evaluation report, against hand-worked examples and independent libraries."""

import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr
from sklearn.metrics import roc_auc_score

from models.errors import EvaluationRefused
from models.evaluation.clustered_ratio import clustered_ratio
from models.evaluation.full_report.binomial_interval import binomial_bounds, rate_estimate
from models.evaluation.full_report.calibration_curve import calibration_curve
from models.evaluation.full_report.customer_groups import GroupBy, group_by, group_names, value_at
from models.evaluation.full_report.fairness import DecidedRows, fairness_table, rate_ratio
from models.evaluation.full_report.judged_rows import JudgedRows, week_of
from models.evaluation.full_report.lift_curve import gains, lift_curve
from models.evaluation.full_report.score_stability import rank_correlation, shifts, stability_index, weekly_rankings
from models.evaluation.full_report.slice_figures import slice_tables


def make_rows(labels: np.ndarray, probabilities: np.ndarray, **parts: list[str]) -> JudgedRows:
    size = labels.size
    return JudgedRows(
        labels=labels.astype(np.float64),
        probabilities=probabilities.astype(np.float64),
        base_rates=np.full(size, 0.2),
        values=np.full(size, 100.0),
        decided_ms=np.arange(size, dtype=np.int64),
        customers=np.arange(size, dtype=np.int64),
        parts={title: np.array(values, dtype=np.str_) for title, values in parts.items()},
    )


@pytest.mark.parametrize(("successes", "trials"), [(0, 30), (1, 30), (7, 40), (40, 40), (350, 10_000)])
def test_binomial_intervals_are_those_of_clopper_and_pearson(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(method="exact")
    found = rate_estimate(successes, trials)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    lows, highs = binomial_bounds(np.array([float(successes)]), np.array([float(trials)]))
    assert (lows[0], highs[0]) == (found.low, found.high)


def test_a_calibration_point_is_marked_when_its_interval_leaves_out_what_was_predicted() -> None:
    labels = np.array([1.0] * 10 + [0.0] * 90 + [1.0] * 50 + [0.0] * 50)
    probabilities = np.repeat([0.1, 0.8], 100)
    curve = calibration_curve(labels, probabilities)
    assert [(p.rows, p.predicted, p.observed.value, p.outside) for p in curve.points] == [
        (100, pytest.approx(0.1), pytest.approx(0.1), False),
        (100, pytest.approx(0.8), pytest.approx(0.5), True),
    ]
    assert curve.error == pytest.approx(0.15)
    assert curve.predicted_to_observed == pytest.approx(90 / 60)


def test_calibration_never_shows_a_bin_of_fewer_rows_than_may_be_shown() -> None:
    draw = np.random.default_rng(1)
    probabilities = draw.uniform(size=95)
    curve = calibration_curve((draw.uniform(size=95) < probabilities).astype(float), probabilities)
    assert [point.rows for point in curve.points] == [31, 32, 32]
    assert calibration_curve(np.zeros(40), np.full(40, 0.1)).predicted_to_observed is None


def test_gains_of_four_options_by_hand() -> None:
    """Accepted first and third of four; the last two scores are equal, so their corner is one straight line."""
    shares, reached = gains(np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.9, 0.8, 0.3, 0.3]))
    assert shares.tolist() == [0.0, 0.25, 0.5, 1.0]
    assert reached.tolist() == [0.0, 0.5, 0.5, 1.0]
    curve = lift_curve(np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.9, 0.8, 0.3, 0.3]))
    assert curve.area == pytest.approx(0.25 * 0.25 + 0.25 * 0.5 + 0.5 * 0.75)
    assert curve.best_area == pytest.approx(0.75)
    half = next(point for point in curve.points if point.share == 0.5)
    assert (half.reached, half.lift) == (0.5, 1.0)


def test_the_area_under_gains_follows_from_the_auc_as_it_must() -> None:
    """ALIFT = rate / 2 + (1 - rate) AUC, an identity between two areas that are computed apart."""
    draw = np.random.default_rng(3)
    scores = draw.integers(0, 40, 3_000) / 40.0
    labels = (draw.uniform(size=3_000) < scores * 0.4).astype(float)
    rate = labels.mean()
    expected = rate / 2 + (1 - rate) * roc_auc_score(labels, scores)
    assert lift_curve(labels, scores).area == pytest.approx(expected, abs=1e-12)


def test_lift_without_acceptances_is_refused() -> None:
    with pytest.raises(EvaluationRefused, match="acceptances"):
        lift_curve(np.zeros(50), np.linspace(0, 1, 50))


def test_the_stability_index_by_hand() -> None:
    """Tenths of the reference 0 to 99; of the scores 55 lie in the lowest and 5 in each other. With half a row added
    the shares are 0.1 against 55.5 / 105 once and 5.5 / 105 nine times."""
    scores = np.repeat(np.arange(5.0, 100.0, 10.0), [55, *[5] * 9])
    high, low = 55.5 / 105, 5.5 / 105
    expected = (high - 0.1) * np.log(high / 0.1) + 9 * (low - 0.1) * np.log(low / 0.1)
    assert stability_index(np.arange(100.0), scores) == pytest.approx(expected)


def test_scores_that_stayed_have_hardly_any_shift_and_moved_ones_a_large_one() -> None:
    draw = np.random.default_rng(5)
    reference, same, moved = draw.beta(2, 8, 5_000), draw.beta(2, 8, 5_000), draw.beta(4, 6, 5_000)
    found = {shift.part: shift.index for shift in shifts(reference, {"same": same, "moved": moved, "few": same[:29]})}
    assert found.keys() == {"same", "moved"}
    assert found["same"] < 0.02
    assert found["moved"] > 0.25


def test_rank_correlation_is_spearmans_with_ties() -> None:
    draw = np.random.default_rng(7)
    first = draw.integers(0, 9, 400).astype(float)
    second = first + draw.integers(0, 6, 400)
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
    assert rank_correlation(first, np.ones(400)) == 0.0


def test_weeks_begin_on_monday() -> None:
    moments = np.array(["2026-03-01T23:59:59", "2026-03-02T00:00:00", "2026-03-08T23:59:59"], dtype="datetime64[ms]")
    assert week_of(moments.astype(np.int64)).tolist() == ["2026-02-23", "2026-03-02", "2026-03-02"]


def test_weeks_and_parts_of_few_rows_are_not_shown() -> None:
    draw = np.random.default_rng(11)
    probabilities = draw.uniform(0.1, 0.6, 129)
    labels = (draw.uniform(size=129) < probabilities).astype(float)
    rows = make_rows(labels, probabilities, week=["2026-03-02"] * 100 + ["2026-03-09"] * 29)
    assert [week.week for week in weekly_rankings(rows)] == ["2026-03-02"]
    (table,) = slice_tables(rows)
    assert ([one.part for one in table.slices], table.suppressed) == (["2026-03-02"], 1)
    (shown,) = table.slices
    assert shown.auc is not None and shown.auc.value == pytest.approx(roc_auc_score(labels[:100], probabilities[:100]))
    assert shown.rows == 100
    assert shown.acceptance.value == pytest.approx(labels[:100].mean())


def decided(offers: dict[str, tuple[int, int]]) -> DecidedRows:
    """By group so many customers with one decision each, of which so many were offered something."""
    groups, offered = [], []
    for group, (size, made) in offers.items():
        groups += [group] * size
        offered += [1.0] * made + [0.0] * (size - made)
    customers = np.arange(len(groups), dtype=np.int64)
    return DecidedRows(
        customers=customers, offered=np.array(offered), earned=np.array(offered) * 50.0,
        groups={"gender": np.array(groups, dtype=np.str_)},
    )  # fmt: skip


def test_the_four_fifths_ratio_by_hand() -> None:
    log = decided({"female": (1_000, 300), "male": (1_000, 500), "other": (29, 29), "": (7, 0)})
    rows = make_rows(np.tile([1.0, 0.0, 0.0, 0.0], 50), np.full(200, 0.25))
    names = np.repeat(np.array(["female", "male"]), 100)
    table = fairness_table("gender", log, rows, names)
    female, male = table.groups
    assert (female.group, female.customers, female.offer_rate.value) == ("female", 1_000, pytest.approx(0.3))
    assert male.ratio is None
    assert female.ratio is not None and female.ratio.value == pytest.approx(0.6)
    assert female.below_four_fifths and not male.below_four_fifths
    # Log ratio: variance (1 - p) / (n p) of either rate, to the factor n / (n - 1).
    error = np.sqrt((0.7 / 0.3 + 0.5 / 0.5) / 999)
    assert female.ratio.low == pytest.approx(0.6 * np.exp(-1.959964 * error), rel=1e-6)
    assert (table.suppressed, table.unknown) == (1, 7)
    assert "female" in table.statement and "beyond chance: female" in table.statement
    assert female.gap is not None and female.gap.value == pytest.approx(0.0)
    assert female.value.value == pytest.approx(15.0)


def test_equal_groups_do_not_stand_out_and_one_group_is_no_comparison() -> None:
    rows = make_rows(np.tile([1.0, 0.0], 60), np.full(120, 0.5))
    table = fairness_table(
        "gender", decided({"a": (100, 50), "b": (100, 48)}), rows, np.repeat(np.array(["a", "b"]), 60)
    )
    assert table.statement == "no group stands out"
    alone = fairness_table("gender", decided({"a": (100, 50), "b": (12, 6)}), rows, np.array(["a"] * 120))
    assert [group.group for group in alone.groups] == ["a"]
    assert "fewer than two groups" in alone.statement


def test_a_ratio_to_no_offers_at_all_is_none() -> None:
    nothing = clustered_ratio(np.zeros(50), np.ones(50))
    assert rate_ratio(nothing, clustered_ratio(np.ones(50), np.ones(50))) is None


def test_bands_texts_flags_and_unknown_values_become_groups() -> None:
    by = group_by("age:30,60")
    assert by == GroupBy(attribute="age", edges=(30.0, 60.0))
    assert group_names([29, 30, 59.5, 60, None], by).tolist() == [
        "under 30", "30 to under 60", "30 to under 60", "60 and over", "",
    ]  # fmt: skip
    assert group_names([True, False, None], group_by("married")).tolist() == ["yes", "no", ""]
    assert group_names(["xian", 3], group_by("city")).tolist() == ["xian", "3"]
    quarters = group_names(list(range(100)), group_by("aum"))
    assert len(set(quarters.tolist())) == 4


@pytest.mark.parametrize("text", ["age:60,30", "age:", "4x", "age:3,3"])
def test_a_group_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(EvaluationRefused, match="--group"):
        group_by(text)


def test_a_value_counts_from_the_moment_it_was_told() -> None:
    history = [(10, "a"), (20, "b")]
    assert [value_at(history, at) for at in (5, 10, 19, 20, 99)] == ["a", "a", "a", "b", "b"]
    assert value_at((), 5) is None
