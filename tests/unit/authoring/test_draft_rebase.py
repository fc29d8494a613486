"""A draft brought up to date: both sides' changes, conflicts where they meet, and nothing lost on the way."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters.file_strategy_source import load_strategy_texts, strategy_document
from services.adapters.yaml_source import read_source
from services.use_cases.authoring.draft_rebase import Rebased, rebase
from services.use_cases.authoring.file_units import shapes, uncut, units_of
from services.use_cases.governance.strategy_diff import plain

FOLDER = Path(__file__).parents[3] / "deploy/strategies/demo_bank"
DEMO = {path.name: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.yaml"))}
BASE = """# offers of the bank
offers:
  # the best one
  - name: gold
    value: 100
    title: {en: Gold}

  - name: loan
    value: 50
  - name: fund  # new
    value: 7
contact_policy:
  limits:
    - id: calls
      limit: 3
    - {id: mails, limit: 5}
  blackout: none
currency: CNY
# the end
"""


def moved(base: str, active: str, draft: str, **choices: str) -> Rebased:
    chosen = {name: side for name, side in choices.items() if side in ("mine", "theirs")}
    return rebase(read_source, {"a.yaml": base}, {"a.yaml": active}, {"a.yaml": draft}, chosen)  # type: ignore[arg-type]


def test_the_units_of_every_file_of_the_demo_bank_are_the_file() -> None:
    for name, text in DEMO.items():
        whole = uncut([shapes(text, read_source)])
        units = units_of(text, read_source, whole)
        assert "".join(unit.text for unit in units) == text, name
        assert len({unit.key for unit in units}) == len(units), name


def test_what_only_one_side_changed_is_taken_with_its_comments() -> None:
    active = BASE.replace("value: 50", "value: 55  # dearer").replace("currency: CNY", "currency: EUR")
    draft = BASE.replace("# the best one", "# the very best one").replace("limit: 3", "limit: 2")
    draft = draft.replace("  - name: fund  # new\n    value: 7\n", "  - name: card\n    value: 9\n")
    found = moved(BASE, active, draft)
    assert found.conflicts == ()
    expected = active.replace("# the best one", "# the very best one").replace("limit: 3", "limit: 2")
    expected = expected.replace("  - name: fund  # new\n    value: 7\n", "  - name: card\n    value: 9\n")
    assert found.files["a.yaml"] == expected


def test_an_entry_both_changed_differently_is_a_conflict_with_both_texts() -> None:
    active, draft = BASE.replace("value: 100", "value: 120"), BASE.replace("value: 100", "value: 130")
    draft = draft.replace("value: 50", "value: 51")
    found = moved(BASE, active, draft)
    (conflict,) = found.open
    assert (conflict.file, conflict.section, conflict.label) == ("a.yaml", "offers", "gold")
    assert "value: 130" in (conflict.mine or "") and "value: 120" in (conflict.theirs or "")
    mine, theirs = (moved(BASE, active, draft, **{conflict.id: side}) for side in ("mine", "theirs"))
    assert mine.open == theirs.open == ()
    assert mine.files["a.yaml"] == draft
    assert theirs.files["a.yaml"] == active.replace("value: 50", "value: 51")
    other = moved(BASE, active.replace("value: 120", "value: 125"), draft, **{conflict.id: "mine"})
    assert len(other.open) == 1, "a choice between other texts settles nothing"


def test_what_one_side_removed_and_the_other_changed_is_a_conflict() -> None:
    active = BASE.replace("  - name: loan\n    value: 50\n", "")
    draft = BASE.replace("value: 50", "value: 51")
    (conflict,) = moved(BASE, active, draft).open
    assert conflict.theirs is None and "value: 51" in (conflict.mine or "")
    assert "loan" not in moved(BASE, active, draft, **{conflict.id: "theirs"}).files["a.yaml"]
    assert moved(BASE, active, draft, **{conflict.id: "mine"}).files["a.yaml"].count("name: loan") == 1


def test_files_that_come_go_or_are_no_yaml_are_settled_as_a_whole() -> None:
    base = {"a.yaml": "x: 1\n", "b.yaml": "y: 1\n", "c.yaml": "z: 1\n"}
    active = {"a.yaml": "x: 1\n", "c.yaml": "z: 2\n", "new.yaml": "n: 1\n"}
    draft = {"a.yaml": "x: [\n", "b.yaml": "y: 2\n", "c.yaml": "z: {\n", "mine.yaml": "m: 1\n"}
    found = rebase(read_source, base, active, draft, {})
    assert {(each.file, each.mine, each.theirs) for each in found.open} == {
        ("b.yaml", "y: 2\n", None),
        ("c.yaml", "z: {\n", "z: 2\n"),
    }
    assert found.files == {"a.yaml": "x: [\n", "c.yaml": "z: 2\n", "mine.yaml": "m: 1\n", "new.yaml": "n: 1\n"}
    settled = rebase(read_source, base, active, draft, {each.id: "mine" for each in found.open})
    assert settled.files == {
        **active,
        "a.yaml": "x: [\n",
        "b.yaml": "y: 2\n",
        "c.yaml": "z: {\n",
        "mine.yaml": "m: 1\n",
    }


def test_a_section_that_one_side_removed_is_no_place_for_entries_of_the_other() -> None:
    base = "offers:\n  - name: a\n    value: 1\nlevers:\n  - group: cards\n    lever: 1\n"
    active = "offers:\n  - name: a\n    value: 1\n"
    draft = base + "  - group: loans\n    lever: 2\n"
    (conflict,) = moved(base, active, draft).open
    assert (conflict.section, conflict.mine, conflict.theirs) == ("", draft, active)


def test_entries_that_cannot_be_told_apart_stay_together() -> None:
    base = "levers:\n  - {group: cards, lever: 1}\n  - {group: cards, lever: 2}\n"
    active, draft = base.replace("lever: 1", "lever: 3"), base.replace("lever: 2", "lever: 4")
    (conflict,) = moved(base, active, draft).open
    assert (conflict.section, conflict.label) == ("levers", "")


def test_a_draft_of_the_demo_bank_moves_onto_another_active_version() -> None:
    def changed(old: str, new: str) -> dict[str, str]:
        name = next(name for name, text in DEMO.items() if old in text)
        return {**DEMO, name: DEMO[name].replace(old, new, 1)}

    first = DEMO["offers_cards.yaml"]
    offers = [unit for unit in units_of(first, read_source, uncut([shapes(first, read_source)])) if unit.label]
    active = {**DEMO, "offers_cards.yaml": first.replace(offers[0].text, "", 1)}
    draft = changed("currency: CNY", "currency: CNY # Chinese yuan")
    draft["offers_cards.yaml"] = first.replace(offers[1].text, offers[1].text.replace("value: ", "value: 1", 1), 1)
    found = rebase(read_source, DEMO, active, draft, {})
    assert found.open == ()
    strategy, _ = load_strategy_texts(found.files)
    assert offers[0].label not in {offer.name for offer in strategy.offers}
    assert "value: 1" in found.files["offers_cards.yaml"]


entry = st.fixed_dictionaries({"value": st.integers(0, 3)}, optional={"note": st.sampled_from(["a", "b"])})
names = st.sampled_from(["n1", "n2", "n3", "n4", "n5", "n6"])
banks = st.fixed_dictionaries(
    {"offers": st.dictionaries(names, entry, max_size=6), "limits": st.dictionaries(names, entry, max_size=6)}
)
deltas = st.dictionaries(st.tuples(st.sampled_from(["offers", "limits"]), names), st.none() | entry, max_size=6)
Bank = dict[str, dict[str, dict[str, object]]]


def written(bank: Bank) -> str:
    """A file with a list at the top and one in a mapping, entries in the order of names, comments above some."""
    lines = ["# a bank", "offers:"]
    for section, pad in (("offers", "  "), ("limits", "    ")):
        if section == "limits":
            lines += ["contact_policy:", "  limits:"]
        for name, values in sorted(bank[section].items()):
            lines += [f"{pad}# about {name}", f"{pad}- name: {section}_{name}"]
            lines += [f"{pad}  {key}: {value}" for key, value in values.items()]
    return "\n".join([*lines, "currency: CNY", ""])


def after(bank: Bank, delta: dict[tuple[str, str], dict[str, object] | None]) -> Bank:
    result = {section: dict(entries) for section, entries in bank.items()}
    for (section, name), value in delta.items():
        if value is None:
            result[section].pop(name, None)
        else:
            result[section][name] = value
    return result


def meaning(text: str) -> object:
    document = strategy_document({"a.yaml": text})
    assert document is not None
    return plain(document)


@given(banks, deltas, deltas)
@settings(max_examples=80, deadline=None)
def test_disjoint_changes_of_both_sides_are_all_there_and_nothing_else(
    bank: Bank,
    theirs: dict[tuple[str, str], dict[str, object] | None],
    mine: dict[tuple[str, str], dict[str, object] | None],
) -> None:
    mine = {key: value for key, value in mine.items() if key not in theirs}
    base, active, draft = written(bank), written(after(bank, theirs)), written(after(bank, mine))
    found = moved(base, active, draft)
    both = after(after(bank, theirs), mine)
    if found.conflicts:  # a list that lost its last entry on one side has no place for the other's: both are shown
        assert all(not each.label for each in found.conflicts)
        assert any(not each[section] for each in (bank, after(bank, theirs), after(bank, mine)) for section in each)
        return
    assert by_name(meaning(found.files["a.yaml"])) == by_name(meaning(written(both)))


@given(banks, deltas, deltas)
@settings(max_examples=80, deadline=None)
def test_whatever_both_sides_change_each_change_is_taken_or_shown(
    bank: Bank,
    theirs: dict[tuple[str, str], dict[str, object] | None],
    mine: dict[tuple[str, str], dict[str, object] | None],
) -> None:
    base, active, draft = written(bank), written(after(bank, theirs)), written(after(bank, mine))
    found = moved(base, active, draft)
    result = found.files["a.yaml"]
    for section, name in {*theirs, *mine}:
        was, now_theirs, now_mine = (each[section].get(name) for each in (bank, after(bank, theirs), after(bank, mine)))
        shown = any(
            each.section in ("", sections(section)) and each.label in ("", f"{section}_{name}") for each in found.open
        )
        taken = entries(result, section).get(f"{section}_{name}")
        wanted = now_mine if now_theirs == was else now_theirs
        assert shown or taken == (None if wanted is None else {"name": f"{section}_{name}", **wanted})
    kept = moved(base, active, draft, **{each.id: "mine" for each in found.open})
    assert kept.open == ()


def sections(section: str) -> str:
    return "contact_policy.limits" if section == "limits" else section


def entries(text: str, section: str) -> dict[str, object]:
    document = meaning(text)
    assert isinstance(document, dict)
    within = document.get("contact_policy") if section == "limits" else document
    found = within.get(section) if isinstance(within, dict) else None
    return {str(each["name"]): each for each in found or () if isinstance(each, dict)}


def by_name(document: object) -> object:
    """Without the order of lists: what only one side added stands behind what it stood behind there."""
    if isinstance(document, dict):
        return {key: by_name(value) for key, value in document.items()}
    if isinstance(document, list):
        return sorted(map(str, document))
    return document
