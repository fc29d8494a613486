"""What the reasoning calls impossible, certain or implied is so for everyone in a small world, tried one by one."""

from collections.abc import Iterator
from itertools import product
from random import Random

from decision_engine.conditions.check import CheckedExpression, checked_condition
from decision_engine.conditions.evaluation import Facts, compile_expression
from decision_engine.conditions.reasoning import Reasoner
from decision_engine.conditions.requirements import alternatives_of
from decision_engine.features.definitions import AttributeType, Value

TYPES = {
    "age": AttributeType.INT,
    "share": AttributeType.DOUBLE,
    "city": AttributeType.STRING,
    "level": AttributeType.STRING,
    "vip": AttributeType.BOOL,
    "seen": AttributeType.TIMESTAMP,
}
LEVELS = ("low", "high")
REASONER = Reasoner({"level": LEVELS})
CONDITIONS = 600
WORLD: dict[str, tuple[Value | None, ...]] = {
    "age": (None, -1, 0, 1, 2, 3),
    "share": (None, 0.0, 0.25, 1.0, 2.5),
    "city": (None, "", "a", "ab", "c"),
    "level": (None, *LEVELS),
    "vip": (None, True, False),
    "seen": (None, 0, 7_200_000),
}
TIMES = (3_600_000, 9_000_000)
ATOMS = (
    "age {c} {i}", "age {c} {i}", "age {c} {i}.5", "{i} {c} age", "age in [{i}, {i}]", "age in []", "age + 1 {c} {i}",
    "age {c} share", "share {c} {i}.25", "share {c} {i}", 'city == "{t}"', 'city != "{t}"', 'city in ["{t}", "{t}"]',
    'city.startsWith("{t}")', 'city.contains("{t}")', 'city < "{t}"', "size(city) {c} {i}", 'level == "{l}"',
    'level != "{l}"', 'level in ["{l}"]', "vip", "vip == {b}", "has(age)", "has(city)", "has(share)", "has(vip)",
    'has_product("gold")', 'now - seen > duration("{i}h")', 'now > timestamp("1970-01-01T0{i}:00:00Z")',
    'seen < timestamp("1970-01-01T0{i}:30:00Z")', "1 / 0 > {i}", "true", "false", "(vip ? age : 0) {c} {i}",
    "now.getHours() {c} {i}", "seen.getDate() {c} {i}", "(now - seen).getMinutes() {c} {i}",
    "seen.getDayOfYear() {c} {i}", '["a", "{t}"].exists(x, city == x)', "(vip && has(age)) == {b}",
)  # fmt: skip


def condition(random: Random, depth: int) -> str:
    if depth == 0 or random.random() < 0.3:
        atom = random.choice(ATOMS)
        while "{" in atom:
            atom = atom.replace("{c}", random.choice(["<", "<=", ">", ">=", "==", "!="]), 1)
            atom = atom.replace("{i}", str(random.randint(0, 3)), 1).replace("{t}", random.choice(["", "a", "ab"]), 1)
            atom = atom.replace("{l}", random.choice(LEVELS), 1).replace("{b}", random.choice(["true", "false"]), 1)
        return atom
    parts = [f"({condition(random, depth - 1)})" for _ in range(random.randint(2, 3))]
    kinds = [" && ".join(parts), " && ".join(parts), " || ".join(parts), f"!{parts[0]}"]
    return random.choice([*kinds, f"{parts[0]} ? {parts[1]} : {parts[-1]}"])


def everyone() -> Iterator[Facts]:
    for values in product(*WORLD.values()):
        known = {name: value for name, value in zip(WORLD, values, strict=True) if value is not None}
        number = len(known)
        yield Facts(known, frozenset({"gold"} if number % 2 else ()), TIMES[number % 3 == 0])


EVERYONE = tuple(everyone())[::2]
ALL = (1 << len(EVERYONE)) - 1


def whom_it_holds_for(checked: CheckedExpression) -> int:
    holds = compile_expression(checked)
    return sum(1 << number for number, facts in enumerate(EVERYONE) if holds(facts) is True)


def test_no_possible_condition_is_called_impossible_and_no_uncertain_one_certain() -> None:
    random = Random(20261121)
    never = always = 0
    for _ in range(CONDITIONS):
        text = condition(random, random.randint(0, 3))
        checked = checked_condition(text, TYPES)
        alternatives = alternatives_of(checked)
        if alternatives is None:
            continue
        held = whom_it_holds_for(checked)
        if not REASONER.possible(alternatives):
            never += 1
            assert held == 0, text
        if REASONER.certain(alternatives):
            always += 1
            assert held == ALL, text
    assert never > 40, "the conditions must show what is tested"
    assert always > 5


def test_what_is_called_implied_or_exclusive_is_so_for_everyone() -> None:
    random = Random(7)
    texts = [condition(random, random.randint(0, 2)) for _ in range(160)]
    checked = [checked_condition(text, TYPES) for text in texts]
    prepared = [(text, alternatives_of(c), whom_it_holds_for(c)) for text, c in zip(texts, checked, strict=True)]
    implied = exclusive = 0
    for (first, one, holds_for_one), (second, other, holds_for_other) in product(prepared, repeat=2):
        if one is None or other is None:
            continue
        if REASONER.implies(one, other):
            implied += 1
            assert holds_for_one & ~holds_for_other == 0, (first, second)
        if not REASONER.joined(one, other):
            exclusive += 1
            assert holds_for_one & holds_for_other == 0, (first, second)
    assert implied > 1_000
    assert exclusive > 1_000
