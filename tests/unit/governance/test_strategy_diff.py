"""What a diff of two strategies says, and that it says everything."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.strategy_loading.document import Entry, ListNode, MapNode, Node, ScalarNode
from services.use_cases.governance.strategy_diff import Item, document_changes, strategy_diff
from services.use_cases.governance.strategy_diff_entries import entry_changes
from services.use_cases.governance.strategy_diff_text import diff_as_json, diff_lines

BANK: dict[str, Any] = {
    "name": "bank",
    "offers": [
        {
            "name": "gold_card",
            "value": 100,
            "eligibility": [{"id": "adult", "when": "age >= 18"}],
            "treatments": [{"name": "banner", "content": {"zh-CN": {"title": "金卡"}, "en": {"title": "Gold"}}}],
        },
        {"name": "loan", "value": 50},
    ],
    "features": [{"name": "spend", "windows": ["7d", "30d"]}],
    "policies": [{"scope": {"group": "cards"}, "layer": "eligibility", "rules": [{"id": "a", "when": "x"}]}],
}


def node(value: Any) -> Node:
    if isinstance(value, dict):
        entries = tuple(Entry(key=key, value=node(part), file="f", line=1) for key, part in value.items())
        return MapNode(entries=entries, file="f", line=1)
    if isinstance(value, list):
        return ListNode(items=tuple(map(node, value)), file="f", line=1)
    return ScalarNode(value=value, file="f", line=1)


def said(before: Any, after: Any) -> list[str]:
    documents = (node(before), node(after))
    lines = diff_lines(strategy_diff({}, {}, documents))
    return [line.strip() for line in lines if line]


def test_a_changed_text_is_named_down_to_offer_treatment_and_locale() -> None:
    offer = BANK["offers"][0]
    content = {"zh-CN": {"title": "金卡"}, "en": {"title": "Gold card"}}
    after = {**BANK, "offers": [{**offer, "treatments": [{"name": "banner", "content": content}]}, BANK["offers"][1]]}
    assert said(BANK, after) == [
        "offers",
        "~ offer gold_card, treatment banner, content.en.title: Gold -> Gold card",
    ]


def test_rules_offers_and_windows_that_come_and_go_are_told_apart() -> None:
    gold = {**BANK["offers"][0], "value": 120, "eligibility": [{"id": "adult", "when": "age >= 21"}]}
    after = {
        **BANK,
        "offers": [gold, {"name": "fund", "value": 7}],
        "features": [{"name": "spend", "windows": ["7d", "90d"]}],
        "policies": [{**BANK["policies"][0], "rules": [{"id": "b", "when": "y"}]}],
    }
    assert said(BANK, after) == [
        "offers",
        "~ offer gold_card, value: 100 -> 120",
        "~ offer gold_card, eligibility rule adult, when: age >= 18 -> age >= 21",
        "+ offer fund: added {name: fund, value: 7}",
        "- offer loan: removed {name: loan, value: 50}",
        "features",
        "~ feature spend, windows: [7d, 30d] -> [7d, 90d]",
        "policies",
        "+ policy {scope: {group: cards}, layer: eligibility}, rule b: added {id: b, when: y}",
        "- policy {scope: {group: cards}, layer: eligibility}, rule a: removed {id: a, when: x}",
    ]


def test_another_order_and_another_comment_are_differences_too() -> None:
    assert said(BANK, {**BANK, "offers": BANK["offers"][::-1]}) == ["offers", "^ offers: another order"]
    documents = (node(BANK), node(BANK))
    found = strategy_diff({"a.yaml": "x: 1\n"}, {"a.yaml": "x: 1 # why\n", "b.yaml": "y: 2\n"}, documents)
    assert not found.changes
    assert diff_lines(found)[1:] == [
        "a.yaml (changed)",
        "  @@ -1 +1 @@",
        "  -x: 1",
        "  +x: 1 # why",
        "",
        "b.yaml (added)",
        "  @@ -0,0 +1 @@",
        "  +y: 2",
    ]


scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", "1", "true"])
things = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "id", "when", "rules", "value"]), inner, max_size=3)
    ),
    max_leaves=12,
)
banks = st.dictionaries(st.sampled_from(["offers", "features", "name"]), things, max_size=3)


@given(banks, banks)
@settings(max_examples=150, deadline=None)
def test_there_are_changes_exactly_where_there_are_differences(before: Any, after: Any) -> None:
    changes = list(document_changes(node(before), node(after)))
    assert bool(changes) == (plain(before) != plain(after))


@given(banks, banks)
@settings(max_examples=150, deadline=None)
def test_the_view_by_entries_has_every_change_of_the_diff(before: Any, after: Any) -> None:
    changes = list(document_changes(node(before), node(after)))
    entries = entry_changes(changes)
    assert bool(entries) == bool(changes)
    assert all(field.before != field.after for entry in entries for field in entry.fields)
    for change in changes:
        item = next((step.name for step in change.path if isinstance(step, Item)), "")
        assert any(entry.label == item and entry.section.startswith(str(change.path[0])) for entry in entries)
    assert sum(len(entry.fields) for entry in entries) >= len(changes)


def test_entries_that_are_new_gone_changed_or_moved_are_told_by_field() -> None:
    gold = {**BANK["offers"][0], "value": 120, "eligibility": [{"id": "adult", "when": "age >= 21"}]}
    after = {**BANK, "offers": [{"name": "fund", "value": 7}, gold], "contact_policy": {"limits": [{"id": "calls"}]}}
    found = {(entry.section, entry.label): entry for entry in entry_changes(document_changes(node(BANK), node(after)))}
    assert {key: entry.change for key, entry in found.items()} == {
        ("offers", "fund"): "added",
        ("offers", "gold_card"): "changed",
        ("offers", "loan"): "removed",
        ("contact_policy", ""): "added",
    }
    assert [(f.path, f.before, f.after) for f in found["offers", "gold_card"].fields] == [
        ("value", "100", "120"),
        ("eligibility[adult].when", "age >= 18", "age >= 21"),
    ]
    assert [(f.path, f.before, f.after) for f in found["offers", "loan"].fields] == [
        ("name", "loan", None),
        ("value", "50", None),
    ]
    (moved,) = entry_changes(document_changes(node(BANK), node({**BANK, "offers": BANK["offers"][::-1]})))
    assert (moved.change, moved.fields[0].before, moved.fields[0].after) == (
        "moved",
        "gold_card, loan",
        "loan, gold_card",
    )


def test_values_that_read_alike_and_differ_are_a_change_of_the_entry_too() -> None:
    (entry,) = entry_changes(document_changes(node({"offers": [{"name": "a", "x": 1}]}), node(
        {"offers": [{"name": "a", "x": "1"}]}
    )))  # fmt: skip
    assert [(field.path, field.before, field.after) for field in entry.fields] == [("x", "1", '"1"')]


def test_programs_get_the_place_in_words_and_both_values() -> None:
    after = {**BANK, "offers": [BANK["offers"][0]]}
    changes = diff_as_json(strategy_diff({}, {}, (node(BANK), node(after))))["changes"]
    assert changes == [
        {
            "kind": "removed",
            "area": "offers",
            "thing": "offer loan",
            "field": "",
            "before": {"name": "loan", "value": 50},
            "after": None,
            "text": "offer loan: removed {name: loan, value: 50}",
        }
    ]


def plain(value: Any) -> Any:
    """What tells two documents apart: an absent value and an empty one are the same, true and 1 are not."""
    if isinstance(value, dict):
        kept = {key: plain(part) for key, part in value.items()}
        return {key: part for key, part in kept.items() if part is not None}
    return [plain(part) for part in value] if isinstance(value, list) else None if value is None else repr(value)
