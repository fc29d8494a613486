"""Every faster form of a tree model gives the margins LightGBM gives, bit for bit, or is not used."""

from collections.abc import Iterator
from functools import partial

import lightgbm
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from models import fast_scoring
from models.calibration import IdentityCalibration
from models.exact_forms import ZERO_BOUND, FormRefused, MarginForm, Vector, probes_of, require_exact
from models.fast_scoring import compiled_scorer, form_of, interpreted_scorer
from models.gbdt_scorer import BoosterForm, GbdtScorer, booster_from_text
from models.lignum_form import COMPILED, INTERPRETER, LignumForm, lignum_installed
from models.mask_form import CandidateForm, MaskForm
from models.tree_text import read_trees

needs_fast = pytest.mark.skipif(not lignum_installed(), reason="the extra `fast` is not installed")

models = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "columns": st.integers(1, 9),
        "categories": st.integers(0, 2),
        "leaves": st.sampled_from([2, 7, 31, 40, 64]),
        "trees": st.integers(1, 25),
        "missing": st.sampled_from([0.0, 0.2]),
        "zero_as_missing": st.booleans(),
        "scale": st.sampled_from([1.0, 1e-36, 1e12]),
    }
)


def train(
    *, seed: int, columns: int, categories: int, leaves: int, trees: int, missing: float, zero_as_missing: bool,
    scale: float,
) -> tuple[lightgbm.Booster, np.ndarray]:  # fmt: skip
    """Trees over numbers, the last columns categories, some values missing, many zero."""
    draw = np.random.default_rng(seed)
    matrix = draw.normal(size=(600, columns)) * scale
    matrix[draw.random(matrix.shape) < 0.2] = 0.0
    coded = list(range(max(0, columns - categories), columns))
    for column in coded:
        matrix[:, column] = draw.integers(0, 40, 600)
    signal = (matrix[:, 0] > 0) + (matrix[:, -1] > 3)
    matrix[draw.random(matrix.shape) < missing] = np.nan
    labels = (draw.random(600) < 0.2 + 0.3 * signal).astype(float)
    parameters = {
        "objective": "binary", "num_leaves": leaves, "min_data_in_leaf": 3, "verbose": -1, "num_threads": 1,
        "zero_as_missing": zero_as_missing, "min_data_per_group": 5, "cat_smooth": 1.0,
    }  # fmt: skip
    return lightgbm.train(parameters, lightgbm.Dataset(matrix, labels, categorical_feature=coded), trees), matrix


def scorer_of(booster: lightgbm.Booster) -> GbdtScorer:
    columns = tuple(Column(name=f"c{i}", source=ColumnSource.ATTRIBUTE) for i in range(booster.num_feature()))
    return GbdtScorer(
        version="cross_sell-1", schema=FeatureSchema(columns), booster=booster, calibration=IdentityCalibration()
    )


def forms(text: str) -> Iterator[MarginForm]:
    """Those that are installed and need no compiler."""
    plain = BoosterForm(booster_from_text(text))
    yield MaskForm(read_trees(text))
    if lignum_installed():
        yield LignumForm(text, plain)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(models)
def test_every_form_agrees_with_lightgbm_on_every_bit(made: dict[str, object]) -> None:
    booster, seen = train(**made)  # type: ignore[arg-type]
    text = booster.model_to_string()
    probes = [*probes_of(read_trees(text)), np.ascontiguousarray(seen)]
    for form in forms(text):
        require_exact(form, BoosterForm(booster), probes)


def test_the_probe_has_every_threshold_with_its_neighbours_and_what_no_tree_has_seen() -> None:
    booster, _ = train(
        seed=3, columns=4, categories=1, leaves=31, trees=10, missing=0.2, zero_as_missing=False, scale=1.0
    )
    model = read_trees(booster.model_to_string())
    whole = probes_of(model)[0]
    codes = set()
    for node in (node for tree in model.trees for node in tree.nodes):
        column = set(whole[:, node.column].tolist())
        if node.categories is None:
            around = {node.threshold, np.nextafter(node.threshold, np.inf), np.nextafter(node.threshold, -np.inf)}
            assert around <= column | {np.inf} and {np.inf, -np.inf, 0.0, ZERO_BOUND} <= column
        else:
            codes |= node.categories
    coded = set(whole[:, 3].tolist())
    assert {float(code) for code in codes} < coded and max(codes) + 1.0 in coded and -1.0 in coded
    assert np.isnan(whole).any(axis=0).all()


def a_scorer(**overrides: object) -> GbdtScorer:
    made = {
        "seed": 1, "columns": 6, "categories": 1, "leaves": 15, "trees": 8, "missing": 0.1, "zero_as_missing": False,
        "scale": 1.0,
    } | overrides  # fmt: skip
    return scorer_of(train(**made)[0])  # type: ignore[arg-type]


class OneBitOff:
    """A form that is wrong in the last bit of one row in a thousand values."""

    name = "compiled"

    def __init__(self, plain: MarginForm) -> None:
        self._plain = plain

    def margins(self, matrix: np.ndarray) -> Vector:
        margins = self._plain.margins(matrix)
        wrong = np.isposinf(matrix[:, 0])
        return np.where(wrong, np.nextafter(margins, np.inf), margins)


class Crashing(OneBitOff):
    """A form that fails."""

    def margins(self, matrix: np.ndarray) -> Vector:
        raise MemoryError("no room")


class TooShort(OneBitOff):
    """A form that forgets rows."""

    def margins(self, matrix: np.ndarray) -> Vector:
        return self._plain.margins(matrix)[1:]


@pytest.mark.parametrize(("broken", "why"), [(OneBitOff, "differ"), (Crashing, "no room"), (TooShort, "rows")])
def test_a_form_that_is_not_exact_is_dropped_and_never_serves(
    monkeypatch: pytest.MonkeyPatch, broken: type[OneBitOff], why: str
) -> None:
    scorer, refusals = a_scorer(), list[FormRefused]()
    monkeypatch.setattr(fast_scoring, "lignum_installed", lambda: True)
    monkeypatch.setattr(fast_scoring, "_compiled", lambda text, model, plain, stopping: broken(plain))
    assert compiled_scorer(scorer, refusals.append) is scorer
    assert form_of(scorer) == "booster"
    assert len(refusals) == 1 and why in str(refusals[0])


def test_a_broken_form_leaves_the_next_exact_one_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, refusals = a_scorer(), list[FormRefused]()
    monkeypatch.setattr(fast_scoring, "lignum_installed", lambda: True)
    monkeypatch.setattr(fast_scoring, "_interpreter", lambda text, model, plain: OneBitOff(plain))
    faster = interpreted_scorer(scorer, refusals.append)
    assert form_of(faster) == "masks" and len(refusals) == 1


def test_without_the_extra_masks_serve_and_scores_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_scoring, "lignum_installed", lambda: False)
    scorer = a_scorer()
    faster = interpreted_scorer(scorer, pytest.fail)
    assert form_of(faster) == "masks" and faster.version == scorer.version
    assert compiled_scorer(scorer, pytest.fail) is scorer
    candidates = np.repeat(np.random.default_rng(5).normal(size=(1, 6)), 50, axis=0)
    candidates[:, 5] = np.arange(50)
    assert scorer.score(candidates).tobytes() == faster.score(candidates).tobytes()
    assert scorer.score(candidates[:1]).tobytes() == faster.score(candidates[:1]).tobytes()


def test_batches_that_share_little_are_left_to_lightgbm() -> None:
    calls: list[str] = []

    class Noting:
        def __init__(self, name: str) -> None:
            self.name = name

        def margins(self, matrix: np.ndarray) -> Vector:
            calls.append(self.name)
            return np.zeros(len(matrix))

    form = CandidateForm(Noting("masks"), Noting("plain"))
    apart = np.random.default_rng(1).normal(size=(50, 30))
    alike = np.repeat(apart[:1], 50, axis=0)
    alike[:, :5] = apart[:, :5]
    for matrix in (alike, apart, alike[:1]):
        form.margins(np.ascontiguousarray(matrix))
    assert calls == ["masks", "plain", "plain"]


@pytest.mark.parametrize(
    "text",
    ["", "tree\nnum_class=3\nnum_tree_per_iteration=3\n", "tree\nnum_class=1\nnum_tree_per_iteration=1\nTree=0\n"],
)
def test_a_model_that_is_no_single_sum_of_trees_has_no_faster_form(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    scorer, refusals = a_scorer(), list[FormRefused]()
    monkeypatch.setattr(GbdtScorer, "text", lambda _: text)
    assert interpreted_scorer(scorer, refusals.append) is scorer
    assert "only LightGBM" in str(refusals[0])


def test_trees_of_many_leaves_are_left_to_others() -> None:
    booster, _ = train(
        seed=1, columns=9, categories=0, leaves=100, trees=2, missing=0.0, zero_as_missing=False, scale=1.0
    )
    with pytest.raises(FormRefused, match="leaves"):
        MaskForm(read_trees(booster.model_to_string()))


@needs_fast
def test_the_interpreter_serves_at_once_and_compiled_trees_later_with_the_same_scores() -> None:
    scorer, told = a_scorer(), partial(pytest.fail)
    at_once = interpreted_scorer(scorer, told)
    assert form_of(at_once) == INTERPRETER
    compiled = compiled_scorer(at_once, told)
    assert form_of(compiled) == COMPILED
    matrix = np.random.default_rng(7).normal(size=(50, 6))
    matrix[3, 2], matrix[4, 1] = np.inf, np.nan
    assert {s.score(matrix).tobytes() for s in (scorer, at_once, compiled)} == {scorer.score(matrix).tobytes()}
