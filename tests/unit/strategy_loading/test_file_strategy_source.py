"""Strategies as files: merging, YAML faults, and input made to exhaust the reader."""

from pathlib import Path

import pytest

from decision_engine.errors import Problem, StrategyInvalid
from decision_engine.strategy_loading.document import ListNode, MapNode, ScalarNode
from services.__main__ import main
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.yaml_document import read_yaml

SAMPLE = Path(__file__).parent / "sample_strategy.yaml"


def problems_of(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(StrategyInvalid) as refused:
        load_strategy_file(path)
    return refused.value.problems


def scalars(text: str) -> dict[str, object]:
    root = read_yaml(text, "file").root
    assert isinstance(root, MapNode)
    return {entry.key: entry.value.value for entry in root.entries if isinstance(entry.value, ScalarNode)}


def faults(text: str) -> list[str]:
    return [f"{problem.line}: {problem.message}" for problem in read_yaml(text, "file").problems]


def test_plain_values_follow_yaml_1_2() -> None:
    text = (
        "on: off\nyes: no\na: 12\nb: -1.5e3\nc: true\nd: ~\ne: 2026-01-01\nf: '12'\ng: 1_000\nh: 12:30\n404: x\ni: .5\n"
    )
    assert scalars(text) == {
        "on": "off", "yes": "no", "a": 12, "b": -1500.0, "c": True, "d": None, "e": "2026-01-01", "f": "12",
        "g": "1_000", "h": "12:30", "404": "x", "i": 0.5,
    }  # fmt: skip


def test_nodes_know_their_lines() -> None:
    root = read_yaml("a: 1\nb:\n  - x\n  - {c: 2}\n", "some.yaml").root
    assert isinstance(root, MapNode)
    items = root.entries[1].value
    assert isinstance(items, ListNode)
    assert [(item.file, item.line) for item in items.items] == [("some.yaml", 3), ("some.yaml", 4)]


def test_anchors_and_merge_keys_are_spelled_out() -> None:
    text = "base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}\nagain: *b\n"
    root = read_yaml(text, "file").root
    assert isinstance(root, MapNode)
    other, again = (root.entries[place].value for place in (1, 2))
    assert isinstance(other, MapNode)
    assert isinstance(again, MapNode)
    assert {e.key: e.value.value for e in other.entries if isinstance(e.value, ScalarNode)} == {"y": 3, "x": 1}
    assert [entry.key for entry in again.entries] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3\n", "3: the key stands already on line 1"),
        ("a: [1, 2\nb: 3\n", "2: did not find expected ',' or ']'"),
        (
            "a: !!python/object:os.system x\n",
            "1: the tag tag:yaml.org,2002:python/object:os.system has no meaning here",
        ),
        ("a: 1\n---\nb: 2\n", "2: a file holds one document"),
        ("a: *nowhere\n", "1: the alias *nowhere stands inside its own anchor or before it"),
        ("a: &a [*a]\n", "1: the alias *a stands inside its own anchor or before it"),
        ("? [1, 2]\n: x\n", "1: a key must be text"),
        ("[" * 100 + "]" * 100, "1: nests deeper than 64 levels"),
        ("a: {<<: [1]}\n", "1: << takes mappings"),
        ("a: \x00\n", "0: "),
    ],
)
def test_yaml_faults_are_problems_with_lines(text: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults(text)), faults(text)


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert any("larger than any strategy" in fault for fault in faults("\n".join(lines)))


def test_a_file_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"a: 1\n#" + b"x" * (4 * 1024 * 1024))
    assert [problem.message for problem in problems_of(path)] == ["is larger than 4 MB"]


def test_what_is_not_there_or_not_text_is_a_problem(tmp_path: Path) -> None:
    assert [p.message for p in problems_of(tmp_path / "none.yaml")] == ["does not exist"]
    assert [p.message for p in problems_of(tmp_path)] == ["holds no .yaml files"]
    (tmp_path / "bad.yaml").write_bytes(b"a: \xff\xfe")
    assert [p.message for p in problems_of(tmp_path)] == ["is not UTF-8 (at byte 3)"]


def test_an_empty_file_lacks_everything(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert "must be a mapping, this is empty" in [problem.message for problem in problems_of(path)]


def test_a_folder_is_merged_lists_joined_and_anything_else_given_once(tmp_path: Path) -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    (tmp_path / "10.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "20.yaml").write_text(
        "issues:\n  - {name: retain}\ncurrency: EUR\nsuitability: {level: age}\n", encoding="utf-8"
    )
    assert [(p.file, p.line, p.path) for p in problems_of(tmp_path)] == [
        (str(tmp_path / "20.yaml"), 3, "currency"),
        (str(tmp_path / "20.yaml"), 4, "suitability"),
    ]
    (tmp_path / "20.yaml").write_text(
        "consents:\n  - {name: sms, default: granted, text: {zh-CN: 短信, en: SMS}}\n", encoding="utf-8"
    )
    assert sorted(load_strategy_file(tmp_path).consents) == ["data_sharing", "marketing", "personalisation", "sms"]


def test_yaml_faults_and_strategy_faults_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "strategy.yaml"
    text = SAMPLE.read_text(encoding="utf-8").replace("currency: CNY", "currency: cny")
    path.write_text(text + "name: twice\n", encoding="utf-8")
    assert [problem.path for problem in problems_of(path)] == ["currency", "name"]


def test_check_reports_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategy", "check", str(SAMPLE.parent / "faulty_strategy.yaml")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith(f"{len(lines) - 1} problems")


def test_check_and_show_of_a_sound_strategy_succeed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategy", "check", str(SAMPLE)]) == 0
    assert "sound, version sample_bank-" in capsys.readouterr().out
    assert main(["strategy", "show", str(SAMPLE), "--attributes"]) == 0
    shown = capsys.readouterr().out
    assert "gold_card" in shown
    assert "card_spend_ratio_7d_90d" in shown
