"""Cases of the condition language by the sections of the public CEL conformance suite, written for this project.

Each is (expression, bindings, result). `ERROR`: evaluation fails in CEL, and is unknown here. `REFUSED`: neither
accepts the expression. The reference evaluator decides what is right; these tests hold both to the result.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from cel_expr_python import cel

from decision_engine.conditions.check import checked_expression
from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.evaluation import MISSING, Facts, compile_expression
from decision_engine.conditions.folding import fold
from decision_engine.conditions.predicate_index import PredicateIndex
from decision_engine.conditions.typing_rules import Kind
from decision_engine.features.definitions import AttributeType

ERROR: Final = "error"
REFUSED: Final = "refused"
Case = tuple[str, Mapping[str, bool | int | float | str], bool | int | float | str]
"""Texts as results stand in quotes, to be told from ERROR and REFUSED."""

T0 = 'timestamp("2009-02-13T23:31:30Z")'
"""1,234,567,890 seconds after the epoch, a Friday."""
T1 = 'timestamp("2024-02-29T23:59:59.250Z")'

BASIC: tuple[Case, ...] = (
    ("0", {}, 0),
    ("42", {}, 42),
    ("-1", {}, -1),
    ("0x55", {}, 85),
    ("-0x55", {}, -85),
    ("9223372036854775807", {}, 9223372036854775807),
    ("-9223372036854775808", {}, -9223372036854775808),
    ("9223372036854775808", {}, REFUSED),
    ("0.0", {}, 0.0),
    ("1e3", {}, 1000.0),
    ("-2.3e+1", {}, -23.0),
    (".25", {}, 0.25),
    ("true", {}, True),
    ("false", {}, False),
    ('""', {}, '""'),
    ("'single'", {}, '"single"'),
    (r'"tab\tnew\nline"', {}, '"tab\tnew\nline"'),
    (r'"\x41\u00e9\U0001F600\101"', {}, '"Aé\U0001f600A"'),
    (r'r"raw\n"', {}, '"raw\\n"'),
    (r"R'raw\t'", {}, '"raw\\t"'),
    (r'"\q"', {}, REFUSED),
    ('"not closed', {}, REFUSED),
    ("x", {"x": 123}, 123),
    ("x", {}, ERROR),
    ("f_unknown(17)", {}, REFUSED),
    ("unbound_name", {}, REFUSED),
    ("", {}, REFUSED),
    ("1 +", {}, REFUSED),
    ("(1 + 2) * 3", {}, 9),
    ("1 + 2 * 3", {}, 7),
    ("// a comment\n1", {}, 1),
)

COMPARISONS: tuple[Case, ...] = (
    ("1 == 1", {}, True),
    ("-1 == 1", {}, False),
    ("x == 5", {"x": 5}, True),
    ("x == 5", {}, ERROR),
    ("0.5 == 0.25", {}, False),
    ("0.0 == -0.0", {}, True),
    ('"a" == "a"', {}, True),
    ('"abc" == "ABC"', {}, False),
    ("'ΐ' == 'ΐ'", {}, True),
    ("true == true", {}, True),
    ("b == false", {"b": True}, False),
    ('1 == "1"', {}, REFUSED),
    ('true == "true"', {}, REFUSED),
    ("1 != 2", {}, True),
    ("1 != 1", {}, False),
    ("9.0 != 9.0", {}, False),
    ('"a" != "b"', {}, True),
    ("false != false", {}, False),
    ("1 < 2", {}, True),
    ("2 < 2", {}, False),
    ("-9223372036854775808 < 9223372036854775807", {}, True),
    ("-0.0 < 0.0", {}, False),
    ("1e-300 < 1e300", {}, True),
    ('"a" < "b"', {}, True),
    ('"Abc" < "abc"', {}, True),
    ('"" < "x"', {}, True),
    ('"abc" < "abd"', {}, True),
    ('"ab" < "abc"', {}, True),
    ("2 <= 2", {}, True),
    ("3 <= 2", {}, False),
    ("2.0 <= 2.0", {}, True),
    ('"b" <= "a"', {}, False),
    ("3 > 2", {}, True),
    ("-5 > -4", {}, False),
    ('"z" > "aa"', {}, True),
    ("2 >= 3", {}, False),
    ("d >= 1.5", {"d": 1.5}, True),
    ("x >= 1", {}, ERROR),
    ('1 < "a"', {}, REFUSED),
    (f"{T0} < {T1}", {}, True),
    (f"{T0} == {T0}", {}, True),
    ('duration("60s") == duration("1m")', {}, True),
    ('duration("1h") > duration("59m")', {}, True),
)

LOGIC: tuple[Case, ...] = (
    ("true && true", {}, True),
    ("true && false", {}, False),
    ("false && b", {}, False),
    ("b && false", {}, False),
    ("b && true", {}, ERROR),
    ("true && b", {}, ERROR),
    ("1/0 == 1 && false", {}, False),
    ("1/0 == 1 && true", {}, ERROR),
    ("false || false", {}, False),
    ("true || b", {}, True),
    ("b || true", {}, True),
    ("b || false", {}, ERROR),
    ("1/0 == 1 || true", {}, True),
    ("b || 1/0 == 1", {}, ERROR),
    ("!true", {}, False),
    ("!b", {"b": False}, True),
    ("!b", {}, ERROR),
    ("!!b", {"b": True}, True),
    ("!0", {}, REFUSED),
    ("1 && true", {}, REFUSED),
    ('"text" || true', {}, REFUSED),
    ("true ? 1 : 2", {}, 1),
    ("false ? 1 : 2", {}, 2),
    ("b ? 1 : 2", {}, ERROR),
    ("true ? 1 : 1/0", {}, 1),
    ("false ? 1/0 : 2", {}, 2),
    ("true ? 1/0 : 2", {}, ERROR),
    ("1 ? 2 : 3", {}, REFUSED),
    ('b ? "yes" : "no"', {"b": False}, '"no"'),
    ("x > 0 ? (x > 10 ? 2 : 1) : 0", {"x": 20}, 2),
    ("false && true || true", {}, True),
    ("true || true && false", {}, True),
)

ARITHMETIC: tuple[Case, ...] = (
    ("40 + 2", {}, 42),
    ("x - 50", {"x": 8}, -42),
    ("6 * 7", {}, 42),
    ("7 / 2", {}, 3),
    ("-7 / 2", {}, -3),
    ("7 / -2", {}, -3),
    ("7 % 3", {}, 1),
    ("-7 % 3", {}, -1),
    ("7 % -3", {}, 1),
    ("1 / 0", {}, ERROR),
    ("1 % 0", {}, ERROR),
    ("9223372036854775807 + 1", {}, ERROR),
    ("-9223372036854775808 - 1", {}, ERROR),
    ("-x", {"x": -9223372036854775808}, ERROR),
    ("x / -1", {"x": -9223372036854775808}, ERROR),
    ("x * 2", {"x": 9223372036854775807}, ERROR),
    ("1.5 + 1.5", {}, 3.0),
    ("1.0 / 4.0", {}, 0.25),
    ("-d", {"d": 2.5}, -2.5),
    ("2.0 * d", {"d": 0.5}, 1.0),
    ("2.0 % 1.0", {}, REFUSED),
    ('"a" - "b"', {}, REFUSED),
    ('1 + "1"', {}, REFUSED),
    ("1 + true", {}, REFUSED),
    ("10 - 2 - 3", {}, 5),
    ("100 / 10 / 5", {}, 2),
)

STRINGS: tuple[Case, ...] = (
    ('size("")', {}, 0),
    ('size("four")', {}, 4),
    ('size("可汗")', {}, 2),
    ('"\U0001f631\U0001f600".size()', {}, 2),
    ("size(s)", {}, ERROR),
    ("size(1)", {}, REFUSED),
    ('"foobar".startsWith("foo")', {}, True),
    ('"foobar".startsWith("bar")', {}, False),
    ('"".startsWith("foo")', {}, False),
    ('"foobar".startsWith("")', {}, True),
    ('"завтра".startsWith("за")', {}, True),
    ('"foobar".endsWith("bar")', {}, True),
    ('"foobar".endsWith("foo")', {}, False),
    ('"foobar".endsWith("")', {}, True),
    ('"forté".endsWith("té")', {}, True),
    ('"foobar".contains("oba")', {}, True),
    ('"foobar".contains("obo")', {}, False),
    ('"".contains("")', {}, True),
    ('s.contains("x")', {}, ERROR),
    ("1.contains('x')", {}, REFUSED),
    ('"he" + "llo"', {}, '"hello"'),
    ('s + ""', {"s": "x"}, '"x"'),
    ('"¢" + "ÿ"', {}, '"¢ÿ"'),
    ('"a".startsWith(1)', {}, REFUSED),
)

TIMESTAMPS: tuple[Case, ...] = (
    (f"int({T0})", {}, 1234567890),
    ("int(t)", {"t": 1234567890123}, 1234567890),
    ("int(t)", {"t": -1}, -1),
    (f"string({T0})", {}, '"2009-02-13T23:31:30Z"'),
    (f"string({T1})", {}, '"2024-02-29T23:59:59.250Z"'),
    ('string(timestamp("2009-02-13T23:31:30+08:00"))', {}, '"2009-02-13T15:31:30Z"'),
    (f"{T0}.getFullYear()", {}, 2009),
    (f"{T0}.getMonth()", {}, 1),
    (f"{T0}.getDate()", {}, 13),
    (f"{T0}.getDayOfMonth()", {}, 12),
    (f"{T0}.getDayOfWeek()", {}, 5),
    (f"{T0}.getDayOfYear()", {}, 43),
    (f"{T0}.getHours()", {}, 23),
    (f"{T0}.getMinutes()", {}, 31),
    (f"{T0}.getSeconds()", {}, 30),
    (f"{T0}.getMilliseconds()", {}, 0),
    (f"{T1}.getMilliseconds()", {}, 250),
    (f"{T1}.getDayOfYear()", {}, 59),
    (f'{T0}.getDate("Australia/Sydney")', {}, 14),
    (f'{T0}.getDayOfWeek("Asia/Shanghai")', {}, 6),
    (f'{T0}.getHours("Asia/Shanghai")', {}, 7),
    (f'{T0}.getHours("Asia/Kathmandu")', {}, 5),
    (f'{T0}.getMinutes("Asia/Kathmandu")', {}, 16),
    (f'{T0}.getHours("+11:00")', {}, 10),
    (f'{T0}.getMinutes("-09:30")', {}, 1),
    (f'{T0}.getHours("02:00")', {}, 1),
    (f'{T1}.getMonth("Asia/Shanghai")', {}, 2),
    (f'{T1}.getFullYear("UTC")', {}, 2024),
    ('timestamp("2026-03-29T00:59:59Z").getHours("Europe/Berlin")', {}, 1),
    ('timestamp("2026-03-29T01:00:00Z").getHours("Europe/Berlin")', {}, 3),
    ("t.getHours()", {}, ERROR),
    ("x.getHours()", {"x": 1}, REFUSED),
    ("t.getHours(8)", {"t": 0}, REFUSED),
    (f'{T0} + duration("24h") == timestamp("2009-02-14T23:31:30Z")', {}, True),
    (f'{T0} - duration("90s") == timestamp("2009-02-13T23:30:00Z")', {}, True),
    (f'duration("1h") + {T0} > {T0}', {}, True),
    (f'{T1} - {T0} > duration("0s")', {}, True),
    ('t - timestamp("1970-01-01T00:00:00Z") == duration("1.5s")', {"t": 1500}, True),
    ('timestamp("9999-12-31T23:59:59Z") + duration("1s") > t', {"t": 0}, ERROR),
    ('timestamp("0001-01-01T00:00:00Z") - duration("1s") > t', {"t": 0}, ERROR),
    (f"{T0} + {T1} > t", {}, REFUSED),
    (f"{T0} + 1 > t", {}, REFUSED),
    ('duration("3730s").getHours()', {}, 1),
    ('duration("3730s").getMinutes()', {}, 62),
    ('duration("3730s").getSeconds()', {}, 3730),
    ('duration("1.25s").getMilliseconds()', {}, 250),
    ('duration("-90m").getHours()', {}, -1),
    ('duration("-1.5s").getSeconds()', {}, -1),
    ('duration("1h").getFullYear()', {}, REFUSED),
    ('string(duration("1h30m"))', {}, '"5400s"'),
    ('string(duration("-1.5s"))', {}, '"-1.500s"'),
    ('duration("1h") + duration("30m") == duration("90m")', {}, True),
    ('duration("1h") - duration("90m") < duration("0s")', {}, True),
)

LISTS: tuple[Case, ...] = (
    ("1 in [1, 2, 3]", {}, True),
    ("4 in [1, 2, 3]", {}, False),
    ("x in []", {"x": 1}, False),
    ("x in [1, 2]", {}, ERROR),
    ("x in [x, 2]", {"x": 7}, True),
    ("1 in [x]", {}, ERROR),
    ('"elephant" in ["horse", "elephant"]', {}, True),
    ('s in ["a", "b"]', {"s": "c"}, False),
    ("true in [false]", {}, False),
    ("0.5 in [0.25, 0.5]", {}, True),
    ("1 in 2", {}, REFUSED),
    ('1 in ["a"]', {}, REFUSED),
    ("size([])", {}, 0),
    ("size([1, 2, 3])", {}, 3),
    ("[1, 2].size()", {}, 2),
    ("size([x])", {}, ERROR),
    ("!(1 in [2])", {}, True),
)

CONVERSIONS: tuple[Case, ...] = (
    ("int(3.9)", {}, 3),
    ("int(-3.9)", {}, -3),
    ("int(11.5)", {}, 11),
    ("int(1e99)", {}, ERROR),
    ('int("987")', {}, 987),
    ('int("-42")', {}, -42),
    ('int("9223372036854775808")', {}, ERROR),
    ('int("1.5")', {}, ERROR),
    ('int("")', {}, ERROR),
    ("int(x)", {"x": 5}, 5),
    ("int(true)", {}, REFUSED),
    ("int()", {}, REFUSED),
    ("double(3)", {}, 3.0),
    ("double(2.5)", {}, 2.5),
    ('double("-1.5e2")', {}, -150.0),
    ('double("word")', {}, ERROR),
    ("double(9223372036854775807)", {}, 9223372036854775807.0),
    ("double(x) / 2.0", {"x": 5}, 2.5),
    ("double(true)", {}, REFUSED),
    ("string(true)", {}, '"true"'),
    ("string(-12)", {}, '"-12"'),
    ('string("as is")', {}, '"as is"'),
    ("string(x)", {}, ERROR),
    ('bool("true")', {}, True),
    ('bool("False")', {}, False),
    ('bool("1")', {}, True),
    ('bool("maybe")', {}, ERROR),
    ("bool(b)", {"b": False}, False),
    ("bool(1)", {}, REFUSED),
)

MACROS: tuple[Case, ...] = (
    ("[1, 2, 3].exists(e, e > 1)", {}, True),
    ("[1, 2, 3].exists(e, e > 3)", {}, False),
    ("[].exists(e, e == 2)", {}, False),
    ("[1, 2, 3].exists(e, e == x)", {"x": 2}, True),
    ("[1, 2].exists(e, e == x)", {}, ERROR),
    ("[0, 2].exists(e, 2 / e == 1)", {}, True),
    ("[0, 1].exists(e, 2 / e == 1)", {}, ERROR),
    ("[x, 1].exists(e, e == 1)", {}, ERROR),
    ("[1].exists(e, true)", {}, True),
    ("[1].exists(e, e)", {}, REFUSED),
    ("[1, 2, 3].all(e, e > 0)", {}, True),
    ("[1, 2, 3].all(e, e > 1)", {}, False),
    ("[].all(e, e > 0)", {}, True),
    ("[0, 4].all(e, 2 / e == 1)", {}, False),
    ("[0, 2].all(e, 2 / e == 1)", {}, ERROR),
    ("[1, x].all(e, e > 0)", {"x": 2}, True),
    ("[1, x].all(e, e > 5)", {}, ERROR),
    ("[7].exists_one(e, e == 7)", {}, True),
    ("[7, 8].exists_one(e, e > 8)", {}, False),
    ("[7, 7].exists_one(e, e == 7)", {}, False),
    ("[].exists_one(e, e == 7)", {}, False),
    ("[1, 2, 3].exists_one(e, e % 2 == 0)", {}, True),
    ("[0, 2].exists_one(e, 2 / e == 1)", {}, ERROR),
    ('["a", "b"].exists(p, s.startsWith(p))', {"s": "bc"}, True),
    ('["a", "b"].all(p, p.size() == 1)', {}, True),
    ("[1, 2].all(e, [e, 3].exists(f, f > 2))", {}, True),
    ("[1, 2].exists(e, [1, 2].all(f, e <= f))", {}, True),
    ("[1, 2].exists(x, x == 2)", {"x": 9}, True),
    ("[x].exists(x, x == 9)", {"x": 9}, True),
    ("[1, 2].exists(e, e == 3) || x == 9", {"x": 9}, True),
    ("e == 1 && [1].exists(e, e == 1)", {}, REFUSED),
    ("x.exists(e, e == 1)", {"x": 1}, REFUSED),
    ("[1].exists(e)", {}, REFUSED),
    ("[1].exists(1, true)", {}, REFUSED),
    ('["a"].exists(e, e == 1)', {}, REFUSED),
)

SECTIONS: Mapping[str, tuple[Case, ...]] = {
    "basic": BASIC,
    "comparisons": COMPARISONS,
    "logic": LOGIC,
    "arithmetic": ARITHMETIC,
    "string": STRINGS,
    "timestamps": TIMESTAMPS,
    "lists": LISTS,
    "conversions": CONVERSIONS,
    "macros": MACROS,
}

TYPES = {
    "x": AttributeType.INT,
    "d": AttributeType.DOUBLE,
    "s": AttributeType.STRING,
    "b": AttributeType.BOOL,
    "t": AttributeType.TIMESTAMP,
}
ENVIRONMENT: Any = cel.NewEnv(variables={name: getattr(cel.Type, kind.name) for name, kind in TYPES.items()})
CASES = [(section, *case) for section, cases in SECTIONS.items() for case in cases]


def expected(result: object) -> object:
    """A text stands in quotes."""
    return result[1:-1] if isinstance(result, str) and result.startswith('"') else result


def reference(expression: str, bindings: Mapping[str, Any]) -> object:
    try:
        compiled = ENVIRONMENT.compile(expression)
    except RuntimeError:
        return REFUSED
    values = dict(bindings)
    if "t" in values:
        values["t"] = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=values["t"])
    result = compiled.eval(data=values)
    return ERROR if result.type() == cel.Type.ERROR else result.value()


def ours(expression: str, bindings: Mapping[str, Any]) -> object:
    try:
        checked = checked_expression(expression, TYPES)
    except ConditionError:
        return REFUSED
    facts = Facts(bindings, frozenset(), 0)
    value = compile_expression(checked)(facts)
    if checked.type is Kind.BOOL:
        assert PredicateIndex.build([checked]).evaluate(facts) == (value is True)
        fold(checked.expression)
    return ERROR if value is MISSING else value


def test_the_table_covers_the_subset() -> None:
    assert len(CASES) >= 150
    assert len({(section, expression, str(bindings)) for section, expression, bindings, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("section", "expression", "bindings", "result"), CASES, ids=[f"{c[0]}: {c[1]} {c[2] or ''}" for c in CASES]
)
def test_a_case_has_its_result_here_and_in_the_reference(
    section: str, expression: str, bindings: Mapping[str, Any], result: object
) -> None:
    assert section in SECTIONS
    wanted = expected(result)
    for given in (reference(expression, bindings), ours(expression, bindings)):
        assert (type(given), given) == (type(wanted), wanted)
