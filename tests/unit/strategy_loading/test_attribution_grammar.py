"""How a strategy says what counts as a conversion and who gets the credit, and what is refused at its line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from decision_engine.attribution import SharedModel
from decision_engine.attribution_rules import CompiledAttribution, Happening, compile_attribution
from decision_engine.errors import StrategyInvalid
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.outcomes import Outcome
from decision_engine.strategy import Strategy
from services.adapters.file_strategy_source import load_strategy_file

SAMPLE = Path(__file__).parent / "sample_strategy.yaml"
DAY = 86_400_000
Load = Callable[[str], Strategy]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the sample strategy with an `attribution` section."""

    def loading(attribution: str) -> Strategy:
        path = tmp_path / "strategy.yaml"
        path.write_text(SAMPLE.read_text("utf-8") + "\nattribution:\n" + attribution, encoding="utf-8")
        return load_strategy_file(path)

    return loading


def compiled(strategy: Strategy) -> CompiledAttribution:
    found = compile_attribution(strategy, EVENT_FIELDS)
    assert found is not None
    return found


def test_without_the_section_nothing_is_attributed() -> None:
    strategy = load_strategy_file(SAMPLE)
    assert strategy.attribution is None
    assert compile_attribution(strategy, EVENT_FIELDS) is None


def test_the_least_is_a_window_and_a_conversion(load: Load) -> None:
    terms = load("  window: 30d\n  conversions: [{response: convert}]\n").attribution
    assert terms is not None
    assert (terms.window_ms, terms.click_window_ms, terms.once_ms, terms.late_ms) == (
        30 * DAY, 30 * DAY, 30 * DAY, 7 * DAY,
    )  # fmt: skip
    assert terms.shared is SharedModel.LINEAR
    assert [rule.outcome for rule in terms.conversions] == [Outcome.CONVERT]


def test_everything_can_be_said(load: Load) -> None:
    terms = load(
        "  {window: 30d, click_window: 60d, once: 10d, late: 3d, offered: [branch], shared: {time_decay: 7d}, "
        "conversions: [{response: accept, value: amount}, {event: bank.product.opened, match: product, value: amount},"
        " {event: bank.transaction.posted, where: 'amount >= 100', match: {groups: [cards]}}]}\n"
    ).attribution
    assert terms is not None
    assert (terms.shared, terms.half_life_ms, terms.offered) == (SharedModel.TIME_DECAY, 7 * DAY, ("branch",))
    response, product, posted = terms.conversions
    assert response.value_field == "amount" and product.event == "bank.product.opened" and not product.offers
    assert posted.where == "amount >= 100" and "gold_card" in posted.offers


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("  conversions: [{response: convert}]\n", "attribution.window: is missing"),
        ("  window: 30d\n", "attribution.conversions: needs at least one conversion"),
        ("  {window: 30x, conversions: [{response: convert}]}\n", "attribution.window: '30x' is no duration"),
        ("  {window: 1d, conversions: [{response: click}]}\n", "'click' is none of convert, accept"),
        ("  {window: 1d, conversions: [{response: accept}, {response: accept}]}\n", "accept stands here twice"),
        ("  {window: 1d, conversions: [{}]}\n", "is either {response: convert} or {event"),
        (
            "  {window: 1d, conversions: [{event: bank.product.opend, match: product}]}\n",
            "did you mean bank.product.op",
        ),
        ("  {window: 1d, conversions: [{event: nbo.response.recorded, match: product}]}\n", "unknown event type"),
        ("  {window: 1d, conversions: [{event: bank.product.opened}]}\n", "says which offers it is about"),
        ("  {window: 1d, conversions: [{event: bank.transaction.posted, match: product}]}\n", "has no field product"),
        ("  {window: 1d, conversions: [{event: bank.product.opened, match: {offers: [gold_crd]}}]}\n", "gold_card"),
        (
            "  {window: 1d, conversions: [{event: bank.product.opened, match: product, value: currency}]}\n",
            "currency is",
        ),
        ("  {window: 1d, conversions: [{event: bank.product.opened, match: product, where: 'x == 1'}]}\n", "x"),
        ("  {window: 1d, offered: [moon], conversions: [{response: convert}]}\n", "unknown channel moon"),
        ("  {window: 1d, shared: time_decay, conversions: [{response: convert}]}\n", "needs its half-life"),
        ("  {window: 1d, shared: fair, conversions: [{response: convert}]}\n", "'fair' is none of"),
        ("  {window: 1d, windw: 2d, conversions: [{response: convert}]}\n", "unknown key"),
    ],
)
def test_faults_are_named_at_their_line(load: Load, section: str, problem: str) -> None:
    with pytest.raises(StrategyInvalid) as caught:
        load(section)
    assert problem in str(caught.value)
    assert "strategy.yaml:" in str(caught.value)


def happening(event_type: str, at_ms: int = 1, **fields: str | int) -> Happening:
    return Happening(customer_id="retail:1", type=event_type, cause_id="core/1", at_ms=at_ms, fields=fields)


def test_an_opened_product_converts_the_offers_of_that_product(load: Load) -> None:
    strategy = load("  {window: 1d, conversions: [{event: bank.product.opened, match: product, value: amount}]}\n")
    product = next(offer.product for offer in strategy.offers if offer.product)
    rules = compiled(strategy)
    found = rules.of_event(happening("bank.product.opened", product=str(product), amount=500))
    assert found is not None
    assert set(found.offers) == {offer.name for offer in strategy.offers if offer.product == product}
    assert found.value == 500
    assert rules.of_event(happening("bank.product.opened", product="never_offered")) is None
    assert rules.of_event(happening("bank.product.closed", product=str(product))) is None


def test_a_filter_and_named_offers_decide_which_events_convert_what(load: Load) -> None:
    rules = compiled(
        load(
            "  {window: 1d, conversions: [{event: bank.transaction.posted, where: 'amount >= 100', "
            "match: {offers: [gold_card]}}]}\n"
        )
    )
    found = rules.of_event(happening("bank.transaction.posted", amount=100))
    assert found is not None and found.offers == ("gold_card",) and found.value is None
    assert rules.of_event(happening("bank.transaction.posted", amount=99)) is None


def test_the_id_of_a_conversion_is_that_of_its_cause(load: Load) -> None:
    rules = compiled(load("  {window: 1d, conversions: [{response: convert}]}\n"))
    first = rules.of_response(happening("nbo.response.recorded"), Outcome.CONVERT, "gold_card", "D1.0")
    again = rules.of_response(happening("nbo.response.recorded"), Outcome.CONVERT, "gold_card", "D1.0")
    assert first is not None and again is not None and first.id == again.id
    assert rules.of_response(happening("nbo.response.recorded"), Outcome.ACCEPT, "gold_card", "D1.0") is None
