"""What a marketer does with a draft, as use cases: over the demo bank's own files."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from decision_engine.conditions.check import checked_condition
from decision_engine.conditions.names import rule_types
from decision_engine.features.compiled import compile_features
from decision_engine.features.updates import EVENT_FIELDS
from services.adapters.file_strategy_source import load_strategy_file, load_strategy_texts, strategy_document
from services.adapters.yaml_source import read_source
from services.use_cases.authoring.catalogue import Wanted, offer_rows, previews
from services.use_cases.authoring.draft_check import check_files
from services.use_cases.authoring.entries import Place, Sources
from services.use_cases.authoring.entry_kinds import kinds
from services.use_cases.authoring.entry_text import entry_text, with_entry_text
from services.use_cases.authoring.fields import Fault, meant, shown
from services.use_cases.authoring.matching import MatchCount
from services.use_cases.authoring.new_offer import CapWords, add_offer, name_from
from services.use_cases.authoring.rule_editing import RuleEditing, all_of
from services.use_cases.authoring.source_edits import EditRefused
from services.use_cases.governance.strategy_diff import document_changes
from services.use_cases.governance.strategy_diff_entries import EntryChange, entry_changes

FOLDER = Path(__file__).parents[3] / "deploy/strategies/demo_bank"
FILES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yaml"))}
STRATEGY, _ = load_strategy_texts(FILES)
SOURCES = Sources(read_source)
KINDS = kinds(("zh-CN", "en"))
CAP = CapWords(by_locale={"zh-CN": "{window} 内已展示 {limit} 次", "en": "Shown {limit} times within {window}"})
NEW = {
    "title.zh-CN": "夏日卡",
    "title.en": "Summer Card",
    "group": "cards",
    "value": "120",
    "base_rate": "4",
    "t1.placement": "home_banner",
    "t1.content.zh-CN.title": "夏日卡",
    "t1.content.en.title": "Summer Card",
    "t2.placement": "agent_panel",
    "t2.content.zh-CN.title": "夏日卡",
    "t2.content.en.title": "Summer Card",
    "rule.when": 'age >= 18\n && city == "beijing"',
    "rule.text.zh-CN": "不满足",
    "rule.text.en": "Not for them",
    "cap.limit": "2",
    "cap.window": "7d",
}


@pytest.fixture(scope="module")
def editing() -> RuleEditing:
    return RuleEditing(STRATEGY)


def offer(name: str, files: dict[str, str] | None = None):
    found = SOURCES.entry(files or FILES, KINDS["offer"], name)
    assert found is not None
    return found


def test_texts_load_to_the_very_version_of_their_files() -> None:
    assert STRATEGY.version == load_strategy_file(FOLDER).version


def test_every_field_of_every_entry_means_what_it_shows() -> None:
    for kind in KINDS.values():
        for entry in SOURCES.entries(FILES, kind):
            posted = {field.key: shown(entry.node, field) for field in kind.fields}
            assert not any(isinstance(meant(field, posted[field.key]), Fault) for field in kind.fields)
            assert SOURCES.changed(FILES, entry.place, kind.fields, posted).files == FILES


def test_a_changed_field_changes_the_strategy_and_no_other_line() -> None:
    entry = offer("dining_card")
    posted = {"value": "99.50", "base_rate": "4.25", "ramp.from": "2026-11-22", "ramp.days": "14", "ramp.share": "5"}
    changed = SOURCES.changed(FILES, entry.place, KINDS["offer"].fields, posted)
    strategy, _ = load_strategy_texts(changed.files)
    found = strategy.offer(entry.label)
    assert (found.value, found.base_rate, found.ramp.share) == (9950, 0.0425, 0.05)
    before, after = FILES["offers_cards.yaml"].splitlines(), changed.files["offers_cards.yaml"].splitlines()
    assert [line.strip() for line in before if line not in after] == ["value: 15000"]
    assert len(after) == len(before) + 1


def test_a_problem_is_told_by_field() -> None:
    entry = offer("dining_card")
    changed = SOURCES.changed(FILES, entry.place, KINDS["offer"].fields, {"group": "no_group", "base_rate": ""})
    checked = check_files(load_strategy_texts, changed.files)
    by_field = checked.by_field(entry.named, [field.key for field in KINDS["offer"].fields])
    assert by_field["group"][0].message.startswith("unknown group no_group")
    assert by_field["base_rate"][0].message == "is missing"
    assert by_field["group"][0].file == "offers_cards.yaml"
    assert not checked.sound


def test_text_that_means_nothing_changes_nothing() -> None:
    changed = SOURCES.changed(
        FILES, offer("dining_card").place, KINDS["offer"].fields, {"value": "1.234", "lever": "x"}
    )
    assert changed.faults == {"value": "money", "lever": "number"}
    assert changed.files == FILES


def test_findings_of_the_analysis_are_told_too() -> None:
    entry = offer("dining_card")
    rule = {"id": "never", "when": "age >= 18 && age < 10", "code": "NEVER", "text": {"zh-CN": "无", "en": "No"}}
    changed = SOURCES.extended(FILES, entry.place, "applicability", rule)
    checked = check_files(load_strategy_texts, changed.files)
    assert checked.strategy is not None
    assert "can never hold" in checked.grave[0].message
    assert not checked.sound
    assert check_files(load_strategy_texts, changed.files, thoroughly=False).remarks == ()


def test_a_new_offer_has_treatments_rule_and_cap() -> None:
    made = add_offer(SOURCES, FILES, STRATEGY, NEW, CAP)
    assert made.faults == {}
    assert made.place.file == "offers_cards.yaml"
    strategy, _ = load_strategy_texts(made.files)
    found = strategy.offer("summer_card")
    assert {treatment.channel for treatment in found.treatments} == {"mobile", "contact_centre"}
    assert found.applicability[-1].when == 'age >= 18 && city == "beijing"'
    cap = next(limit for limit in strategy.contact_limits if limit.of == "summer_card")
    assert (cap.limit, cap.text["en"]) == (2, "Shown 2 times within 7d")
    assert check_files(load_strategy_texts, made.files).sound


def test_a_new_offer_says_what_is_missing() -> None:
    faults = add_offer(
        SOURCES, FILES, STRATEGY, {**NEW, "title.en": "", "rule.text.en": "", "cap.limit": "x"}, CAP
    ).faults
    assert faults == {"name": "needed", "title.en": "needed", "rule.text.en": "needed", "cap.limit": "whole"}
    taken = add_offer(SOURCES, FILES, STRATEGY, {**NEW, "title.en": "Dining card"}, CAP)
    assert taken.faults == {"name": "taken"}
    assert add_offer(SOURCES, FILES, STRATEGY, {**NEW, "t1.placement": "", "t2.placement": ""}, CAP).faults


@pytest.mark.parametrize(
    ("title", "name"),
    [("Summer Card", "summer_card"), ("5% back!", "offer_5_back"), ("夏日卡", ""), ("  A-B  ", "a_b")],
)
def test_a_name_comes_from_the_title(title: str, name: str) -> None:
    assert name_from(title) == name


def test_levers_begin_a_file_of_their_own_and_change_their_scope() -> None:
    kind = KINDS["lever"]
    made = SOURCES.added(FILES, kind, kind.fields, {"scope": "group:cards", "lever": "15", "until": "2026-12-01"})
    assert made.files["levers.yaml"] == "levers:\n  - {group: cards, lever: 15, until: 2026-12-01}\n"
    place = Place(file="levers.yaml", path=("levers", 0))
    changed = SOURCES.changed(made.files, place, kind.fields, {"scope": "issue:grow", "lever": "20", "until": ""})
    strategy, _ = load_strategy_texts(changed.files)
    assert [(each.scope, each.name, each.lever, each.until_ms) for each in strategy.levers] == [
        ("issue", "grow", 20.0, None)
    ]
    assert SOURCES.dropped(changed.files, place).files["levers.yaml"].strip() == "levers:"


def differing(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[EntryChange, ...]:
    old, new = strategy_document(before), strategy_document(after)
    assert old is not None and new is not None
    return entry_changes(document_changes(old, new))


def test_the_difference_is_told_by_entry_and_field() -> None:
    entry = offer("dining_card")
    changed = SOURCES.changed(FILES, entry.place, KINDS["offer"].fields, {"value": "99.50"})
    made = add_offer(SOURCES, changed.files, STRATEGY, NEW, CAP)
    changes = {(each.section, each.label): each for each in differing(FILES, made.files)}
    assert set(changes) == {
        ("offers", "dining_card"), ("offers", "summer_card"), ("contact_policy.limits", "summer_card_cap")
    }  # fmt: skip
    (value,) = changes["offers", "dining_card"].fields
    assert (value.path, value.before, value.after) == ("value", "15000", "9950")
    assert changes["offers", "summer_card"].change == "added"
    back = differing(made.files, FILES)
    assert {each.change for each in back} == {"removed", "changed"}


def test_comments_and_layout_are_no_difference() -> None:
    after = {**FILES, "offers_cards.yaml": "# more\n" + FILES["offers_cards.yaml"]}
    assert differing(FILES, after) == ()


def test_an_entry_is_edited_as_text() -> None:
    entry = offer("dining_card")
    text = entry_text(FILES[entry.place.file], read_source, entry.place)
    assert text.startswith("- name: dining_card\n  group: cards\n")
    same = with_entry_text(FILES[entry.place.file], read_source, entry.place, text)
    assert same == FILES[entry.place.file]
    after = with_entry_text(
        FILES[entry.place.file], read_source, entry.place, text.replace("annual_fee: 0", "annual_fee: 8800")
    )
    strategy, _ = load_strategy_texts({**FILES, entry.place.file: after})
    assert strategy.offer(entry.label).attributes["annual_fee"] == 8800
    for wrong in ("name: x", "- name: x\n- name: y\n"):
        with pytest.raises(EditRefused):
            with_entry_text(FILES[entry.place.file], read_source, entry.place, wrong)


def test_completion_knows_names_their_words_values_and_products(editing: RuleEditing) -> None:
    def inserts(text: str, locale: str = "en") -> list[str]:
        return [each.insert for each in editing.complete(text, len(text), locale)]

    assert inserts("age >= 18 && card_spend_sum_3")[0] == "card_spend_sum_30d"
    assert "age" in inserts("年龄", "zh-CN")
    assert inserts('city == "sh') == ["shanghai", "shenzhen"]
    assert inserts('city in ["beijing", "su') == ["suzhou"]
    assert inserts('has_product("gold_c') == ["gold_card"]
    assert inserts('city == "beijing" && "ag') == []
    assert "context.page" in inserts("context.pa")
    has = next(each for each in editing.complete("has_pr", 6, "en") if each.group == "function")
    assert (has.insert, has.back) == ('has_product("")', 2)


def test_a_condition_is_checked_with_positions(editing: RuleEditing) -> None:
    faults = editing.check("age >= 18 && citi == 1").faults
    assert [(fault.position, "citi" in fault.message) for fault in faults] == [(13, True)]
    assert editing.check("age >=").faults[0].position == 6
    assert editing.check("age + 1").faults
    sound = editing.check('age >= 18 && has_product("gold_card")')
    assert sound.faults == ()
    assert sound.said["en"] == "Age in years is at least 18 and the customer holds “Gold Card”"
    assert sound.said["zh-CN"] == "年龄不低于 18，且客户持有“尊享金卡”"


def test_matches_are_counted_with_an_interval() -> None:
    features = compile_features(STRATEGY.declarations, EVENT_FIELDS)
    types = rule_types(STRATEGY.dictionary, STRATEGY.declarations.context)
    count = MatchCount(condition=checked_condition("age >= 18", types), features=features, now_ms=1_800_000_000_000)
    count.take([("retail:1", b"no state at all")])
    result = count.result(10, whole=True)
    assert (result.looked_at, result.matched, result.untold, result.customers.value) == (1, 0, 1, 0)
    count.matched, count.looked_at = 50, 200
    sampled = count.result(10_000, whole=False)
    assert sampled.customers.value == 2_500
    assert 1_900 < sampled.customers.low < 2_500 < sampled.customers.high < 3_200
    page = MatchCount(condition=checked_condition('context.page == "cards"', types), features=features, now_ms=0)
    assert page.result(1, whole=True).elsewhere == ("context.page",)


def test_several_conditions_are_asked_as_one(editing: RuleEditing) -> None:
    assert editing.check(all_of(["age >= 18 || vip", "age < 60"])).faults == ()


def test_the_catalogue_is_looked_through() -> None:
    rows = offer_rows(STRATEGY, 1_800_000_000_000, Wanted(text="CARD", channel="sms", group="cards"))
    assert {row.name for row in rows} >= {"dining_card"}
    assert all(row.group == "cards" and "sms" in row.channels for row in rows)
    stopped = offer_rows(STRATEGY, 0, Wanted(status="stopped"), frozenset({"loans"}))
    assert {row.group for row in stopped} == {"loans"}
    assert {row.name for row in offer_rows(STRATEGY, 0, Wanted(text="美食"))} == {"dining_card"}


def test_treatments_look_like_their_channels() -> None:
    dining = STRATEGY.offer("dining_card")
    shapes = {look.channel + "/" + look.shape for look in previews(dining.treatments, STRATEGY.locales)}
    assert shapes == {
        "mobile/banner", "mobile/tile", "contact_centre/script", "branch/script", "manager/lead", "sms/message"
    }  # fmt: skip
