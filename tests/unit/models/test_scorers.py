"""What every scorer must do, checked on each of them."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from decision_engine.propensity import Scorer
from models.errors import MatrixRefused
from models.manifest import Manifest
from models.prior_scorer import BASE_RATE_SCHEMA, PriorScorer
from models.registry import ModelRegistry
from models.training.fit import FittedModel

CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PRIOR = Manifest(name="prior", version="", kind="prior", schema=BASE_RATE_SCHEMA, files={}, created_at="")


@pytest.fixture(params=["gbdt", "prior"])
def scorer(request: pytest.FixtureRequest, fitted: FittedModel) -> Scorer:
    return fitted.scorer if request.param == "gbdt" else PriorScorer()


@pytest.fixture
def matrix(scorer: Scorer) -> np.ndarray:
    draw = np.random.default_rng(3)
    values = draw.normal(50, 80, (200, len(scorer.schema.columns)))
    for place, column in enumerate(scorer.schema.columns):
        if column.categories is not None:
            values[:, place] = draw.integers(0, len(column.categories), 200)
    values[draw.random(values.shape) < 0.2] = np.nan
    return values


def test_scores_are_probabilities_even_for_odd_values(scorer: Scorer, matrix: np.ndarray) -> None:
    odd = np.full((4, matrix.shape[1]), np.nan)
    odd[1], odd[2], odd[3] = np.inf, -np.inf, 1e300
    for rows in (matrix, odd):
        scores = scorer.score(rows)
        assert scores.shape == (len(rows),)
        assert np.isfinite(scores).all()
        assert ((scores >= 0) & (scores <= 1)).all()


def test_a_row_scores_the_same_alone_and_among_others(scorer: Scorer, matrix: np.ndarray) -> None:
    together = scorer.score(matrix)
    alone = np.concatenate([scorer.score(matrix[i : i + 1]) for i in range(len(matrix))])
    assert (together == alone).all()


def test_the_same_rows_score_the_same_again_in_any_memory_layout(scorer: Scorer, matrix: np.ndarray) -> None:
    assert (scorer.score(matrix) == scorer.score(np.asfortranarray(matrix))).all()


def test_no_rows_give_no_scores(scorer: Scorer, matrix: np.ndarray) -> None:
    assert scorer.score(matrix[:0]).shape == (0,)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_matrix_of_another_width_is_refused(scorer: Scorer, matrix: np.ndarray, change: int) -> None:
    with pytest.raises(MatrixRefused, match="expected"):
        scorer.score(np.zeros((2, matrix.shape[1] + change)))


def test_scores_survive_saving_and_loading(
    scorer: Scorer, matrix: np.ndarray, fitted: FittedModel, tmp_path: Path
) -> None:
    draft, files = (PRIOR, {}) if isinstance(scorer, PriorScorer) else (fitted.draft, fitted.files)
    registry = ModelRegistry(tmp_path)
    loaded = registry.load(registry.save(draft, files, CREATED).version)
    assert loaded.schema == scorer.schema
    assert (loaded.score(matrix) == scorer.score(matrix)).all()


def test_base_rates_answer_themselves_and_zero_when_missing() -> None:
    assert PriorScorer().score(np.array([[0.03], [np.nan], [1.7]])).tolist() == [0.03, 0.0, 1.0]
