"""Triggers as a strategy writes them: what is read, and what is refused at its line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.features.definitions import AttributeType
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.strategy import Strategy
from decision_engine.triggers.compiled import compile_triggers
from decision_engine.triggers.definitions import Contact, EventPattern, Pattern, Shape, Wave
from services.adapters.file_strategy_source import load_strategy_file


def moment(shift_ms: int) -> Pattern:
    told = EventPattern(source="bank.profile.updated")
    return Pattern(shape=Shape.MOMENT, steps=(told,), attribute="risk_assessed_at", shift_ms=shift_ms)


SAMPLE = Path(__file__).parents[1] / "strategy_loading" / "sample_strategy.yaml"
Load = Callable[[str], Strategy]
DAY_MS = 86_400_000
TITLE = "title: {zh-CN: 触发, en: Trigger}"
INFLOW = f"""
  - name: inflow
    {TITLE}
    on: {{event: bank.transaction.posted, where: 'direction == "credit"'}}
    before: 'event.amount >= 3.0 * card_spend_ratio_7d_90d'
    when: 'event.amount >= 5000 && vip && event.category == "salary"'
    offers: {{groups: [cards], offers: [bond_fund]}}
    contact: {{placement: home_banner, count: 2, recipient: city}}
    waves: [{{after: 2d, placement: branch_tablet}}, {{after: 4d, placement: home_banner, count: 2}}]
    cancelled_by: [{{event: bank.channel.form_submitted, where: 'form == "loan"'}}]
    cooldown: 30d
    expires: 12h
    freshness: 10m
    urgent: true
"""
LEAST = f"""
  - name: login
    {TITLE}
    on: {{event: bank.channel.login}}
    contact: {{placement: home_banner}}
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the sample strategy with a `triggers` section."""

    def loading(triggers: str) -> Strategy:
        path = tmp_path / "strategy.yaml"
        path.write_text(SAMPLE.read_text("utf-8") + "\ntriggers:" + triggers, encoding="utf-8")
        return load_strategy_file(path)

    return loading


@pytest.fixture
def problems(load: Load) -> Callable[..., list[str]]:
    """The problems of a trigger whose parts are overridden, without file and line."""

    def found(**parts: str) -> list[str]:
        whole = {"on": "{event: bank.channel.login}", "contact": "{placement: home_banner}"} | parts
        lines = "".join(f"    {key}: {value}\n" for key, value in whole.items())
        with pytest.raises(StrategyInvalid) as caught:
            load(f"\n  - name: faulty\n    {TITLE}\n{lines}")
        assert all(problem.line > 100 for problem in caught.value.problems)
        return [
            f"{problem.path.removeprefix('triggers[faulty]')}: {problem.message}" for problem in caught.value.problems
        ]

    return found


def test_without_the_section_nothing_changes() -> None:
    strategy = load_strategy_file(SAMPLE)
    assert strategy.triggers == ()
    assert [fact.name for fact in strategy.declarations.context] == ["page"]


def test_everything_a_trigger_says_is_read(load: Load) -> None:
    (trigger,) = load(INFLOW).triggers
    credit = EventPattern(source="bank.transaction.posted", where='direction == "credit"')
    assert trigger.pattern == Pattern(shape=Shape.EVENT, steps=(credit,))
    assert trigger.before == "event.amount >= 3.0 * card_spend_ratio_7d_90d"
    assert trigger.fields == {"amount": AttributeType.INT, "category": AttributeType.STRING}
    assert trigger.offers == {"gold_card", "bond_fund"}
    assert trigger.contact == Contact(placement="home_banner", channel="mobile", count=2, recipient="city")
    assert trigger.waves == (
        Wave(after_ms=2 * DAY_MS, contact=Contact(placement="branch_tablet", channel="branch")),
        Wave(after_ms=4 * DAY_MS, contact=Contact(placement="home_banner", channel="mobile", count=2)),
    )
    assert trigger.cancelled_by == (EventPattern(source="bank.channel.form_submitted", where='form == "loan"'),)
    assert (trigger.cooldown_ms, trigger.expires_ms, trigger.freshness_ms) == (30 * DAY_MS, DAY_MS // 2, 600_000)
    assert trigger.urgent


def test_the_least_a_trigger_says_is_what_happens_and_where_it_decides(load: Load) -> None:
    (trigger,) = load(LEAST).triggers
    assert (trigger.before, trigger.when, trigger.offers, trigger.waves) == (None, None, frozenset(), ())
    assert (trigger.cooldown_ms, trigger.expires_ms, trigger.freshness_ms) == (0, DAY_MS, 3_600_000)
    assert not trigger.urgent


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (
            "{count: {event: bank.channel.login}, at_least: 3, within: 1h}",
            Pattern(
                shape=Shape.COUNT, steps=(EventPattern(source="bank.channel.login"),), within_ms=3_600_000, at_least=3
            ),
        ),
        (
            "{sequence: [{event: bank.channel.form_opened}, {event: bank.channel.form_submitted}], within: 7d, "
            "same: form_id}",
            Pattern(
                shape=Shape.SEQUENCE,
                steps=tuple(EventPattern(source=f"bank.channel.form_{step}") for step in ("opened", "submitted")),
                within_ms=7 * DAY_MS,
                same="form_id",
            ),
        ),
        (
            "{absence: {event: bank.channel.form_submitted}, after: {event: bank.channel.form_opened}, within: 30m}",
            Pattern(
                shape=Shape.ABSENCE,
                steps=tuple(EventPattern(source=f"bank.channel.form_{step}") for step in ("opened", "submitted")),
                within_ms=1_800_000,
            ),
        ),
        ("{moment: risk_assessed_at, lead: 7d}", moment(-7 * DAY_MS)),
        ("{moment: risk_assessed_at, lag: 1d}", moment(DAY_MS)),
        ("{moment: risk_assessed_at, lead: 0}", moment(0)),
        ("{moment: risk_assessed_at}", moment(0)),
    ],
)
def test_patterns_over_several_events_are_read(load: Load, written: str, read: Pattern) -> None:
    (trigger,) = load(LEAST.replace("{event: bank.channel.login}", written)).triggers
    assert trigger.pattern == read


def test_guards_of_an_absence_name_the_event_that_came(load: Load) -> None:
    absence = "{absence: {event: bank.channel.login}, after: {event: bank.channel.form_opened}, within: 30m}"
    declared = LEAST.replace("{event: bank.channel.login}", absence) + "    when: 'event.form == \"loan\"'\n"
    (trigger,) = load(declared).triggers
    assert trigger.fields == {"form": AttributeType.STRING}


def test_a_loaded_strategy_compiles_with_and_without_the_events_fields(load: Load) -> None:
    strategy = load(INFLOW + LEAST)
    assert [trigger.name for trigger in strategy.triggers] == ["inflow", "login"]
    for compiled in (compile_triggers(strategy), compile_triggers(strategy, EVENT_FIELDS)):
        assert compiled.trigger("inflow") == strategy.triggers[0]


def test_a_trigger_changes_the_strategy_version(load: Load) -> None:
    versions = {load_strategy_file(SAMPLE).version, load(LEAST).version, load(INFLOW).version}
    versions.add(load(INFLOW.replace("30d", "31d")).version)
    assert len(versions) == 4


def test_rules_may_ask_for_the_trigger_by_its_name(load: Load, tmp_path: Path) -> None:
    weight = "\ncontext_weights: [{offer: gold_card, when: 'context.trigger == \"login\"', weight: 50}]\n"
    assert load(LEAST + weight).declarations.context[-1].name == "trigger"
    with pytest.raises(StrategyInvalid, match=r"context\.trigger is never 'logon'; did you mean 'login'"):
        load(LEAST + weight.replace("login", "logon"))
    (tmp_path / "plain.yaml").write_text(SAMPLE.read_text("utf-8") + weight, encoding="utf-8")
    with pytest.raises(StrategyInvalid, match=r"unknown name context\.trigger"):
        load_strategy_file(tmp_path / "plain.yaml")


def test_the_context_attribute_of_the_trigger_cannot_be_declared_beside_triggers(tmp_path: Path) -> None:
    own = "  - {name: page, type: string, description: {zh-CN: 页面, en: Page}}\n"
    text = SAMPLE.read_text("utf-8").replace(own, own + own.replace("page", "trigger"))
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    assert len(load_strategy_file(tmp_path / "own.yaml").declarations.context) == 2
    (tmp_path / "own.yaml").write_text(f"{text}\ntriggers:{LEAST}", encoding="utf-8")
    with pytest.raises(StrategyInvalid, match="trigger is the trigger that decides; choose another name"):
        load_strategy_file(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"on": "{event: bank.channel.logon}"}, ".on.event: unknown event type bank.channel.logon; did you mean"),
        ({"on": "{}"}, ".on: names one of event, count, sequence, absence, moment"),
        ({"on": "{event: bank.channel.login, count: {event: bank.channel.login}}"}, ".on: names one of event, count"),
        ({"on": "{event: bank.channel.login, wher: 'true'}"}, ".on.wher: unknown key; did you mean where?"),
        ({"on": "{event: bank.channel.login, where: 'metod == \"qr\"'}"}, "unknown name metod; did you mean method?"),
        ({"on": "{event: bank.channel.login, where: 'has_product(\"x\")'}"}, "has_product cannot be asked of an event"),
        ({"on": "{count: {event: bank.channel.login}, at_least: 1, within: 1h}"}, "1 must be from 2 to 50"),
        ({"on": "{count: {event: bank.channel.login}, at_least: 3}"}, ".on.within: is missing"),
        ({"on": "{count: {event: bank.channel.login}, at_least: 3, within: 1w}"}, "'1w' is no duration"),
        ({"on": "{sequence: [{event: bank.channel.login}], within: 1h}"}, "a sequence has 2 to 5 steps, this has 1"),
        ({"on": "{absence: {event: bank.channel.login}, within: 1h}"}, ".on.after: is missing"),
        (
            {"on": "{count: {event: bank.channel.form_opened}, at_least: 2, within: 1h, same: form_ids}"},
            "bank.channel.form_opened has no field form_ids; did you mean form_id?",
        ),
        (
            {"on": "{moment: risk_assesed_at}"},
            ".on.moment: risk_assesed_at is no attribute of the profile; did you mean risk_assessed_at?",
        ),
        ({"on": "{moment: login_count_24h}"}, ".on.moment: login_count_24h is no attribute of the profile"),
        ({"on": "{moment: age}"}, ".on.moment: age is a int, not a timestamp"),
        ({"on": "{moment: risk_assessed_at, lead: soon}"}, ".on.lead: 'soon' is no duration"),
        ({"on": "{moment: risk_assessed_at, lead: 1d, lag: 1d}"}, ".on.lag: a moment has a lead or a lag, not both"),
        ({"on": "{moment: risk_assessed_at, within: 1d}"}, ".on.within: unknown key"),
        ({"on": "{moment: risk_assessed_at}", "before": "'vip'"}, ".before: a moment has no event to look before"),
        ({"on": "{moment: risk_assessed_at}", "when": "'event.age > 5'"}, ".when: unknown name event.age"),
        ({"when": "'event.metod == \"qr\"'"}, "unknown name event.metod; did you mean event.method?"),
        ({"when": "'agee > 5'"}, "unknown name agee; did you mean age?"),
        ({"when": "'event.method > 5'"}, ".when: > does not fit"),
        ({"before": "'age + 1'"}, ".before: a condition says yes or no, this gives a"),
        ({"when": "'city == \"bejing\"'"}, "city is never 'bejing'; did you mean 'beijing'?"),
        ({"offers": "{groups: [card]}"}, "unknown group card; did you mean cards?"),
        ({"offers": "{}"}, ".offers: names offers, groups or issues"),
        ({"contact": "{placement: home_baner}"}, "unknown placement home_baner; did you mean home_banner?"),
        ({"contact": "{placement: home_banner, count: 99}"}, ".contact.count: 99 must be from 1 to"),
        ({"contact": "{placement: home_banner, recipient: cit}"}, "unknown name cit; did you mean city?"),
        ({"contact": "{placement: home_banner, recipient: age}"}, "age is a int; whoever gets it is named by a text"),
        (
            {"contact": "{placement: branch_tablet}", "offers": "{offers: [bond_fund]}"},
            "none of the trigger's offers has a treatment for branch_tablet",
        ),
        (
            {"waves": "[{after: 2d, placement: home_banner}, {after: 1d, placement: home_banner}]"},
            ".waves[1].after: must be later than the wave before",
        ),
        ({"cancelled_by": "[{event: bank.channel.logout}]"}, ".cancelled_by[0].event: unknown event type"),
        ({"cooldown": "soon"}, ".cooldown: 'soon' is no duration"),
        ({"urgent": "very"}, ".urgent: must be true or false"),
        ({"cooldwon": "1d"}, ".cooldwon: unknown key; did you mean cooldown?"),
    ],
)
def test_a_fault_is_named_at_its_place(problems: Callable[..., list[str]], parts: dict[str, str], problem: str) -> None:
    found = problems(**parts)
    assert any(problem in each for each in found), found


def test_two_triggers_of_one_name_are_refused(load: Load) -> None:
    with pytest.raises(StrategyInvalid, match="login stands already at"):
        load(LEAST + LEAST)
