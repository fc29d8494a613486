"""Segments and tags of the demo bank, and the page that documents its dictionary."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from decision_engine.customer import CustomerSnapshot
from decision_engine.strategy import Strategy
from decision_engine.tags import TagClass, TagReader
from services.commands.dictionary import render_dictionary

PAGE = Path(__file__).parents[3] / "docs" / "dictionary.md"
NOW = 1_795_000_000_000


def carried(strategy: Strategy, **attributes: Any) -> set[str]:
    snapshot = CustomerSnapshot(known=True, attributes=attributes)
    return {tag.name for tag in TagReader.of(strategy).read(snapshot, NOW)}


def test_there_are_tags_in_all_six_classes(demo_bank: Strategy) -> None:
    assert {tag.tag_class for tag in demo_bank.tags} == set(TagClass)
    assert len(TagClass) == 6


def test_a_tag_is_carried_while_its_condition_holds(demo_bank: Strategy) -> None:
    assert "traveller" in carried(demo_bank, travel_share=0.3)
    assert "traveller" not in carried(demo_bank, travel_share=0.1)


def test_what_cannot_be_told_is_not_carried(demo_bank: Strategy) -> None:
    assert carried(demo_bank) == set()
    assert list(TagReader.of(demo_bank).read(CustomerSnapshot(known=False, attributes={"vip": True}), NOW)) == []


def test_a_segment_is_an_attribute_rules_can_name(customer: Callable[..., Any]) -> None:
    person = customer(age=70, segment="platinum")
    person.posts("credit", "salary", 1_000_000, days_ago=1)
    assert person.attribute("segment_seniors") is True
    assert person.attribute("segment_wealthy") is True
    assert person.attribute("segment_minors") is False


def test_the_dictionary_page_is_up_to_date(demo_bank: Strategy) -> None:
    """If this fails, run `kairos dictionary --write docs/dictionary.md`."""
    assert PAGE.read_text("utf-8") == render_dictionary(demo_bank)
