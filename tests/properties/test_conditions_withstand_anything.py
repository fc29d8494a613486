"""Whatever is written in a strategy, it is read or refused with problems; nothing else can happen."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.conditions.check import checked_expression
from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.evaluation import Facts, compile_expression
from decision_engine.conditions.reasoning import Reasoner
from decision_engine.conditions.requirements import alternatives_of
from decision_engine.conditions.typing_rules import Kind
from decision_engine.errors import StrategyInvalid
from decision_engine.features.definitions import AttributeType
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.strategy_loading.analysis import analyse
from decision_engine.strategy_loading.document import Entry, ListNode, MapNode, Node, ScalarNode
from decision_engine.strategy_loading.loading import load_strategy
from services.adapters.yaml_document import read_yaml

SAMPLE = Path(__file__).parents[1] / "unit" / "strategy_loading" / "sample_strategy.yaml"
MUTATIONS = 400
WORDS = st.sampled_from(
    ["age", "city", "now", "vip", "&&", "||", "!", "==", "<", "in", "[", "]", "(", ")", ",", "?", ":", ".", "-", "+",
     "/", "%", "1", "2.5", "'a'", "true", "has(", "has_product('x')", "size(", "startsWith(", "duration('1h')", "min(",
     "[1, age].exists(x, x", "['a'].all(y, y", ".getHours(", "int(", "string(", "x", "y", "r'a'"]
)  # fmt: skip
TYPES = {"age": AttributeType.INT, "city": AttributeType.STRING, "vip": AttributeType.BOOL}


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=25).map(" ".join)))
def test_any_text_is_a_condition_or_an_error_with_a_position(text: str) -> None:
    try:
        checked = checked_expression(text, TYPES)
    except ConditionError as error:
        assert all(0 <= problem.position <= len(text) for problem in error.problems)
        return
    compile_expression(checked)(Facts({"age": 3}, frozenset(), 0))
    if checked.type is Kind.BOOL and (alternatives := alternatives_of(checked)) is not None:
        Reasoner().possible(alternatives)
        Reasoner().certain(alternatives)


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "text",
    [
        f"[{', '.join(map(str, range(1_000)))}].exists(x, [1, 2, 3, 4].all(y, x * y > age && x + y < age && x != y))",
        "[1, 2, 3].exists(a, " * 12 + "true" + ")" * 12,
        " || ".join(["[1, 2, 3, 4, 5, 6, 7, 8].exists(x, [1, 2, 3, 4, 5, 6, 7, 8].all(y, x + y > age))"] * 90),
        f"[{', '.join(['nobody'] * 900)}].all(x, x > 1)",
    ],
)
def test_no_macro_can_be_written_out_without_end(text: str) -> None:
    with pytest.raises(ConditionError):
        checked_expression(text, TYPES)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*#'\"\n ,?!|>%<1"), max_size=80))
def test_any_text_is_yaml_or_a_problem(text: str) -> None:
    file = read_yaml(text, "file")
    assert file.root is not None or file.problems


def test_a_strategy_with_anything_in_it_is_loaded_or_refused_with_problems() -> None:
    document = read_yaml(SAMPLE.read_text(encoding="utf-8"), "sample.yaml").root
    assert document is not None
    refused = 0
    for seed in range(MUTATIONS):
        mutated = mutate(document, Random(seed), chance=0.01)
        try:
            analyse(load_strategy(mutated, EVENT_FIELDS), mutated)
        except StrategyInvalid as error:
            refused += 1
            assert error.problems
            assert all(problem.line > 0 and problem.message for problem in error.problems)
    assert refused > MUTATIONS / 2


def test_every_value_may_be_of_any_kind() -> None:
    """One after the other, each value of the sample is replaced by one of each other kind."""
    document = read_yaml(SAMPLE.read_text(encoding="utf-8"), "sample.yaml").root
    assert document is not None
    for number in range(0, size(document), 5):
        for kind in range(len(stand_ins(document))):
            try:
                load_strategy(replaced(document, number, kind), EVENT_FIELDS)
            except StrategyInvalid as error:
                assert error.problems


def stand_ins(node: Node) -> list[Node]:
    values = (None, True, 0, -1, 10**18, 2.5, "", "no_such_name", "age +", "7d")
    plain: list[Node] = [ScalarNode(value=value, file=node.file, line=node.line) for value in values]
    empty = [ListNode(items=(), file=node.file, line=node.line), MapNode(entries=(), file=node.file, line=node.line)]
    return [*plain, *empty, ListNode(items=(plain[2], empty[1]), file=node.file, line=node.line)]


def mutate(node: Node, random: Random, chance: float) -> Node:
    if random.random() < chance:
        return random.choice(stand_ins(node))
    match node:
        case MapNode():
            kept = [entry for entry in node.entries if random.random() > chance]
            entries = [Entry(key=e.key, value=mutate(e.value, random, chance), file=e.file, line=e.line) for e in kept]
            return MapNode(entries=tuple(entries), file=node.file, line=node.line)
        case ListNode():
            items = [mutate(item, random, chance) for item in node.items]
            if items and random.random() < chance:
                items.append(random.choice(items))
            return ListNode(items=tuple(items), file=node.file, line=node.line)
        case ScalarNode():
            return node


def size(node: Node) -> int:
    match node:
        case MapNode():
            return 1 + sum(size(entry.value) for entry in node.entries)
        case ListNode():
            return 1 + sum(size(item) for item in node.items)
        case ScalarNode():
            return 1


def replaced(node: Node, number: int, kind: int) -> Node:
    """The tree with its node of that number (in reading order) replaced by a stand-in."""
    if number == 0:
        return stand_ins(node)[kind]
    number -= 1
    match node:
        case MapNode():
            entries = []
            for e in node.entries:
                inside = 0 <= number < size(e.value)
                value = replaced(e.value, number, kind) if inside else e.value
                entries.append(Entry(key=e.key, value=value, file=e.file, line=e.line))
                number -= size(e.value)
            return MapNode(entries=tuple(entries), file=node.file, line=node.line)
        case ListNode():
            items = []
            for item in node.items:
                items.append(replaced(item, number, kind) if 0 <= number < size(item) else item)
                number -= size(item)
            return ListNode(items=tuple(items), file=node.file, line=node.line)
        case ScalarNode():
            pytest.fail("the tree has no node of that number")
