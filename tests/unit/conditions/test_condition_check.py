"""Names and types are checked before anything runs, and every problem is reported."""

import pytest

from decision_engine.conditions.check import CheckedExpression, check, checked_condition, checked_expression
from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.parser import parse
from decision_engine.conditions.typing_rules import Kind
from decision_engine.features.definitions import AttributeType

TYPES = {
    "age": AttributeType.INT,
    "share": AttributeType.DOUBLE,
    "city": AttributeType.STRING,
    "vip": AttributeType.BOOL,
    "seen": AttributeType.TIMESTAMP,
}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("age + 1", Kind.INT),
        ("age / 2", Kind.INT),
        ("age + share", Kind.DOUBLE),
        ("age % 2", Kind.INT),
        ("vip ? age : share", Kind.DOUBLE),
        ("min(age, 1.0)", Kind.DOUBLE),
        ("max([age, 1])", Kind.INT),
        ("abs(-share)", Kind.DOUBLE),
        ("city + 'x'", Kind.STRING),
        ("size([1, 2])", Kind.INT),
        ("city.size()", Kind.INT),
        ("now - seen", Kind.DURATION),
        ("seen + duration('1h')", Kind.TIMESTAMP),
        ("duration('1h') + seen", Kind.TIMESTAMP),
        ("age in [1, 2.5]", Kind.BOOL),
        ("age in []", Kind.BOOL),
        ("has(age) && has_product('x')", Kind.BOOL),
        ("vip == (age > 3)", Kind.BOOL),
    ],
)
def test_the_type_of_a_sound_expression(text: str, kind: Kind) -> None:
    assert checked_expression(text, TYPES).type is kind


def test_a_checked_expression_knows_the_names_it_reads() -> None:
    checked = checked_condition("age > 3 && has(city) && now > seen", TYPES)
    assert checked.names == {"age", "city", "seen"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ag > 3", "unknown name ag; did you mean age?"),
        ("zzz > 3", "unknown name zzz"),
        ("age > 'a'", "> does not fit int and string"),
        ("vip > true", "> does not order yes and no"),
        ("age && vip", "&& joins conditions, this is a int"),
        ("!age", "! takes a yes or no, not a int"),
        ("-city", "- takes a number, not a string"),
        ("city in 'a'", "in needs a list on its right, this is a string"),
        ("city in [1]", "in does not fit string and list of int"),
        ("[1, 'a'] == [1]", "the entries of a list must be of one type"),
        ("[1] == [1]", "== does not fit list of int and list of int"),
        ("share % 2 == 0", "% does not fit double and int"),
        ("seen + seen > now", "+ does not fit timestamp and timestamp"),
        ("vip ? age : city", "both choices must be of one type, these are int and string"),
        ("age ? vip : vip", "before the ? stands a condition, this is a int"),
        ("has(age + 1)", "has takes one name"),
        ("has(agee)", "unknown name agee; did you mean age?"),
        ("has_product(city)", "has_product takes one product in quotes"),
        ("now > timestamp('2026-01-01')", "timestamp takes a moment with its offset"),
        ("now > timestamp('2026-02-30T00:00:00Z')", "timestamp takes a moment with its offset"),
        ("now - seen > duration('7d')", "duration takes hours, minutes, seconds"),
        ("size(age) > 1", "size takes one text or list, not int"),
        ("min(city) > 1", "min takes numbers, not string"),
        ("max([]) > 1", "max takes numbers, not empty list"),
        ("abs(1, 2) > 1", "abs takes one number, not int, int"),
        ("city.startWith('a')", "unknown function startWith; did you mean startsWith?"),
        ("lenght(city) > 1", "unknown function lenght"),
        ("age.max(3) > 1", "unknown function max"),
        ("[age]", "the result is a list"),
    ],
)
def test_a_fault_is_named(text: str, message: str) -> None:
    with pytest.raises(ConditionError) as refused:
        checked_expression(text, TYPES)
    assert message in str(refused.value)


def test_all_problems_are_reported_in_the_order_of_the_text() -> None:
    problems = check(parse("agee > 1 && city > 3 && vipp || has(sity)"), TYPES)
    assert not isinstance(problems, CheckedExpression)
    assert [(problem.position, problem.message) for problem in problems] == [
        (0, "unknown name agee; did you mean age?"),
        (17, "> does not fit string and int"),
        (24, "unknown name vipp; did you mean vip?"),
        (36, "unknown name sity; did you mean city?"),
    ]


def test_a_problem_is_not_reported_again_by_what_contains_it() -> None:
    problems = check(parse("(agee + 1) * 2 > 3 ? vip : vip"), TYPES)
    assert not isinstance(problems, CheckedExpression)
    assert len(problems) == 1


def test_a_condition_must_say_yes_or_no() -> None:
    with pytest.raises(ConditionError, match="says yes or no, this gives a int"):
        checked_condition("age + 1", TYPES)
