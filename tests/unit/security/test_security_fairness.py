"""What decides nothing: sensitive attributes, and anything personal of who refused personalisation."""

from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from loadtests.sensitive_flips import flip_sensitive, permute_refused
from services.adapters.file_strategy_source import load_strategy_file

SAMPLE = Path(__file__).parents[1] / "strategy_loading" / "sample_strategy.yaml"


def test_a_flip_of_sensitive_attributes_changes_no_answer() -> None:
    found = flip_sensitive(150)
    assert found.different == 0
    assert found.offers > 100


def test_who_refused_personalisation_gets_the_same_whatever_is_known_of_them() -> None:
    found = permute_refused(150)
    assert found.different == 0
    assert found.offers > 20


@pytest.mark.parametrize(
    ("section", "where"),
    [
        ("segments:\n  - {name: odd, title: {zh-CN: a, en: a}, when: 'risk_level > 3'}\n", "segments"),
        (
            "tags:\n  - {name: odd, class: risk, title: {zh-CN: a, en: a}, when: 'has(risk_level)'}\n",
            "tags",
        ),
        (
            "derived:\n  - {name: odd, expression: 'risk_level * 2', type: int, theme: a, "
            "description: {zh-CN: a, en: a}}\n",
            "derived",
        ),
        (
            "policies:\n  - {scope: all, layer: eligibility, rules: [{id: odd, when: 'risk_level > 3', code: ODD, "
            "text: {zh-CN: a, en: a}}]}\n",
            "policies",
        ),
    ],
)
def test_a_condition_on_a_sensitive_attribute_is_refused_at_load(tmp_path: Path, section: str, where: str) -> None:
    (tmp_path / "a.yaml").write_text(SAMPLE.read_text())
    load_strategy_file(tmp_path)
    (tmp_path / "b.yaml").write_text(section)
    with pytest.raises(StrategyInvalid) as refused:
        load_strategy_file(tmp_path)
    assert any(
        problem.file.endswith("b.yaml")
        and problem.path.startswith(where)
        and "risk_level is sensitive" in problem.message
        for problem in refused.value.problems
    ), refused.value.problems
