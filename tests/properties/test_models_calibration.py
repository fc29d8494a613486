"""Calibration is monotone, bounded, stored exactly, and as good as an independent isotonic fit."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.isotonic import IsotonicRegression

from models.calibration import (
    Calibration,
    IdentityCalibration,
    calibration_from,
    fit_isotonic,
    fit_logistic,
)
from models.errors import ManifestInvalid, TrainingRefused

MARGINS = arrays(np.float64, st.integers(2, 60), elements=st.floats(-8, 8).map(lambda x: round(x, 2)))


def fitted(margins: np.ndarray, bits: int) -> list[Calibration]:
    labels = np.array([float(bits >> i & 1) for i in range(margins.size)])
    labels[0], labels[-1] = 0.0, 1.0
    return [IdentityCalibration(), fit_logistic(margins, labels), fit_isotonic(margins, labels)]


@settings(max_examples=60, deadline=None)
@given(margins=MARGINS, bits=st.integers(0, 2**60 - 1))
def test_calibrations_never_reorder_and_stay_probabilities(margins: np.ndarray, bits: int) -> None:
    grid = np.linspace(-60, 60, 400)
    for calibration in fitted(margins, bits):
        curve = calibration.apply(grid)
        assert ((curve >= 0) & (curve <= 1)).all()
        assert (np.diff(curve) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(margins=MARGINS, bits=st.integers(0, 2**60 - 1))
def test_a_calibration_is_read_back_from_json_exactly(margins: np.ndarray, bits: int) -> None:
    grid = np.linspace(-10, 10, 200)
    for calibration in fitted(margins, bits):
        again = calibration_from(json.loads(json.dumps(calibration.as_mapping())))
        assert (again.apply(grid) == calibration.apply(grid)).all()


@settings(max_examples=60, deadline=None)
@given(margins=MARGINS, bits=st.integers(0, 2**60 - 1))
def test_isotonic_pools_are_those_of_an_independent_fit(margins: np.ndarray, bits: int) -> None:
    labels = np.array([float(bits >> i & 1) for i in range(margins.size)])
    oracle = IsotonicRegression(out_of_bounds="clip").fit(margins, labels).predict(margins)
    found = fit_isotonic(margins, labels).apply(margins)
    base_rate = (labels.sum() + 0.5) / (labels.size + 1)
    for height in np.unique(oracle):
        rows = oracle == height
        count = rows.sum()
        assert found[rows] == pytest.approx((height * count + 0.5 * base_rate) / (count + 0.5), abs=1e-9)


def test_logistic_calibration_finds_the_line_behind_the_labels() -> None:
    draw = np.random.default_rng(2)
    margins = draw.normal(0, 2, 40_000)
    labels = (draw.random(40_000) < 1 / (1 + np.exp(-(0.5 * margins - 1)))).astype(float)
    line = fit_logistic(margins, labels)
    assert line.slope == pytest.approx(0.5, abs=0.03)
    assert line.intercept == pytest.approx(-1, abs=0.05)


def test_a_margin_that_ranks_backwards_gives_everyone_the_base_rate() -> None:
    labels = np.array([1.0, 1, 1, 0, 0, 0, 0, 0])
    line = fit_logistic(np.arange(8.0), labels)
    assert line.slope == 0.0
    assert line.apply(np.array([3.0])) == pytest.approx(3 / 8)


@pytest.mark.parametrize("labels", [np.zeros(4), np.ones(4)])
def test_one_kind_of_label_cannot_be_calibrated(labels: np.ndarray) -> None:
    with pytest.raises(TrainingRefused):
        fit_logistic(np.arange(4.0), labels)


@pytest.mark.parametrize(
    "mapping",
    [
        {},
        {"kind": "magic"},
        {"kind": "logistic", "slope": "steep", "intercept": 0},
        {"kind": "isotonic", "margins": [], "probabilities": []},
        {"kind": "isotonic", "margins": [1.0, 0.0], "probabilities": [0.1, 0.2]},
        {"kind": "isotonic", "margins": [0.0, 1.0], "probabilities": [0.2, 0.1]},
        {"kind": "isotonic", "margins": [0.0, 1.0], "probabilities": [0.2, 1.1]},
        {"kind": "isotonic", "margins": [0.0], "probabilities": [0.2, 0.3]},
    ],
)
def test_a_calibration_that_is_none_is_refused(mapping: dict[str, object]) -> None:
    with pytest.raises(ManifestInvalid):
        calibration_from(mapping)
