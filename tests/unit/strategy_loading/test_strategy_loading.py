"""A sound document becomes the strategy it describes."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from decision_engine.contact_ledger import ContactClock, Scope
from decision_engine.errors import StrategyInvalid
from decision_engine.features.definitions import Aggregate, AttributeType, Window
from decision_engine.identifiers import key32
from decision_engine.outcomes import ContactStatus
from decision_engine.strategy import Strategy
from services.adapters.file_strategy_source import load_strategy_file

SAMPLE = Path(__file__).parent / "sample_strategy.yaml"


@pytest.fixture(scope="module")
def strategy() -> Strategy:
    return load_strategy_file(SAMPLE)


@pytest.fixture
def reload(tmp_path: Path) -> Callable[..., Strategy]:
    """Loads the sample with pieces of its text replaced."""

    def load(*replacements: tuple[str, str]) -> Strategy:
        text = SAMPLE.read_text(encoding="utf-8")
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "changed.yaml"
        path.write_text(text, encoding="utf-8")
        return load_strategy_file(path)

    return load


def test_offers_carry_the_policies_of_all_then_issue_then_group_then_their_own(strategy: Strategy) -> None:
    gold = strategy.offer("gold_card")
    assert gold is not None
    assert [rule.id for rule in gold.eligibility] == ["adult", "in_city", "card_age", "no_gold_card_yet"]
    assert [rule.id for rule in gold.applicability] == ["spends"]
    fund = strategy.offer("bond_fund")
    assert fund is not None
    assert [rule.id for rule in fund.eligibility] == ["adult"]


def test_levers_of_issue_group_and_offer_add_up(strategy: Strategy) -> None:
    assert {offer.name: offer.lever for offer in strategy.offers} == {
        "bond_fund": 0, "fraud_alert": 0, "gold_card": 17.5,
    }  # fmt: skip


def test_an_offer_takes_its_own_model_or_its_groups(strategy: Strategy) -> None:
    assert {offer.name: offer.model for offer in strategy.offers} == {
        "bond_fund": "wealth", "fraud_alert": "cross_sell", "gold_card": "cross_sell",
    }  # fmt: skip
    assert strategy.models == ("cross_sell", "wealth")
    assert strategy.required_models == {"cross_sell"}


def test_the_higher_of_issuers_and_sellers_risk_level_counts(strategy: Strategy) -> None:
    assert [offer.risk_level for offer in strategy.offers] == [3, None, None]


def test_availability_begins_at_midnight_of_the_bank(strategy: Strategy) -> None:
    gold = strategy.offer("gold_card")
    assert gold is not None
    assert gold.available_from_ms == datetime(2025, 12, 31, 16, tzinfo=UTC).timestamp() * 1000
    assert gold.available_until_ms == datetime(2026, 12, 31, 16, tzinfo=UTC).timestamp() * 1000


def test_treatments_are_named_for_offer_and_channel(strategy: Strategy) -> None:
    gold = strategy.offer("gold_card")
    assert gold is not None
    names = [treatment.name for treatment in gold.treatments]
    assert names == ["gold_card.branch.talk", "gold_card.mobile.banner"]
    talk = gold.treatments[0]
    assert talk.script == {"zh-CN": "您好", "en": "Good morning"}
    assert talk.attributes == {"tone": "warm"}
    assert gold.treatments[1].content["en"] == {"title": "Gold card", "body": "Apply now"}
    assert gold.attributes == {"image_style": "dark", "rank": 3.0}


def test_contact_limits_count_from_the_outcome_when_they_ask_for_one(strategy: Strategy) -> None:
    twice, daily, rejected, seen = strategy.contact_limits
    assert (twice.scope, twice.clock, twice.window.rolling_seconds) == (Scope.OFFER, ContactClock.CONTACT, 604_800)
    assert twice.statuses == ContactStatus.RESERVED | ContactStatus.ANY_RESPONSE
    assert (daily.scope, daily.window.calendar, daily.window.rolling_seconds) == (Scope.ALL, "day", None)
    assert (rejected.clock, rejected.statuses) == (ContactClock.OUTCOME, ContactStatus.REJECT | ContactStatus.DISMISS)
    assert (seen.of, seen.clock, seen.statuses) == ("cards", ContactClock.CONTACT, ContactStatus.IMPRESSION)


def test_declarations_keep_windows_fields_and_filters(strategy: Strategy) -> None:
    by_name = {feature.name: feature for feature in strategy.declarations.features}
    spend = by_name["card_spend_sum"]
    assert (spend.aggregate, spend.field, spend.windows) == (Aggregate.SUM, "amount", (Window("d", 7), Window("d", 30)))
    assert spend.where == 'direction == "debit" && kind == "card"'
    assert by_name["card_spend_ratio"].window_pairs == ((Window("d", 7), Window("d", 90)),)
    assert strategy.declarations.duplicate_memory == 16


def test_the_dictionary_has_every_attribute_with_its_type(strategy: Strategy) -> None:
    types = {name: info.type for name, info in strategy.dictionary.items()}
    assert types["card_spend_sum_7d"] is AttributeType.INT
    assert types["card_spend_ratio_7d_90d"] is AttributeType.DOUBLE
    assert types["last_kind"] is AttributeType.STRING
    assert types["busy"] is AttributeType.BOOL
    assert strategy.dictionary["risk_level"].sensitive


def test_derived_features_come_after_those_they_read(strategy: Strategy) -> None:
    assert [feature.name for feature in strategy.declarations.derived] == ["idle_share", "busy"]


def test_every_code_has_words_in_every_locale(strategy: Strategy) -> None:
    codes = {rule.code for offer in strategy.offers for rule in (*offer.eligibility, *offer.applicability)}
    codes |= {limit.code for limit in strategy.contact_limits} | {"HIGH_SPEND"}
    codes |= {
        "NOT_AVAILABLE", "NO_CHANNEL", "NO_MARKETING", "CONSENT_PERSONALISATION", "CONSENT_DATA_SHARING",
        "SUITABILITY_MISSING", "SUITABILITY_STALE", "SUITABILITY_TOO_LOW", "DUPLICATE", "HOLDOUT",
        "RESERVED_MEANWHILE",
    }  # fmt: skip
    assert codes <= set(strategy.texts)
    assert all(set(text) == {"zh-CN", "en"} and all(text.values()) for text in strategy.texts.values())


def test_the_version_names_the_strategy_and_its_content(strategy: Strategy) -> None:
    name, _, digest = strategy.version.rpartition("-")
    assert name == "sample_bank"
    assert len(digest) == 12
    assert int(digest, 16) >= 0


def test_the_version_is_the_same_however_the_files_are_laid_out(strategy: Strategy, tmp_path: Path) -> None:
    """Sections in other files and another order, comments gone, quotes and key order changed."""
    text = SAMPLE.read_text(encoding="utf-8")
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            blocks.append([])
        if blocks and not line.lstrip().startswith("#"):
            blocks[-1].append(line)
    for number, block in enumerate(blocks):
        (tmp_path / f"{len(blocks) - number:02}.yaml").write_text("\n".join(block), encoding="utf-8")
    last = next(tmp_path.glob("*.yaml"))
    last.write_text(last.read_text(encoding="utf-8") + "\n# a remark\n", encoding="utf-8")
    assert load_strategy_file(tmp_path).version == strategy.version


def test_the_order_of_keys_and_of_offers_does_not_change_the_version(
    strategy: Strategy, reload: Callable[..., Strategy]
) -> None:
    swapped = reload(
        ("{name: grow}\n", "{name: grow}\n"), ("name: bond_fund\n    group: funds", "group: funds\n    name: bond_fund")
    )
    assert swapped.version == strategy.version


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lever: 2.5", "lever: 2.6"),
        ("card_spend_sum_30d >= 500000", "card_spend_sum_30d >= 500001"),
        ("en: Good morning", "en: Good evening"),
        ("epsilon: 0.2", "epsilon: 0.3"),
        ("valid_days: 365", "valid_days: 364"),
        ("on: [reject, dismiss]", "on: [reject]"),
        ("default: 0\n", "default: 1\n"),
    ],
)
def test_any_change_of_content_changes_the_version(
    strategy: Strategy, reload: Callable[..., Strategy], old: str, new: str
) -> None:
    assert reload((old, new)).version != strategy.version


def problems_of(reload: Callable[..., Strategy], *replacements: tuple[str, str]) -> list[str]:
    with pytest.raises(StrategyInvalid) as refused:
        reload(*replacements)
    return [f"{problem.path}: {problem.message}" for problem in refused.value.problems]


def test_a_product_risk_level_needs_the_suitability_gate(reload: Callable[..., Strategy]) -> None:
    gate = "suitability: {level: risk_level, assessed_at: risk_assessed_at, valid_days: 365}\n"
    (problem,) = problems_of(reload, (gate, ""))
    assert problem.startswith("offers[bond_fund].risk_level: the strategy has no `suitability`")


def test_a_rule_id_may_apply_to_an_offer_only_once(reload: Callable[..., Strategy]) -> None:
    (problem,) = problems_of(reload, ("id: spends", "id: adult"))
    assert problem == "offers[gold_card].applicability: the rule adult applies here twice, counting the policies"


def test_levers_must_not_add_up_to_nothing(reload: Callable[..., Strategy]) -> None:
    (problem,) = problems_of(reload, ("lever: 2.5", "lever: -99"), ("lever: 5,", "lever: -20,"))
    assert "add up to -109" in problem


def test_two_attributes_cannot_have_one_name(reload: Callable[..., Strategy]) -> None:
    (problem,) = problems_of(
        reload, ("{name: balance, type: int", "{name: login_count_24h, type: int"), ("'balance *", "'age *")
    )
    assert "login_count_24h is already declared" in problem


def test_names_with_one_key_in_the_ledger_are_refused(reload: Callable[..., Strategy]) -> None:
    first, second = colliding_names()
    (problem,) = problems_of(reload, ("name: fraud_alert", f"name: {first}"), ("name: bond_fund", f"name: {second}"))
    assert "has the same key as" in problem


def colliding_names() -> tuple[str, str]:
    """Two names of one 32-bit key; a hundred thousand names hold such a pair."""
    seen: dict[int, str] = {}
    for number in count():
        name = f"offer_{number}"
        other = seen.setdefault(key32(name), name)
        if other != name:
            return other, name
    raise AssertionError


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("windows: [[7d, 90d]]", "windows: []", "features[card_spend_ratio].windows: must be a list"),
        ("windows: [7d, 30d]", "windows: []", "features[card_spend_sum].windows: must be a list"),
        (
            "placements: [branch_tablet]",
            "placements: []",
            "offers[gold_card].treatments[talk].placements: needs at least",
        ),
    ],
)
def test_an_empty_list_is_no_silent_nothing(reload: Callable[..., Strategy], old: str, new: str, problem: str) -> None:
    assert any(found.startswith(problem) for found in problems_of(reload, (old, new)))


def test_blanks_around_a_condition_mean_nothing(strategy: Strategy, reload: Callable[..., Strategy]) -> None:
    folded = reload(("when: '!has_product(\"gold_card\")'", "when: ' !has_product(\"gold_card\") '"))
    assert folded.version == strategy.version


def test_what_depends_on_a_faulty_declaration_is_not_reported_again(reload: Callable[..., Strategy]) -> None:
    problems = problems_of(reload, ("field: amount\n    windows: [7d, 30d]", "field: amout\n    windows: [7d, 30d]"))
    assert problems == ["features[card_spend_sum].field: the event has no field amout; did you mean amount?"]
