"""Edits of strategy files touch what is edited and nothing else."""

from pathlib import Path

import pytest

from services.adapters.yaml_document import read_yaml
from services.adapters.yaml_source import read_source
from services.use_cases.authoring.source_edits import EditRefused, append, drop, put
from services.use_cases.authoring.source_nodes import (
    SourceAlias,
    SourceList,
    SourceMap,
    SourceNode,
    SourceScalar,
    SourceUnreadable,
    at,
    labelled,
    plain,
    text_at,
)

STRATEGIES = Path(__file__).parents[3] / "deploy/strategies"
FILES = sorted(STRATEGIES.rglob("*.yaml"))
OFFER = """\
# Cards.
offers:
  - name: gold   # the old one
    group: cards
    title: {zh-CN: "金卡 💳", en: "Gold"}
    value: 12000 # fen
    eligibility:
      - id: adult
        when: 'age >= 18'
        code: UNDER_AGE

      # nobody twice
      - {id: once, when: '!has_product("gold")', code: HELD}
    placements: [a, b]

  - name: silver
    group: cards
"""


def scalars(node: SourceNode, path: tuple = ()):
    match node:
        case SourceMap(entries=entries):
            for entry in entries:
                yield from scalars(entry.value, (*path, entry.key))
        case SourceList(items=items):
            for number, item in enumerate(items):
                yield from scalars(item, (*path, number))
        case SourceScalar() | SourceAlias():
            yield path, node


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_value_of_every_strategy_file_is_where_it_is_said_to_be(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for path, node in scalars(read_source(text)):
        if isinstance(node, SourceScalar) and node.end > node.start:
            assert read_yaml(text[node.start : node.end], "x").root.value == node.value, path


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_writing_a_value_again_changes_one_line_at_the_most(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    found = [(p, n) for p, n in scalars(read_source(text)) if isinstance(n, SourceScalar) and n.value is not None]
    for path, node in found[:: max(1, len(found) // 12)]:
        try:
            edited = put(text, read_source, path, node.value)
        except EditRefused:
            continue
        assert plain(read_source(edited)) == plain(read_source(text)), path
        changed = [a for a, b in zip(text.splitlines(), edited.splitlines(), strict=True) if a != b]
        assert len(changed) <= 1 or "\n" in text[node.start : node.end], path


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_a_value_is_replaced_and_the_comment_behind_it_stays() -> None:
    after = put(OFFER, read_source, ("offers", 0, "value"), 9900)
    assert changed_lines(OFFER, after) == (["    value: 12000 # fen"], ["    value: 9900 # fen"])


def test_a_text_keeps_its_quotes() -> None:
    after = put(OFFER, read_source, ("offers", 0, "eligibility", 0, "when"), 'age >= 21 && city == "x"')
    assert "        when: 'age >= 21 && city == \"x\"'\n" in after


def test_a_text_in_braces_is_replaced_behind_characters_of_any_width() -> None:
    after = put(OFFER, read_source, ("offers", 0, "title", "en"), 'The "Gold": card, {new}')
    assert text_at(read_source(after), ("offers", 0, "title", "en")) == 'The "Gold": card, {new}'
    assert text_at(read_source(after), ("offers", 0, "title", "zh-CN")) == "金卡 💳"


def test_a_missing_single_value_goes_behind_the_single_values() -> None:
    after = put(OFFER, read_source, ("offers", 0, "lever"), 5)
    assert "    placements: [a, b]\n    lever: 5\n\n  - name: silver" in after


def test_missing_mappings_are_made_on_the_way() -> None:
    after = put(OFFER, read_source, ("offers", 1, "ramp", "share"), 0.05)
    assert plain(at(read_source(after), ("offers", 1))) == {"name": "silver", "group": "cards", "ramp": {"share": 0.05}}


def test_an_entry_is_added_to_a_list_with_its_dashes_in_line() -> None:
    rule = {
        "id": "rich",
        "when": "aum >= 5",
        "code": "POOR",
        "text": {"zh-CN": "资产不足，" * 4, "en": "Too little." * 3},
    }
    after = append(OFFER, read_source, ("offers", 0, "eligibility"), rule)
    assert changed_lines(OFFER, after)[0] == []
    assert plain(at(read_source(after), ("offers", 0, "eligibility", 2))) == rule
    assert "        code: HELD" not in after
    assert "      # nobody twice\n" in after


def test_a_list_that_is_not_there_is_begun() -> None:
    after = append(OFFER, read_source, ("offers", 1, "suitability"), {"id": "x", "when": "true", "code": "X"})
    assert plain(at(read_source(after), ("offers", 1, "suitability"))) == [{"id": "x", "when": "true", "code": "X"}]


def test_an_entry_of_a_list_goes_with_its_lines() -> None:
    after = drop(OFFER, read_source, ("offers", 0, "eligibility", 0))
    rules = plain(at(read_source(after), ("offers", 0, "eligibility")))
    assert rules == [{"id": "once", "when": '!has_product("gold")', "code": "HELD"}]
    assert "      # nobody twice" in after


def test_an_offer_goes_and_the_next_stays() -> None:
    after = drop(OFFER, read_source, ("offers", 0))
    assert plain(read_source(after)) == {"offers": [{"name": "silver", "group": "cards"}]}
    assert after.startswith("# Cards.\noffers:\n")


def test_parts_in_brackets_and_braces_go_with_their_commas() -> None:
    after = drop(drop(OFFER, read_source, ("offers", 0, "placements", 0)), read_source, ("offers", 0, "title", "en"))
    assert "    placements: [b]\n" in after
    assert '    title: {zh-CN: "金卡 💳"}\n' in after


def test_what_others_share_is_not_edited_by_fields() -> None:
    text = "a: &rules\n  - {id: x}\nb: *rules\n"
    with pytest.raises(EditRefused, match=r"b is \*rules"):
        append(text, read_source, ("b",), {"id": "y"})


def test_a_whole_value_can_be_written_anew() -> None:
    after = put(OFFER, read_source, ("offers", 0, "eligibility"), [{"id": "only", "when": "true", "code": "X"}])
    assert plain(at(read_source(after), ("offers", 0, "eligibility"))) == [{"id": "only", "when": "true", "code": "X"}]
    assert "  - name: silver" in after


def test_paths_are_named_as_problems_name_them() -> None:
    path = ("offers", 0, "eligibility", 1, "when")
    assert labelled(read_source(OFFER), path) == "offers[gold].eligibility[once].when"


def test_a_text_that_is_no_yaml_says_where() -> None:
    with pytest.raises(SourceUnreadable) as caught:
        read_source("a: 1\nb: [\n")
    assert caught.value.line >= 2


def test_an_empty_file_takes_a_first_entry() -> None:
    after = append("# Levers.\n", read_source, ("levers",), {"group": "cards", "lever": 5})
    assert after == "# Levers.\nlevers:\n  - {group: cards, lever: 5}\n"
