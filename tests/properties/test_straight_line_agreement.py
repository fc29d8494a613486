"""Expressions computed together in straight lines have the values their closures have, whatever is known."""

from random import Random

import pytest

from decision_engine.conditions.check import checked_expression
from decision_engine.conditions.evaluation import MISSING, Facts, compile_expression
from decision_engine.conditions.straight_line import Assignment, compile_assignments
from decision_engine.features.definitions import AttributeType
from loadtests.condition_world import TYPES, Conditions, random_facts

BATCHES, TOGETHER, MANY_FACTS = 40, 25, 12
KINDS = ("boolean", "integer", "double", "text", "moment", "span", "comparison", "conjunction", "choice")


def written(facts, names, compute):
    values = dict(facts.values)
    compute(values, facts.holdings, facts.now_ms)
    return {name: values.get(name, MISSING) for name in names}


@pytest.mark.parametrize("cel_only", [False, True])
def test_lines_agree_with_closures_in_value_and_type(cel_only):
    random = Random(19)
    conditions = Conditions(random, cel=cel_only)
    seen = {"known": 0, "missing": 0}
    for _ in range(BATCHES):
        texts = {f"r{n}": getattr(conditions, random.choice(KINDS))(4) for n in range(TOGETHER)}
        checked = {name: checked_expression(text, TYPES) for name, text in texts.items()}
        compute = compile_assignments([Assignment(name, one, as_double=False) for name, one in checked.items()])
        for _ in range(MANY_FACTS):
            facts = random_facts(random, cel=cel_only)
            found = written(facts, texts, compute)
            for name, one in checked.items():
                wanted = compile_expression(one)(facts)
                assert type(found[name]) is type(wanted), (texts[name], facts)
                assert repr(found[name]) == repr(wanted), (texts[name], facts)
                seen["missing" if wanted is MISSING else "known"] += 1
    assert min(seen.values()) > sum(seen.values()) * 0.1, "the expressions must not all end alike"


def test_what_was_assigned_is_what_later_expressions_read():
    types = {**TYPES, "half": AttributeType.DOUBLE, "wide": AttributeType.BOOL}
    texts = {"half": "age / 2", "wide": 'half > 10.0 && !has_product("x")', "both": "has(half) && wide"}
    checked = {name: checked_expression(text, types) for name, text in texts.items()}
    compute = compile_assignments([Assignment(name, one, as_double=name == "half") for name, one in checked.items()])
    values = {"age": 43}
    compute(values, frozenset(), 0)
    assert values == {"age": 43, "half": 21.0, "wide": True, "both": True}
    assert type(values["half"]) is float
    unknown = {}
    compute(unknown, frozenset({"x"}), 0)
    assert unknown == {"wide": False, "both": False}


def test_names_and_texts_are_never_code():
    kinds = {'a"]; boom(': AttributeType.STRING, "context.page": AttributeType.STRING}
    text = """context.page == "\\"]; boom(" ? 1 : 2"""
    compute = compile_assignments([Assignment('a"]; boom(', checked_expression(text, kinds), as_double=False)])
    values = {"context.page": '"]; boom('}
    compute(values, frozenset(), 0)
    assert values['a"]; boom('] == 1


def test_a_long_nest_of_choices_and_divisions_is_computed():
    text = "count"
    for number in range(12):
        text = f"(count > {number} ? ({text}) / (count - {number}) : {number})"
    checked = checked_expression(text, TYPES)
    compute = compile_assignments([Assignment("deep", checked, as_double=False)])
    for count in range(-3, 70):
        values = {"count": count}
        compute(values, frozenset(), 0)
        wanted = compile_expression(checked)(Facts({"count": count}, frozenset(), 0))
        assert values.get("deep", MISSING) == wanted
