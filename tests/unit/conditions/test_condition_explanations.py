"""Why a condition does not hold, in words."""

import pytest

from decision_engine.conditions.check import checked_condition
from decision_engine.conditions.evaluation import Facts
from decision_engine.conditions.explain import explain_false
from decision_engine.features.definitions import AttributeType

TYPES = {
    "age": AttributeType.INT,
    "city": AttributeType.STRING,
    "vip": AttributeType.BOOL,
    "seen": AttributeType.TIMESTAMP,
}
FACTS = Facts({"age": 16, "city": "上海", "vip": False, "seen": 0}, frozenset({"gold_card"}), 86_400_000)


@pytest.mark.parametrize(
    ("text", "explanation"),
    [
        ("age >= 16", ""),
        ("age >= 18 && city == '上海'", "age >= 18: age is 16"),
        ("age >= 18 && vip", "age >= 18: age is 16; vip: vip is false"),
        ("age < 10 || age > 60", "age < 10: age is 16; age > 60: age is 16"),
        ("city in ['a']", 'city in ["a"]: city is "上海"'),
        ("!has_product('gold_card')", '!has_product("gold_card"): gold_card is held'),
        ("has_product('fund')", 'has_product("fund"): fund is not held'),
        (
            "now - seen < duration('1h')",
            'now - seen < duration("1h"): now is 1970-01-02T00:00:00Z, seen is 1970-01-01T00:00:00Z',
        ),
        ("1 > 2", "1 > 2: never holds"),
    ],
)
def test_the_failing_parts_are_named_with_the_values_they_met(text: str, explanation: str) -> None:
    assert explain_false(checked_condition(text, TYPES), FACTS) == explanation


def test_what_is_not_known_is_said_to_be() -> None:
    nothing = Facts({}, frozenset(), 0)
    assert explain_false(checked_condition("age >= 18 && !vip", TYPES), nothing) == (
        "age >= 18: age is not known; !vip: vip is not known"
    )
