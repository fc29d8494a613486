"""What attributes may be used for: by theme, by name, through what is made of them; and marketing keeps to it."""

from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.propensity import ColumnSource
from decision_engine.strategy import Strategy
from models.compatibility import available_columns
from models.decision_log.offer_catalogue import unlearnable_attributes
from services.adapters.file_strategy_source import load_strategy_file
from services.commands.dictionary import render_dictionary

STRATEGY = """
name: purposeful
time_zone: UTC
currency: CNY
locales: [en]
consents:
  - {name: marketing, default: granted, text: {en: Marketing}}
profile:
  - {name: age, type: int, theme: basic, description: {en: Age}}
  - {name: overdue_days, type: int, theme: credit, description: {en: Overdue}}
  - {name: score, type: int, theme: credit, description: {en: Score}}
features:
  - {name: spent, source: bank.transaction.posted, aggregate: sum, field: amount, windows: [7d, 30d],
     theme: transaction, description: {en: Spent}}
derived:
  - {name: strain, expression: 'overdue_days * 2', type: int, theme: basic, description: {en: Strain}}
segments:
  - {name: young, title: {en: Young}, when: 'age < 30'}
  - {name: late, title: {en: Late}, when: 'overdue_days > 0'}
models: [{name: m%(model)s}]
issues: [{name: grow}]
groups: [{name: notices, issue: grow, model: m}]
offers:
  - {name: umbrella, group: notices, title: {en: Umbrella}, value: 100, base_rate: 0.1, purpose: %(purpose)s,
     eligibility: [{id: in_time, when: 'overdue_days == 0', code: LATE, text: {en: Late}}],
     applicability: [{id: rule, when: '%(rule)s', code: NO, text: {en: No}}],
     treatments: [{name: main, channel: branch, placements: [tablet], content: {en: {title: x}}}]}
placements: [{id: tablet, channel: branch, max_count: 2, fallback: {treatment: none, content: {en: {title: x}}}}]
%(purposes)s
"""
PURPOSES = """
purposes:
  - {name: marketing, title: {en: Marketing}, themes: [basic, transaction], attributes: [score]}
  - {name: service, title: {en: Service}, themes: [basic, credit, transaction], attributes: [spent]}
  - {name: risk, title: {en: Risk}, themes: [credit]}
"""


def load(tmp_path: Path, rule: str = "age >= 18", purposes: str = PURPOSES, **words: str) -> Strategy:
    path = tmp_path / "strategy.yaml"
    defaults = {"purpose": "marketing", "model": ""} | words
    path.write_text(STRATEGY % {"rule": rule, "purposes": purposes, **defaults}, encoding="utf-8")
    return load_strategy_file(path)


def problems(tmp_path: Path, **words: str) -> str:
    with pytest.raises(StrategyInvalid) as found:
        load(tmp_path, **words)
    return str(found.value)


def test_an_attribute_has_the_purposes_of_its_theme_unless_it_is_named_itself(tmp_path: Path) -> None:
    dictionary = load(tmp_path).dictionary
    assert dictionary["age"].purposes == ("marketing", "service")
    assert dictionary["overdue_days"].purposes == ("risk", "service")
    assert dictionary["score"].purposes == ("marketing",)
    assert dictionary["spent_7d"].purposes == dictionary["spent_30d"].purposes == ("service",)


def test_what_is_made_of_attributes_may_be_used_for_what_all_of_them_may(tmp_path: Path) -> None:
    dictionary = load(tmp_path).dictionary
    assert dictionary["strain"].purposes == ("service",)
    assert dictionary["segment_young"].purposes == ("marketing", "service")
    assert dictionary["segment_late"].purposes == ("risk", "service")


@pytest.mark.parametrize("name", ["overdue_days", "strain", "spent_7d"])
def test_a_rule_that_chooses_a_marketing_offer_may_not_use_what_is_not_for_marketing(tmp_path: Path, name: str) -> None:
    text = problems(tmp_path, rule=f"{name} > 5")
    assert f"offer umbrella: rule rule uses {name}, which may not be used for marketing" in text
    assert "strategy.yaml:" in text


def test_a_segment_does_not_launder_what_it_is_made_of(tmp_path: Path) -> None:
    assert "uses segment_late" in problems(tmp_path, rule="segment_late")


def test_rules_of_service_offers_and_rules_that_keep_offers_away_may_use_everything(tmp_path: Path) -> None:
    load(tmp_path, rule="overdue_days > 5", purpose="service")
    assert load(tmp_path).offers[0].eligibility[0].when == "overdue_days == 0"


def test_a_model_may_neither_be_told_to_learn_from_it_nor_read_it(tmp_path: Path) -> None:
    assert "model m uses overdue_days" in problems(tmp_path, model=", learns_from: [overdue_days]")
    strategy = load(tmp_path)
    assert (ColumnSource.ATTRIBUTE, "overdue_days") not in available_columns(strategy).numbers
    assert (ColumnSource.ATTRIBUTE, "age") in available_columns(strategy).numbers
    assert {"overdue_days", "strain", "spent_7d", "segment_late"} <= unlearnable_attributes(strategy)


def test_without_purposes_everything_is_as_before(tmp_path: Path) -> None:
    strategy = load(tmp_path, rule="overdue_days > 5", purposes="")
    assert strategy.out_of_marketing == frozenset()
    assert strategy.dictionary["age"].purposes == ()
    assert " for |" not in render_dictionary(strategy)


def test_the_version_tells_purposes_apart_and_the_dictionary_shows_them(tmp_path: Path) -> None:
    with_purposes, without = load(tmp_path), load(tmp_path, purposes="")
    assert with_purposes.version != without.version
    assert "| risk, service |" in render_dictionary(with_purposes)


def test_unknown_themes_and_attributes_are_named_with_their_place(tmp_path: Path) -> None:
    wrong = "purposes:\n  - {name: marketing, title: {en: M}, themes: [basics], attributes: [agee]}\n"
    text = problems(tmp_path, purposes=wrong)
    assert "no attribute has the theme basics; did you mean basic?" in text
    assert "unknown attribute agee; did you mean age?" in text
