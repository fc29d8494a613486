"""Links and linked attributes as a strategy writes them: what is read, and what is refused at its line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.features.definitions import AttributeType
from decision_engine.features.linked import Combine, Link, LinkKind
from decision_engine.strategy import Strategy
from services.adapters.file_strategy_source import load_strategy_file

SAMPLE = Path(__file__).parent / "sample_strategy.yaml"
LINKS = "links:\n  - {name: home, by: city, most: 5}\n  - {name: firm, to: city}\n"
TEXTS = "theme: basic, description: {zh-CN: 家, en: Home}"
Load = Callable[[str], Strategy]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the sample strategy with two links, and these linked attributes."""

    def loading(linked: str, links: str = LINKS) -> Strategy:
        path = tmp_path / "strategy.yaml"
        path.write_text(SAMPLE.read_text("utf-8") + "\n" + links + linked, encoding="utf-8")
        return load_strategy_file(path)

    return loading


def test_without_the_sections_there_are_no_links() -> None:
    strategy = load_strategy_file(SAMPLE)
    assert (strategy.links, strategy.linked) == ((), ())


def test_linked_attributes_stand_in_the_dictionary_and_rules_may_name_them(load: Load) -> None:
    strategy = load(f"linked:\n  - {{name: home_age, link: home, combine: mean, attribute: age, {TEXTS}}}\n")
    assert strategy.links[1] == Link(name="home", kind=LinkKind.TOGETHER, attribute="city", most=5)
    (attribute,) = strategy.linked
    assert (attribute.combine, attribute.type) == (Combine.MEAN, AttributeType.DOUBLE)
    info = strategy.dictionary["home_age"]
    assert (info.source, info.definition) == ("home, linked by city", "mean of age")


def test_a_linked_attribute_changes_the_version_and_not_the_layout_of_states(load: Load) -> None:
    before = load("")
    after = load(f"linked:\n  - {{name: home_size, link: home, combine: count, {TEXTS}}}\n")
    assert before.version != after.version
    assert before.declarations == after.declarations


@pytest.mark.parametrize(
    ("linked", "path", "message"),
    [
        ("{name: a, link: hame, combine: count}", "linked[a].link", "did you mean home?"),
        ("{name: a, link: home, combine: sum, attribute: agee}", "linked[a].attribute", "did you mean age?"),
        ("{name: a, link: home, combine: sum, attribute: city}", "linked[a].attribute", "no meaning over a string"),
        ("{name: a, link: home, combine: max, attribute: risk_level}", "linked[a].attribute", "is sensitive"),
        ("{name: a, link: home, combine: sum}", "linked[a].attribute", "is missing"),
        ("{name: a, link: home, attribute: age}", "linked[a].combine", "needs a way to combine"),
        ("{name: a, link: firm, combine: max, attribute: age}", "linked[a].combine", "needs the value"),
        ("{name: age, link: home, combine: max, attribute: age}", "linked[age].name", "declared already"),
    ],
)
def test_faults_are_named_where_they_stand(load: Load, linked: str, path: str, message: str) -> None:
    with pytest.raises(StrategyInvalid) as refusal:
        load(f"linked:\n  - {linked[:-1]}, {TEXTS}}}\n")
    assert any(problem.path == path and message in problem.message for problem in refusal.value.problems)


@pytest.mark.parametrize(
    ("link", "path", "message"),
    [
        ("{name: home, by: cities}", "links[home].by", "did you mean city?"),
        ("{name: home, by: age}", "links[home].by", "no text of the profile"),
        ("{name: home, by: city, to: city}", "links[home].to", "not both"),
        ("{name: home}", "links[home].to", "is missing"),
        ("{name: home, by: city, most: 99}", "links[home].most", "from 2 to 32"),
    ],
)
def test_a_link_needs_a_text_of_the_profile(load: Load, link: str, path: str, message: str) -> None:
    with pytest.raises(StrategyInvalid) as refusal:
        load("", f"links:\n  - {link}\n")
    assert any(problem.path == path and message in problem.message for problem in refusal.value.problems)
