"""Entries by fields: contact policies, triggers of every shape, weights, experiments with arms, disclosures."""

from pathlib import Path

import pytest

from decision_engine.features.compiled import compile_features
from decision_engine.features.fold import fold
from decision_engine.features.update import PositionedUpdate, Update
from decision_engine.features.updates import EVENT_FIELDS
from services.adapters.file_strategy_source import load_strategy_texts
from services.adapters.yaml_source import read_source
from services.use_cases.authoring.draft_check import check_files
from services.use_cases.authoring.entries import Files, Sources
from services.use_cases.authoring.entry_kind import EntryKind
from services.use_cases.authoring.entry_kinds import kinds
from services.use_cases.authoring.experiment_kinds import arm_shares
from services.use_cases.authoring.fields import Fault, Rows, meant, shown
from services.use_cases.authoring.matching import MatchCount, Matches
from services.use_cases.authoring.row_edits import Form, built_form, changed_form
from services.use_cases.authoring.rule_editing import RuleEditing
from services.use_cases.authoring.source_nodes import SourceList, SourceNode, at
from services.use_cases.authoring.trigger_editing import changed_trigger, matching_event, new_trigger
from services.use_cases.authoring.trigger_kinds import SHAPES, shape_of

FOLDER = Path(__file__).parents[3] / "deploy/strategies/demo_bank"
FILES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yaml"))}
STRATEGY, _ = load_strategy_texts(FILES)
SOURCES = Sources(read_source)
KINDS = kinds(("zh-CN", "en"))


def trigger(name: str, files: Files = FILES):
    found = SOURCES.entry(files, KINDS["trigger"], name)
    assert found is not None
    return found


def texts_of(node: SourceNode, fields, rows: tuple[Rows, ...], prefix: str = "") -> dict[str, str]:
    """What a form of the entry holds as it stands."""
    texts = {f"{prefix}{field.key}": shown(node, field) for field in fields}
    for each in rows:
        written = at(node, each.path)
        for number, item in enumerate(written.items if isinstance(written, SourceList) else ()):
            texts |= texts_of(item, each.fields, each.rows, f"{prefix}{each.key}.{number}.")
    return texts


def trigger_texts(name: str, files: Files = FILES) -> dict[str, str]:
    node, kind = trigger(name, files).node, KINDS["trigger"]
    shape = shape_of(node)
    own = SHAPES[shape]
    return texts_of(node, kind.fields, kind.rows) | {"shape": shape} | texts_of(node, own.fields, own.rows, f"{shape}/")


def change(files: Files, kind: EntryKind, label: str, texts: dict[str, str]):
    entry = SOURCES.entry(files, kind, label) if label else SOURCES.single(files, kind)
    assert entry is not None
    return changed_form(SOURCES, files, entry.place, Form(fields=kind.fields, rows=kind.rows), texts)


def new(kind: EntryKind, texts: dict[str, str], files: Files = FILES) -> Files:
    made = built_form(Form(fields=kind.fields, rows=kind.rows), texts)
    assert made.faults == {}
    return SOURCES.with_entry(files, kind, made.value).files


def touched(before: Files, after: Files) -> dict[str, tuple[list[str], list[str]]]:
    """By file: lines that are gone, and lines that are new."""
    found = {}
    for name in after:
        old, now = before.get(name, "").splitlines(), after[name].splitlines()
        if old != now:
            found[name] = ([line for line in old if line not in now], [line for line in now if line not in old])
    return found


@pytest.mark.parametrize("name", [trigger.name for trigger in STRATEGY.triggers])
def test_saving_a_trigger_as_it_stands_changes_no_character(name: str) -> None:
    changed = changed_trigger(SOURCES, FILES, trigger(name).place, KINDS["trigger"], trigger_texts(name))
    assert (changed.faults, dict(changed.files)) == ({}, FILES)


def test_a_guard_and_a_wave_change_their_lines_and_no_others() -> None:
    texts = trigger_texts("large_inflow") | {
        "before": "event.amount >= 4.0 * inflow_mean_90d",
        "waves.0.after": "2d",
        "waves.0.placement": "inbox_lead",
    }
    changed = changed_trigger(SOURCES, FILES, trigger("large_inflow").place, KINDS["trigger"], texts)
    gone, came = touched(FILES, changed.files)["triggers.yaml"]
    assert [line.strip() for line in gone] == [
        "before: 'inflow_count_90d == 0 || event.amount >= 3.0 * inflow_mean_90d'"
    ]
    assert len(came) == 3
    found = next(t for t in load_strategy_texts(changed.files)[0].triggers if t.name == "large_inflow")
    assert found.before == "event.amount >= 4.0 * inflow_mean_90d"
    assert [(wave.after_ms, wave.contact.placement) for wave in found.waves] == [(172_800_000, "inbox_lead")]
    back = trigger_texts("large_inflow", changed.files) | {"waves.0.after": "", "waves.0.placement": ""}
    emptied = changed_trigger(
        SOURCES, changed.files, trigger("large_inflow", changed.files).place, KINDS["trigger"], back
    )
    assert next(t for t in load_strategy_texts(emptied.files)[0].triggers if t.name == "large_inflow").waves == ()


def test_another_shape_writes_what_is_waited_for_anew() -> None:
    texts = trigger_texts("large_purchase") | {
        "shape": "count",
        "count/on.count.event": "bank.transaction.posted",
        "count/on.count.where": 'direction == "debit"',
        "count/on.at_least": "3",
        "count/on.within": "2h",
    }
    changed = changed_trigger(SOURCES, FILES, trigger("large_purchase").place, KINDS["trigger"], texts)
    found = next(t for t in load_strategy_texts(changed.files)[0].triggers if t.name == "large_purchase")
    assert (found.pattern.shape, found.pattern.at_least, found.pattern.within_ms) == ("count", 3, 7_200_000)
    assert set(touched(FILES, changed.files)) == {"triggers.yaml"}


@pytest.mark.parametrize(
    ("shape", "waits"),
    [
        ("event", {"on.event": "bank.channel.login"}),
        ("count", {"on.count.event": "bank.channel.login", "on.at_least": "3", "on.within": "1h"}),
        (
            "sequence",
            {
                "on.sequence.0.event": "bank.channel.search",
                "on.sequence.0.where": 'topic == "fx"',
                "on.sequence.1.event": "bank.channel.login",
                "on.within": "7d",
                "on.same": "session_id",
            },
        ),
        (
            "absence",
            {"on.after.event": "bank.channel.form_opened", "on.absence.event": "bank.channel.form_submitted",
             "on.within": "30m", "on.same": "form_id"},
        ),
        ("moment", {"on.moment": "next_maturity_at", "on.lead": "7d"}),
    ],
)  # fmt: skip
def test_a_new_trigger_of_every_shape_loads(shape: str, waits: dict[str, str]) -> None:
    texts = {
        "name": "tried",
        "title.zh-CN": "试一试",
        "title.en": "Tried",
        "shape": shape,
        "when": "age >= 18",
        "contact.placement": "inbox_lead",
        "contact.recipient": "manager_id",
        "offers.groups": "deposits, cards",
        "cooldown": "7d",
    } | {f"{shape}/{key}": text for key, text in waits.items()}
    made = new_trigger(SOURCES, FILES, KINDS["trigger"], texts)
    assert made.faults == {}
    checked = check_files(load_strategy_texts, made.files, thoroughly=False)
    assert [remark.message for remark in checked.remarks] == []
    assert checked.strategy is not None
    found = next(t for t in checked.strategy.triggers if t.name == "tried")
    assert (found.pattern.shape, found.when, found.contact.recipient) == (shape, "age >= 18", "manager_id")
    again = changed_trigger(
        SOURCES, made.files, trigger("tried", made.files).place, KINDS["trigger"], trigger_texts("tried", made.files)
    )
    assert dict(again.files) == dict(made.files)


def test_a_new_trigger_says_what_is_missing_and_is_not_written() -> None:
    made = new_trigger(SOURCES, FILES, KINDS["trigger"], {"shape": "count", "count/on.at_least": "many", "name": ""})
    assert made.faults == {"name": "needed", "count/on.at_least": "whole", "count/on.count.event": "needed"}
    assert made.files is FILES
    taken = new_trigger(
        SOURCES, FILES, KINDS["trigger"], {"name": "vip_arrival", "shape": "event", "event/on.event": "x"}
    )
    assert taken.faults == {"name": "taken"}


def test_a_problem_of_a_trigger_belongs_to_its_field() -> None:
    texts = trigger_texts("large_inflow") | {"when": "age >= no_such", "event/on.where": "amount >= nothing"}
    changed = changed_trigger(SOURCES, FILES, trigger("large_inflow").place, KINDS["trigger"], texts)
    checked = check_files(load_strategy_texts, changed.files, thoroughly=False)
    by_field = checked.by_field("triggers[large_inflow]", ["when", "on.where", "before"])
    assert "no_such" in by_field["when"][0].message
    assert "nothing" in by_field["on.where"][0].message
    assert set(by_field) == {"when", "on.where"}


@pytest.mark.parametrize(
    ("texts", "source"),
    [
        ({"shape": "event", "event/on.event": "bank.channel.login"}, "bank.channel.login"),
        ({"shape": "absence", "absence/on.after.event": "a", "absence/on.absence.event": "b"}, "a"),
        ({"shape": "sequence", "sequence/on.sequence.0.event": "a", "sequence/on.sequence.1.event": "b"}, "b"),
        ({"shape": "moment"}, "bank.profile.updated"),
        ({"shape": "count"}, ""),
    ],
)
def test_the_matching_event_is_the_one_whose_fields_guards_name(texts: dict[str, str], source: str) -> None:
    assert matching_event(texts) == source


def test_guards_and_filters_are_checked_completed_and_read_out() -> None:
    editing = RuleEditing(STRATEGY)
    guard, event = editing.about_guard("bank.transaction.posted"), editing.about_event("bank.transaction.posted")
    sound = guard.check("event.amount >= 5000000 && age >= 18")
    assert sound.said["en"] == "The event's amount is at least 50,000.00 CNY and Age in years is at least 18"
    assert sound.said["zh-CN"] == "事件的金额不低于 50,000.00 元，且年龄不低于 18"
    assert event.check('direction == "credit"').said["en"] == "Direction is “credit”"
    assert guard.check("event.branch_id == 1").faults
    assert event.check("age >= 18").faults
    assert event.check("event.amount >= 1").faults
    assert [each.insert for each in event.complete("dire", 4, "en")] == ["direction"]
    assert "event.amount" in [each.insert for each in guard.complete("event.am", 8, "en")]
    assert 'has_product("")' not in [each.insert for each in event.complete("has", 3, "en")]
    assert editing.check("event.amount >= 1").faults, "rules know no events"


def test_who_matches_a_guard_is_bounded_by_what_the_event_may_say() -> None:
    features = compile_features(STRATEGY.declarations, EVENT_FIELDS)
    guard = RuleEditing(STRATEGY).about_guard("bank.transaction.posted")

    def state(number: int, age: int) -> tuple[str, bytes]:
        told = Update(number, "bank.profile.updated", 1_800_000_000_000, {}, {"age": age})
        return f"retail:{number}", fold(features, None, [PositionedUpdate(0, number, told)]).value

    states = [state(number, age) for number, age in enumerate((17, 30, 40, 70), 1)]

    def asked(when: str) -> Matches:
        count = MatchCount(condition=guard.checked(when), features=features, now_ms=1_800_000_100_000)
        count.take(states)
        return count.result(len(states), whole=True)

    both = asked("age >= 18 && event.amount >= 500")
    assert (both.matched, both.untold, both.of_event, both.of_others) == (0, 3, ("event.amount",), ())
    either = asked("age >= 60 || event.amount >= 500")
    assert (either.matched, either.untold) == (1, 3)
    own = asked("age >= 18")
    assert (own.matched, own.untold, own.elsewhere) == (3, 0, ())
    assert [match.customer_id for match in own.shown] == ["retail:2", "retail:3", "retail:4"]


def test_limits_quiet_hours_and_holidays_are_made_of_fields() -> None:
    text = {"text.zh-CN": "太近", "text.en": "Too soon"}
    files = new(KINDS["limit"], {"id": "apart", "scope": "offer", "min_distance": "3d", "code": "APART", **text})
    files = new(KINDS["limit"], {"id": "call_first", "scope": "group", "of": "loans", "limit": "1", "window": "60d",
                                 "related": "offer:gold_card", "on": "accept", "direction": "outbound",
                                 "code": "CALL_FIRST", **text}, files)  # fmt: skip
    files = new(KINDS["quiet"], {"id": "lunch", "channels": "sms, manager", "from": "12:00", "to": "13:30",
                                 "weekdays": "mon, tue"}, files)  # fmt: skip
    files = new(KINDS["holiday"], {"id": "new_year", "channels": "sms", "dates": "2027-01-01"}, files)
    strategy, _ = load_strategy_texts(files)
    limits = {limit.id: limit for limit in strategy.contact_limits}
    assert limits["apart"].limit == 1
    assert limits["call_first"].related is not None
    assert limits["call_first"].related.name == "gold_card"
    quiet = {time.id: time for time in strategy.quiet_times}
    assert (quiet["lunch"].from_minute, quiet["lunch"].until_minute, quiet["lunch"].weekdays) == (720, 810, (0, 1))
    assert quiet["new_year"].dates == ("2027-01-01",)
    assert all(not gone for gone, _ in touched(FILES, files).values())


def test_what_holds_for_all_contacts_is_changed_in_place() -> None:
    changed = change(FILES, KINDS["policy"], "", {"outbound": "sms", "reservation_seconds": "300"})
    gone, came = touched(FILES, changed.files)["contact_policy.yaml"]
    assert ([line.strip() for line in gone], [line.strip() for line in came]) == (
        ["outbound: [sms, manager]", "reservation_seconds: 600"],
        ["outbound: [sms]", "reservation_seconds: 300"],
    )


def test_a_context_weight_counts_for_its_offers() -> None:
    files = new(KINDS["weight"], {"scope": "offer:gold_card", "when": 'context.page ==\r\n "travel"', "weight": "30"})
    strategy, _ = load_strategy_texts(files)
    weight = strategy.offer("gold_card").context_weights[-1]
    assert (weight.when, weight.weight) == ('context.page == "travel"', 30.0)


def experiment() -> Files:
    return new(
        KINDS["experiment"],
        {
            "name": "cards_push",
            "salt": "cards-1",
            "arms.0.name": "stronger",
            "arms.0.share": "10",
            "arms.0.levers.0.scope": "group:cards",
            "arms.0.levers.0.add": "20",
            "arms.1.name": "without_gold",
            "arms.1.share": "20",
            "arms.1.withhold": "gold_card",
        },
    )


def test_an_experiment_is_made_with_its_arms() -> None:
    strategy, _ = load_strategy_texts(experiment())
    (layer,) = strategy.experiments
    stronger, without = layer.arms
    assert (stronger.share, stronger.levers[0].group, stronger.levers[0].add) == (0.1, "cards", 20.0)
    assert (without.share, without.withhold) == (0.2, ("gold_card",))


def test_arms_are_changed_added_and_taken_away_in_one_form() -> None:
    files = experiment()
    kind = KINDS["experiment"]
    entry = SOURCES.entry(files, kind, "cards_push")
    assert entry is not None
    texts = texts_of(entry.node, kind.fields, kind.rows)
    assert change(files, kind, "cards_push", texts).files == files
    texts |= {"arms.0.share": "15", "arms.0.levers.0.add": "", "arms.0.levers.0.scope": ""}
    texts |= {"arms.0.exploration.kind": "off", "arms.1.name": "", "arms.1.share": "", "arms.1.withhold": ""}
    texts |= {"arms.2.name": "calm", "arms.2.share": "5", "arms.2.levers.0.add": "-10"}
    changed = change(files, kind, "cards_push", texts)
    assert changed.faults == {}
    (layer,) = load_strategy_texts(changed.files)[0].experiments
    assert [(arm.name, arm.share) for arm in layer.arms] == [("stronger", 0.15), ("calm", 0.05)]
    assert layer.arms[0].exploration is not None
    assert (layer.arms[1].levers[0].group, layer.arms[1].levers[0].add) == (None, -10.0)
    entry = SOURCES.entry(changed.files, kind, "cards_push")
    assert entry is not None
    assert arm_shares(entry.node) == [("stronger", 0.15), ("calm", 0.05)]


def test_shares_that_do_not_add_up_are_told_at_the_arms() -> None:
    files = experiment()
    texts = {"arms.0.name": "stronger", "arms.0.share": "90", "arms.1.name": "without_gold", "arms.1.share": "20"}
    changed = change(files, KINDS["experiment"], "cards_push", texts)
    checked = check_files(load_strategy_texts, changed.files, thoroughly=False)
    (remark,) = checked.under("experiments[cards_push].arms")
    assert "add up to 1.1" in remark.message


def test_the_standing_experiment_and_the_portrait_are_changed_in_place() -> None:
    changed = change(FILES, KINDS["standing"], "", {"shares.holdout": "4", "shares.prior": ""})
    experiment, _ = load_strategy_texts(changed.files)
    assert experiment.experiment.shares["holdout"] == 0.04
    assert "prior" not in experiment.experiment.shares
    kind = KINDS["portrait"]
    entry = SOURCES.single(FILES, kind)
    assert entry is not None
    texts = texts_of(entry.node, kind.fields, kind.rows)
    assert change(FILES, kind, "", texts).files == FILES
    changed = change(FILES, kind, "", texts | {"amounts": "aum, balance", "series.3.title.en": "Sign-ins"})
    portrait = load_strategy_texts(changed.files)[0].portrait
    assert portrait is not None
    assert (portrait.amounts, portrait.series[3].title["en"], len(portrait.series)) == (
        ("aum", "balance"),
        "Sign-ins",
        4,
    )


def test_a_disclosure_is_written_in_both_languages_and_taken_away_whole() -> None:
    kind = KINDS["offer"]
    texts = {"disclosure.zh-CN": "年费及利率以合同为准。", "disclosure.en": "Fees as in the contract."}
    changed = change(FILES, kind, "dining_card", texts)
    found = load_strategy_texts(changed.files)[0].offer("dining_card")
    assert found.disclosure == {"zh-CN": "年费及利率以合同为准。", "en": "Fees as in the contract."}
    gone = change(changed.files, kind, "dining_card", dict.fromkeys(texts, ""))
    assert gone.files == FILES
    half = change(FILES, kind, "dining_card", {"disclosure.en": "Fees."})
    checked = check_files(load_strategy_texts, half.files, thoroughly=False)
    assert list(checked.by_field("offers[dining_card]", [field.key for field in kind.fields])) == ["disclosure.zh-CN"]


def test_every_field_of_every_list_means_what_it_shows() -> None:
    for kind in KINDS.values():
        for entry in SOURCES.entries(FILES, kind):
            texts = texts_of(entry.node, kind.fields, kind.rows)
            assert not any(isinstance(meant(field, texts[field.key]), Fault) for field in kind.fields)
            form = Form(fields=kind.fields, rows=kind.rows)
            assert changed_form(SOURCES, FILES, entry.place, form, texts).files == FILES
