"""How a strategy declares the training of its models: what is read, and what is refused where."""

from collections.abc import Callable
from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.model_training import Balance, Family, ModelTraining, ProtectedGroups
from decision_engine.prepared import prepare
from decision_engine.strategy import Strategy
from models.decision_log.offer_catalogue import decode_catalogue, encode_catalogue, offer_facts, offers_of_model
from services.adapters.file_strategy_source import load_strategy_file

SAMPLE = Path(__file__).parent / "sample_strategy.yaml"
PLAIN = "models: [{name: cross_sell, required: true}, {name: wealth}]"
Load = Callable[[str], Strategy]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the sample strategy with more entries under its models."""

    def loading(entries: str) -> Strategy:
        sample = SAMPLE.read_text("utf-8")
        assert PLAIN in sample
        path = tmp_path / "strategy.yaml"
        written = f"models:\n  - {{name: cross_sell, required: true}}\n{entries}"
        path.write_text(sample.replace(PLAIN, written), encoding="utf-8")
        return load_strategy_file(path)

    return loading


def problems(load: Load, entries: str) -> str:
    with pytest.raises(StrategyInvalid) as refused:
        load(entries)
    return str(refused.value)


def test_a_model_that_says_nothing_more_is_cross_sell_and_leaves_the_version_as_it_was(load: Load) -> None:
    plain = load_strategy_file(SAMPLE)
    assert plain.trainings == ()
    assert plain.training("wealth") == ModelTraining(name="wealth")
    assert load("  - {name: wealth}\n").version == plain.version


def test_all_that_can_be_declared_of_a_cross_sell_model(load: Load) -> None:
    strategy = load("""
  - name: wealth
    purpose: {zh-CN: 基金推荐, en: Ranks funds}
    calibrate_by: [group, city]
    monotone: {rising: [balance, base_rate], falling: [idle_share]}
    balance: sqrt
    fairness: [{attribute: vip}, {attribute: age, bands: [30, 60]}]
""")
    assert strategy.trainings == (
        ModelTraining(
            name="wealth",
            purpose={"zh-CN": "基金推荐", "en": "Ranks funds"},
            calibrate_by=("group", "city"),
            rising=("balance", "base_rate"),
            falling=("idle_share",),
            balance=Balance.SQRT,
            protected=(ProtectedGroups(attribute="vip"), ProtectedGroups(attribute="age", bands=(30.0, 60.0))),
        ),
    )
    assert strategy.version != load_strategy_file(SAMPLE).version


def test_churn_says_who_has_left_within_what_time_and_where_the_score_goes(load: Load) -> None:
    strategy = load("""  - {name: wealth}
  - {name: churn, family: churn, horizon: 60d, leaves: 'balance < 100 && !has_product("gold_card")', score: balance}
""")
    training = strategy.training("churn")
    assert (training.family, training.horizon_days, training.score) == (Family.CHURN, 60, "balance")
    assert "churn" not in strategy.models  # it scores no offers


def test_acquisition_stands_beside_the_groups_own_model(load: Load) -> None:
    strategy = load("  - {name: wealth}\n  - {name: newcomers, family: acquisition, groups: [cards]}\n")
    assert "newcomers" in strategy.models
    facts = offer_facts(strategy)
    assert facts["gold_card"].newcomers == "newcomers" and "gold_card" in facts["gold_card"].group_products
    kept = offers_of_model(decode_catalogue(encode_catalogue(facts)), "newcomers")
    assert kept["gold_card"].of_newcomers
    assert kept["gold_card"].concerns(frozenset()) and not kept["gold_card"].concerns({"gold_card"})
    assert facts["gold_card"].concerns({"gold_card"})  # the group's own model knows everybody


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("family: uplift", "none of acquisition, cross_sell, churn"),
        ("famly: churn", "unknown key"),
        ("monotone: {rising: [balanc]}", "did you mean balance?"),
        ("monotone: {rising: [city]}", "no number"),
        ("monotone: {rising: [risk_level]}", "it is sensitive"),
        ("monotone: {rising: [balance], falling: [balance]}", "both only rise and only fall"),
        ("calibrate_by: [age]", "no text"),
        ("calibrate_by: [city, city]", "names one twice"),
        ("balance: heavy", "none of none, sqrt, full"),
        ("fairness: [{attribute: gendre}]", "unknown attribute"),
        ("fairness: [{attribute: age}]", "in which bands"),
        ("fairness: [{attribute: city, bands: [1]}]", "only numbers have bands"),
        ("fairness: [{attribute: age, bands: [60, 30]}]", "rising numbers"),
        ("groups: [cards]", "only a model of the family acquisition"),
        ("leaves: 'balance < 1'", "only a model of the family churn"),
        ("family: acquisition", "is missing"),
        ("family: acquisition, groups: [card]", "did you mean cards?"),
        ("family: churn, horizon: 30d", "is missing"),
        ("family: churn, horizon: 4w, leaves: 'balance < 1'", "no number of days"),
        ("family: churn, horizon: 401d, leaves: 'balance < 1'", "no number of days"),
        ("family: churn, horizon: 30d, leaves: 'balance'", "says yes or no"),
        ("family: churn, horizon: 30d, leaves: 'context.page == \"home\"'", "belongs to a request"),
        ("family: churn, horizon: 30d, leaves: 'balance < 1', score: idle_share", "a number of the profile"),
        ("family: churn, horizon: 30d, leaves: 'balance < 1', required: true", "never required"),
    ],
)
def test_faults_are_named_where_they_stand(load: Load, entry: str, said: str) -> None:
    told = problems(load, f"  - {{name: wealth}}\n  - {{name: extra, {entry}}}\n")
    assert said in told and "strategy.yaml" in told and "extra" in told


def test_a_model_that_offers_name_cannot_be_of_another_family_nor_a_group_have_two_for_newcomers(load: Load) -> None:
    assert "cannot be that" in problems(load, "  - {name: wealth, family: acquisition, groups: [cards]}\n")
    twice = "  - {name: wealth}\n"
    twice += "".join(f"  - {{name: {name}, family: acquisition, groups: [cards]}}\n" for name in ("one", "two"))
    assert "scored by one already" in problems(load, twice)


def test_what_a_model_is_to_learn_from_is_recorded_whether_or_not_a_rule_reads_it(load: Load) -> None:
    plain, strategy = load("  - {name: wealth}\n"), load("  - {name: wealth, learns_from: [idle_share]}\n")
    assert strategy.training("wealth").learns_from == ("idle_share",)
    assert set(prepare(strategy).attributes) == {*prepare(plain).attributes, "idle_share"}
    assert prepare(strategy).gate_attributes.names == prepare(plain).gate_attributes.names


def test_a_model_learns_only_from_attributes_of_the_customer_that_exist(load: Load) -> None:
    found = problems(load, "  - {name: wealth, learns_from: [idle_shore, base_rate]}\n")
    assert "idle_shore is no customer attribute a model can have" in found
    assert "base_rate is no customer attribute" in found
