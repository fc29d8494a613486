"""`online_learning` in a strategy: what it means, what is wrong with it and where, and what its absence leaves."""

from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.features.definitions import FeatureDeclarations
from decision_engine.offers import Offer
from decision_engine.online import OnlineLearning
from decision_engine.strategy import Strategy
from services.adapters.file_strategy_source import load_strategy_file

SAMPLE = (Path(__file__).parents[1] / "simulation" / "small_bank.yaml").read_text("utf-8")
SEGMENTS = "segments:\n  - {name: young, title: {en: Young}, when: 'age < 30'}\n"


def loaded(folder: Path, text: str) -> Strategy:
    path = folder / "strategy.yaml"
    path.write_text(SAMPLE + SEGMENTS + text, encoding="utf-8")
    return load_strategy_file(path)


def test_what_is_declared_is_read(tmp_path: Path) -> None:
    strategy = loaded(
        tmp_path, "online_learning: {half_life: 14d, window: 2d, segments: [young], prior_strength: 30}\n"
    )
    assert strategy.online == OnlineLearning(
        half_life_seconds=14 * 86_400, window_seconds=2 * 86_400, steps=(60, 600, 3_600, 21_600, 86_400, 172_800),
        segments=("young",), prior_strength=30.0,
    )  # fmt: skip


def test_a_strategy_without_it_does_not_learn_online_and_keeps_its_version(tmp_path: Path) -> None:
    plain = loaded(tmp_path, "")
    assert plain.online is None
    assert loaded(tmp_path, "online_learning: {half_life: 14d, window: 2d}\n").version != plain.version


def test_the_versions_of_the_strategies_that_exist_are_what_they_were() -> None:
    """Records name them: a strategy that does not declare online learning must not look like another one."""
    from dataclasses import fields

    from decision_engine.strategy_loading.versioning import _ABSENT_WHEN_NONE

    assert {
        field.name for kind in (Strategy, FeatureDeclarations, Offer) for field in fields(kind)
    } >= _ABSENT_WHEN_NONE


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("online_learning: {half_life: long, window: 1d}\n", 2, "'long' is no duration"),
        ("online_learning: {half_life: 14d}\n", 2, "window: is missing"),
        ("online_learning: {half_life: 14d, window: 1d, segments: [yuong]}\n", 2, "did you mean young?"),
        ("online_learning: {half_life: 14d, window: 1d, segments: [young, young]}\n", 2, "names a segment twice"),
        ("online_learning: {half_life: 14d, window: 1d, prior_strength: 0}\n", 2, "from 1 to"),
        ("online_learning: {half_life: 14d, window: 1d, halflife: 3d}\n", 2, "unknown key"),
    ],
)
def test_faults_are_named_where_they_stand(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(StrategyInvalid) as raised:
        loaded(tmp_path, text)
    (problem,) = raised.value.problems
    assert message in f"{problem.path.rpartition('.')[2]}: {problem.message}"
    assert problem.line == len((SAMPLE + SEGMENTS).splitlines()) + line - 1
