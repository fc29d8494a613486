"""Calibration: the beta family, and corrections by segment that are shrunk where little is known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from models.calibration import BetaCalibration, IdentityCalibration, calibration_from, fit_beta, fit_logistic, sigmoid
from models.errors import ManifestInvalid, TrainingRefused
from models.segment_calibration import SegmentedCalibration, fit_segments, log_odds_of, scorer_calibration_from
from models.training.calibrating import BETA_POSITIVES, ISOTONIC_POSITIVES, calibrate
from models.training.fit import FittedModel

TIER = Column(name="tier", source=ColumnSource.ATTRIBUTE, categories=("mass", "middle", "private"))
SCHEMA = FeatureSchema((Column(name="spend", source=ColumnSource.ATTRIBUTE), TIER))


def drawn(margins: np.ndarray, chances: np.ndarray, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).random(margins.size) < chances).astype(float)


def segmented_bank(rows: int, shifts: tuple[float, float, float], seed: int = 2) -> tuple[np.ndarray, ...]:
    """Margins, matrix and labels whose log-odds are shifted by tier."""
    draw = np.random.default_rng(seed)
    margins, tiers = draw.normal(-1.5, 1.0, rows), draw.integers(0, 3, rows)
    labels = drawn(margins, sigmoid(margins + np.array(shifts)[tiers]), seed)
    return margins, np.column_stack([margins, tiers.astype(float)]), labels


def test_beta_calibration_of_ones_is_the_probability_itself() -> None:
    margins = np.linspace(-30, 30, 101)
    same = BetaCalibration(rising=1.0, falling=1.0, intercept=0.0)
    np.testing.assert_allclose(same.apply(margins), sigmoid(margins), rtol=1e-12)


def test_beta_calibration_follows_its_formula() -> None:
    """Kull, Silva Filho and Flach 2017: 1 / (1 + 1 / (e^c s^a / (1 - s)^b))."""
    a, b, c = 0.7, 1.4, -0.3
    s = np.linspace(0.01, 0.99, 50)
    wanted = 1 / (1 + 1 / (np.exp(c) * s**a / (1 - s) ** b))
    found = BetaCalibration(rising=a, falling=b, intercept=c).apply(np.log(s / (1 - s)))
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_beta_calibration_finds_a_distortion_that_a_line_cannot() -> None:
    margins = np.random.default_rng(5).normal(0, 2, 60_000)
    truth = BetaCalibration(rising=0.4, falling=1.8, intercept=0.2)
    labels = drawn(margins, truth.apply(margins))
    beta, line = fit_beta(margins, labels), fit_logistic(margins, labels)
    grid = np.linspace(-4, 4, 41)
    off = [float(np.abs(found.apply(grid) - truth.apply(grid)).max()) for found in (beta, line)]
    assert off[0] < 0.02 < off[1]


def test_a_margin_that_ranks_backwards_gets_the_base_rate() -> None:
    margins = np.random.default_rng(6).normal(0, 1, 5_000)
    labels = drawn(margins, sigmoid(-2 * margins))
    found = fit_beta(margins, labels)
    assert (found.rising, found.falling) == (0.0, 0.0)
    np.testing.assert_allclose(found.apply(margins), labels.mean(), rtol=1e-9)
    with pytest.raises(TrainingRefused):
        fit_beta(margins, np.ones_like(labels))


@given(st.integers(0, 1_000), st.floats(-3, 3))
@settings(max_examples=25, deadline=None)
def test_a_fitted_beta_calibration_never_falls_and_survives_being_stored(seed: int, slope: float) -> None:
    margins = np.random.default_rng(seed).normal(0, 2, 400)
    labels = drawn(margins, sigmoid(slope * margins), seed)
    if 0 < labels.sum() < labels.size:
        found = fit_beta(margins, labels)
        curve = found.apply(np.linspace(-40, 40, 400))
        assert (np.diff(curve) >= 0).all() and (curve >= 0).all() and (curve <= 1).all()
        stored = calibration_from(json.loads(json.dumps(found.as_mapping())))
        assert (stored.apply(margins) == found.apply(margins)).all()


def test_a_beta_calibration_that_falls_is_refused() -> None:
    with pytest.raises(ManifestInvalid):
        calibration_from({"kind": "beta", "rising": -0.1, "falling": 1.0, "intercept": 0.0})


def test_more_positives_buy_a_freer_calibration() -> None:
    margins = np.random.default_rng(8).normal(0, 1, 4_000)
    matrix = margins[:, None]
    kinds = []
    for positives in (BETA_POSITIVES - 1, BETA_POSITIVES, ISOTONIC_POSITIVES):
        labels = np.zeros(margins.size)
        labels[np.argsort(-margins)[: 2 * positives : 2]] = 1.0
        kinds.append(calibrate(margins, matrix, labels, []).as_mapping()["kind"])
    assert kinds == ["logistic", "beta", "isotonic"]


def test_segments_that_differ_are_calibrated_each_by_itself() -> None:
    margins, matrix, labels = segmented_bank(30_000, (0.0, -1.0, 1.2))
    overall = fit_logistic(margins, labels)
    found = fit_segments(overall, margins, matrix, labels, [(1, TIER)])
    assert isinstance(found, SegmentedCalibration)
    for tier in range(3):
        mine = matrix[:, 1] == tier
        gap_before = abs(float(overall.apply(margins[mine]).mean() - labels[mine].mean()))
        gap_after = abs(float(found.apply_rows(margins[mine], matrix[mine]).mean() - labels[mine].mean()))
        assert gap_after < 0.004
        assert tier == 0 or gap_after < gap_before / 5


def test_a_segment_of_a_few_rows_stays_near_the_overall_map() -> None:
    margins, matrix, labels = segmented_bank(20_000, (0.0, -1.0, 1.2))
    few = np.flatnonzero(matrix[:, 1] == 2)[:6]
    kept = np.concatenate([np.flatnonzero(matrix[:, 1] != 2), few])
    overall = fit_logistic(margins, labels)
    large = fit_segments(overall, margins, matrix, labels, [(1, TIER)])
    small = fit_segments(overall, margins[kept], matrix[kept], np.where(kept < 0, 0, 1.0) * labels[kept], [(1, TIER)])
    assert isinstance(large, SegmentedCalibration) and isinstance(small, SegmentedCalibration)
    known, guessed = (found.corrections[0] for found in (large, small))
    rows = np.zeros((1, 2))
    rows[0, 1] = 2
    moved = [float(correction.apply(np.zeros(1), rows)[0]) for correction in (known, guessed)]
    assert abs(moved[1]) < abs(moved[0])
    assert guessed.rows == (
        kept.size - few.size - int((matrix[kept, 1] == 1).sum()),
        int((matrix[kept, 1] == 1).sum()),
        6,
    )


def test_segments_that_do_not_differ_keep_the_overall_map_exactly() -> None:
    """In nine of ten draws chance alone is recognised; where it is not, the shifts are small."""
    untouched, largest = 0, 0.0
    for seed in range(20):
        margins, matrix, labels = segmented_bank(4_000, (0.0, 0.0, 0.0), seed)
        found = fit_segments(IdentityCalibration(), margins, matrix, labels, [(1, TIER)])
        assert isinstance(found, SegmentedCalibration)
        shifts = np.abs(found.corrections[0].intercepts)
        untouched += int((shifts == 0).all())
        largest = max(largest, float(shifts.max()))
    assert untouched >= 8
    assert largest < 0.3


def test_what_has_no_known_segment_gets_the_overall_map_and_a_row_alone_scores_as_among_others() -> None:
    margins, matrix, labels = segmented_bank(5_000, (0.0, -1.0, 1.0))
    found = fit_segments(fit_logistic(margins, labels), margins, matrix, labels, [(1, TIER)])
    assert isinstance(found, SegmentedCalibration)
    odd = matrix[:4].copy()
    odd[:, 1] = [np.nan, -1.0, 3.0, np.inf]
    np.testing.assert_allclose(found.apply_rows(margins[:4], odd), found.apply(margins[:4]), rtol=1e-12)
    together = found.apply_rows(margins[:50], matrix[:50])
    alone = np.concatenate([found.apply_rows(margins[i : i + 1], matrix[i : i + 1]) for i in range(50)])
    assert (together == alone).all()
    by_hand = found.corrections[0].slopes[1] * log_odds_of(found.apply(margins)) + found.corrections[0].intercepts[1]
    middle = matrix[:, 1] == 1
    np.testing.assert_allclose(found.apply_rows(margins, matrix)[middle], sigmoid(by_hand)[middle], rtol=1e-12)


def test_stored_segments_are_applied_bit_for_bit_and_to_their_own_columns_alone() -> None:
    margins, matrix, labels = segmented_bank(5_000, (0.0, -1.0, 1.0))
    found = fit_segments(fit_logistic(margins, labels), margins, matrix, labels, [(1, TIER)])
    stored = json.loads(json.dumps(found.as_mapping()))
    again = scorer_calibration_from(stored, SCHEMA)
    assert isinstance(again, SegmentedCalibration) and isinstance(found, SegmentedCalibration)
    assert (again.apply_rows(margins, matrix) == found.apply_rows(margins, matrix)).all()
    fewer = FeatureSchema((SCHEMA.columns[0], replace(TIER, categories=("mass", "private"))))
    with pytest.raises(ManifestInvalid, match="tier"):
        scorer_calibration_from(stored, fewer)
    stored["corrections"][0]["slopes"][0] = -1.0
    with pytest.raises(ManifestInvalid):
        scorer_calibration_from(stored, SCHEMA)
    stored["corrections"][0].pop("rows")
    with pytest.raises(ManifestInvalid, match="cannot be read"):
        scorer_calibration_from(stored, SCHEMA)


def test_a_plain_calibration_is_read_as_before(fitted: FittedModel) -> None:
    stored = json.loads(fitted.files["calibration.json"])
    assert scorer_calibration_from(stored, fitted.draft.schema).as_mapping() == stored
