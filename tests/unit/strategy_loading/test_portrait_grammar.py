"""Portraits and disclosures as a strategy writes them: what is read, and what is refused at its line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.portrait import Series, SeriesUnit
from decision_engine.strategy import Strategy
from services.adapters.file_strategy_source import load_strategy_file

SAMPLE = Path(__file__).parent / "sample_strategy.yaml"
TITLE = "title: {zh-CN: 消费, en: Spend}"
Load = Callable[[str], Strategy]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the sample strategy with this after it."""

    def loading(more: str) -> Strategy:
        path = tmp_path / "strategy.yaml"
        path.write_text(SAMPLE.read_text("utf-8") + "\n" + more, encoding="utf-8")
        return load_strategy_file(path)

    return loading


def windowed(strategy: Strategy) -> str:
    """A number over a window of the sample's."""
    return next(f"{f.name}_{f.windows[0]}" for f in strategy.declarations.features if f.windows and f.field)


def test_without_a_portrait_the_strategy_is_the_one_it_was() -> None:
    assert load_strategy_file(SAMPLE).portrait is None


def test_a_portrait_names_attributes_in_order(load: Load) -> None:
    name = windowed(load_strategy_file(SAMPLE))
    strategy = load(
        f"portrait:\n  facts: [city, age]\n  amounts: [age]\n  series: [{{attribute: {name}, unit: money, {TITLE}}}]\n"
        "  words: {beijing: {zh-CN: 北京, en: Beijing}}\n"
    )
    assert strategy.portrait is not None
    assert strategy.portrait.facts == ("city", "age")
    assert strategy.portrait.series == (
        Series(attribute=name, title={"zh-CN": "消费", "en": "Spend"}, unit=SeriesUnit.MONEY),
    )
    assert strategy.portrait.words["beijing"]["en"] == "Beijing"
    assert strategy.version != load_strategy_file(SAMPLE).version


@pytest.mark.parametrize(
    ("portrait", "path", "message"),
    [
        ("facts: [agee]", "portrait.facts", "did you mean age?"),
        ("facts: [risk_level]", "portrait.facts", "is sensitive"),
        ("amounts: [city]", "portrait.amounts", "city is no number"),
        (f"series: [{{attribute: age, {TITLE}}}]", "portrait.series[0].attribute", "no number over a window"),
        ("words: {beijing: {en: Beijing}}", "portrait.words.beijing.zh-CN", "is missing"),
        ("fact: [age]", "portrait.fact", "unknown key; did you mean facts?"),
    ],
)
def test_faults_are_named_where_they_stand(load: Load, portrait: str, path: str, message: str) -> None:
    with pytest.raises(StrategyInvalid) as refusal:
        load(f"portrait: {{{portrait}}}\n")
    assert any(problem.path == path and message in problem.message for problem in refusal.value.problems), (
        refusal.value.problems
    )


def test_a_treatments_disclosure_stands_in_the_place_of_the_offers(tmp_path: Path) -> None:
    text = SAMPLE.read_text("utf-8")
    plain = load_strategy_file(SAMPLE).offers[0]
    said = "    disclosure: {zh-CN: 须知, en: Mind this}\n"
    at = text.index(f"  - name: {plain.name}\n") + len(f"  - name: {plain.name}\n")
    path = tmp_path / "strategy.yaml"
    path.write_text(text[:at] + said + text[at:], encoding="utf-8")
    strategy = load_strategy_file(path)
    offer = strategy.offer(plain.name)
    assert offer is not None
    assert offer.disclosure == {"zh-CN": "须知", "en": "Mind this"}
    assert strategy.version != load_strategy_file(SAMPLE).version
    path.write_text(text[:at] + "    disclosure: {en: Mind this}\n" + text[at:], encoding="utf-8")
    with pytest.raises(StrategyInvalid, match=r"disclosure\.zh-CN: is missing"):
        load_strategy_file(path)
