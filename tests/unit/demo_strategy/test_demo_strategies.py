"""The demo strategies load without problems and are as rich and complete as they claim to be."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from decision_engine.offers import LocalText, Offer
from decision_engine.strategy import Strategy

FOLDER = Path(__file__).parents[3] / "deploy" / "strategies"
THEMES = {
    "basic",
    "classification",
    "contribution",
    "evaluation",
    "cross_sell_holdings",
    "preference",
    "behaviour",
    "credit",
    "transaction",
    "marketing",
}
PLACEMENTS = {
    "home_banner": "mobile",
    "card_page_tile": "mobile",
    "wealth_page_tile": "mobile",
    "agent_panel": "contact_centre",
    "branch_tablet": "branch",
    "inbox_lead": "manager",
    "outbound_message": "sms",
}
PEOPLES_CHANNELS = {"contact_centre", "branch", "manager"}


def texts_of(offer: Offer) -> Iterator[LocalText]:
    yield offer.title
    for rule in (*offer.eligibility, *offer.applicability, *offer.suitability):
        yield rule.text
    for reason in offer.reasons:
        yield reason.text
    for treatment in offer.treatments:
        if treatment.script is not None:
            yield treatment.script
        for words in ("title", "body"):
            yield {locale: content[words] for locale, content in treatment.content.items()}


def test_links_and_images_are_the_same_in_every_language(any_strategy: Strategy) -> None:
    for offer in any_strategy.offers:
        for treatment in offer.treatments:
            chinese, english = treatment.content["zh-CN"], treatment.content["en"]
            assert chinese.keys() == english.keys(), treatment.name
            assert all(chinese[key] == english[key] for key in chinese.keys() & {"image", "action_url"})


def test_every_text_is_there_in_both_languages(any_strategy: Strategy) -> None:
    texts = [text for offer in any_strategy.offers for text in texts_of(offer)]
    texts += [limit.text for limit in any_strategy.contact_limits]
    texts += [consent.text for consent in any_strategy.consents.values()]
    texts += [info.description for info in any_strategy.dictionary.values()]
    texts += list(any_strategy.texts.values())
    assert len(texts) > 200
    for text in texts:
        assert set(text) >= {"zh-CN", "en"}, text
        assert all(words.strip() for words in text.values()), text
        assert text["zh-CN"] != text["en"], text


def test_the_placements_of_the_contract_are_served(any_strategy: Strategy) -> None:
    places = {str(place.id): place.channel for place in any_strategy.placements.values()}
    assert places.items() >= PLACEMENTS.items()
    served = {
        place for offer in any_strategy.offers for treatment in offer.treatments for place in treatment.placements
    }
    assert {str(place) for place in served} == set(places)
    for place in any_strategy.placements.values():
        assert set(place.fallback_content) == {"zh-CN", "en"}


def test_what_people_say_has_a_script(any_strategy: Strategy) -> None:
    for offer in any_strategy.offers:
        for treatment in offer.treatments:
            assert (treatment.script is not None) == (treatment.channel in PEOPLES_CHANNELS), treatment.name


def test_worth_and_base_rates_are_honest(any_strategy: Strategy) -> None:
    for offer in any_strategy.offers:
        assert 100 <= offer.value <= 500_000, offer.name
        assert 0.001 <= offer.base_rate <= 0.3, offer.name
        assert offer.purpose == "service" or offer.base_rate <= 0.15, offer.name
        assert offer.model == "cross_sell"
    assert any_strategy.required_models == frozenset()


def test_consents_arms_and_exploration_are_as_agreed(any_strategy: Strategy) -> None:
    defaults = {name: purpose.granted_by_default for name, purpose in any_strategy.consents.items()}
    assert defaults.pop("guardian", False) is False, "nobody but the guardian consents for a minor"
    assert defaults == {"marketing": True, "personalisation": True, "sms": False}
    assert any_strategy.experiment.shares["random_eligible"] == 0.1
    assert (any_strategy.exploration.kind, any_strategy.exploration.epsilon) == ("epsilon_greedy", 0.15)


def test_the_demo_bank_is_rich(demo_bank: Strategy) -> None:
    assert len(demo_bank.offers) >= 25
    assert len(demo_bank.dictionary) >= 300
    themes = {info.theme for info in demo_bank.dictionary.values()}
    assert themes >= THEMES
    assert {offer.risk_level for offer in demo_bank.offers} >= {1, 2, 3, 4, 5}
    groups = {offer.group for offer in demo_bank.offers}
    assert groups >= {"cards", "deposits", "wealth", "loans", "instalments", "insurance", "travel", "payments"}
    assert groups >= {"service_messages", "retention"}
    scopes = {limit.scope.name for limit in demo_bank.contact_limits}
    assert scopes >= {"OFFER", "GROUP", "ALL", "CHANNEL"}


def test_every_investment_of_the_demo_bank_warns_of_risk(demo_bank: Strategy) -> None:
    for offer in demo_bank.offers:
        if offer.risk_level is None:
            continue
        for treatment in offer.treatments:
            assert "投资须谨慎" in treatment.content["zh-CN"]["body"], treatment.name
            assert "risk" in treatment.content["en"]["body"], treatment.name


@pytest.mark.parametrize("name", ["gender", "married"])
def test_sensitive_attributes_are_marked_and_no_rule_reads_them(demo_bank: Strategy, name: str) -> None:
    assert demo_bank.dictionary[name].sensitive
    for offer in demo_bank.offers:
        conditions = [rule.when for rule in (*offer.eligibility, *offer.applicability, *offer.suitability)]
        conditions += [weight.when for weight in offer.context_weights]
        assert not any(name in condition for condition in conditions)


def test_the_berka_strategy_speaks_czech_crowns(berka: Strategy) -> None:
    assert (berka.currency, berka.time_zone) == ("CZK", "Europe/Prague")
    assert len(berka.dictionary) >= 120
    assert {"personal_loan", "junior_card", "classic_card", "gold_card", "term_deposit"} <= {
        offer.name for offer in berka.offers
    }


def test_the_readme_counts_what_is_there(demo_bank: Strategy, berka: Strategy) -> None:
    readme = (FOLDER / "README.md").read_text()
    treatments = sum(len(offer.treatments) for offer in demo_bank.offers)
    groups = len({offer.group for offer in demo_bank.offers})
    assert f"{len(demo_bank.offers)} offers in {groups} groups, {treatments} treatments" in readme
    assert f"{len(demo_bank.dictionary)} attributes in ten themes" in readme
    assert f"{len(berka.offers)} offers, {len(berka.dictionary)} attributes" in readme
