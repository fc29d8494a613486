"""What can be read, how it is grouped, and where the first fault stands."""

import pytest

from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.parser import MAX_DEPTH, MAX_LENGTH, MAX_LIST, parse
from decision_engine.conditions.rendering import render
from decision_engine.conditions.syntax import Call, ListLiteral, Literal, Logical, Name


@pytest.mark.parametrize(
    ("text", "grouped"),
    [
        ("a || b && c", "a || b && c"),
        ("(a || b) && c", "(a || b) && c"),
        ("a && b && c", "a && b && c"),
        ("a - b - c", "a - b - c"),
        ("a - (b - c)", "a - (b - c)"),
        ("a + b * c < d", "a + b * c < d"),
        ("(a + b) * c", "(a + b) * c"),
        ("!(a == b)", "!(a == b)"),
        ("!a == b", "!a == b"),
        ("-a + b", "-a + b"),
        ("a ? b : c ? d : e", "a ? b : c ? d : e"),
        ("(a ? b : c) ? d : e", "(a ? b : c) ? d : e"),
        ("x in [1, 2] && y", "x in [1, 2] && y"),
        ("a.b.c.startsWith('q') || f(g)", 'a.b.c.startsWith("q") || f(g)'),
        ("1e3 < 0x1F // a remark", "1000.0 < 31"),
    ],
)
def test_grouping(text: str, grouped: str) -> None:
    assert render(parse(text)) == grouped


def test_dotted_names_are_one_name_and_methods_are_calls() -> None:
    assert parse("context.page") == Name(name="context.page", position=0)
    call = parse('context.page.startsWith("c")')
    assert isinstance(call, Call)
    assert (call.function, call.arguments[0]) == ("startsWith", Name(name="context.page", position=0))


def test_a_chain_of_one_operator_is_flat() -> None:
    expression = parse(" && ".join(["a"] * 500))
    assert isinstance(expression, Logical)
    assert len(expression.operands) == 500


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"a\"b\\c\n"', 'a"b\\c\n'),
        (r"'\x41\u4e2d\U0001F600\101'", "A中😀A"),
        ("''", ""),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775807", 2**63 - 1),
        (".5", 0.5),
        ("true", True),
    ],
)
def test_literals(text: str, value: object) -> None:
    literal = parse(text)
    assert isinstance(literal, Literal)
    assert literal.value == value
    assert type(literal.value) is type(value)


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("", "is empty", 0),
        ("  ", "is empty", 0),
        ("age >=", "ends too early", 6),
        ("age >= 18)", "unexpected ')'", 9),
        ("(age >= 18", "a ( is not closed", 10),
        ("[1, 2", "expected , or ]", 5),
        ("[1 2]", "expected , or ]", 3),
        ("a ? b", "a ? needs a :", 5),
        ("a = 1", "a single = compares nothing", 2),
        ("a & b", "a single & is no operator; write &&", 2),
        ("a == 'b", "not closed", 5),
        ("a == null", "null is not supported", 5),
        ("a == 5u", "there are no unsigned numbers; leave the u away", 6),
        ("9223372036854775808", "does not fit into 64 bits", 0),
        ("1e999", "too large", 0),
        (r"'\q'", "unknown escape", 1),
        (r"'\ud800'", "names no character", 1),
        ("a.5", "unexpected '.5'", 1),
        ("a.(b)", "after the dot comes a function", 2),
        ("a §", "unexpected character '§'", 2),
        ("__import__('os') ; 1", "unexpected character ';'", 17),
    ],
)
def test_faults_have_a_position(text: str, message: str, position: int) -> None:
    with pytest.raises(ConditionError, match=r".") as refused:
        parse(text)
    assert message in refused.value.message
    assert refused.value.position == position
    assert f"(at character {position + 1})" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "a" + ")" * 4000,
        "!" * 9_000 + "a",
        "-" * 9_000 + "a",
        "[" * 5_000,
        "a ? " * 2_000 + "b",
        "f(" * 4_000,
        "+".join(["a"] * 4_000),
        "a" + ".size()" * 1_000,
    ],
)
def test_no_nesting_exhausts_the_stack(text: str) -> None:
    with pytest.raises(ConditionError, match=f"nests deeper than {MAX_DEPTH} levels"):
        parse(text)


def test_text_and_lists_are_bounded() -> None:
    with pytest.raises(ConditionError, match="at most"):
        parse("a" * (MAX_LENGTH + 1))
    with pytest.raises(ConditionError, match="a list has at most"):
        parse(f"a in [{','.join(['1'] * (MAX_LIST + 1))}]")
    longest = parse(f"[{','.join(['1'] * MAX_LIST)}]")
    assert isinstance(longest, ListLiteral)
