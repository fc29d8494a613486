"""Conditions read out in plain words, in both languages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.conditions.parser import parse
from decision_engine.conditions.reading import Words, is_money, read_out

ENGLISH = Words(
    locale="en",
    facts={"age": "age", "city": "city", "vip": "VIP", "spend": "card spend within 30 days", "balance": "balance",
           "segment_wealthy": "“Wealthy”", "context.page": "page"},
    products={"gold_card": "the Gold Card"},
    memberships=frozenset({"segment_wealthy"}),
    money=frozenset({"spend", "balance"}),
    currency="CNY",
)  # fmt: skip
CHINESE = Words(
    locale="zh-CN",
    facts={"age": "年龄", "city": "城市", "vip": "贵宾", "spend": "近30天卡消费金额", "segment_wealthy": "“财富客群”"},
    products={"gold_card": "“金卡”"},
    memberships=frozenset({"segment_wealthy"}),
    money=frozenset({"spend"}),
    currency="元",
)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("age >= 18 && spend >= 500000", "age is at least 18 and card spend within 30 days is at least 5,000.00 CNY"),
        ("18 < age", "age is more than 18"),
        ("!(age >= 18)", "age is less than 18"),
        ('city in ["a", "b", "c"]', "city is one of “a”, “b” or “c”"),
        ('!(city in ["a"])', "city is none of “a”"),
        ('city != "a" || vip', "city is not “a” or VIP: yes"),
        ("!vip", "VIP: no"),
        ("vip == false", "VIP: no"),
        ("has(age)", "age is known"),
        ("!has(age) || age < 3", "age is not known or age is less than 3"),
        ("!(has(vip) && vip)", "VIP is not known or VIP: no"),
        ('has_product("gold_card")', "the customer holds the Gold Card"),
        ('!has_product("gold_card")', "the customer does not hold the Gold Card"),
        ("segment_wealthy && !segment_wealthy",
         "the customer belongs to “Wealthy” and the customer does not belong to “Wealthy”"),
        ("(age > 1 || vip) && age < 3", "(age is more than 1 or VIP: yes) and age is less than 3"),
        ("spend * 2 <= max(balance, 100)",
         "card spend within 30 days × 2 is at most the largest of balance and 1.00 CNY"),
        ("spend + balance > 1000000", "card spend within 30 days + balance is more than 10,000.00 CNY"),
        ("(age + 1) * 2 == 4", "(age + 1) × 2 is 4"),
        ('context.page == "cards"', "page is “cards”"),
        ('city.startsWith("sh")', "city begins with “sh”"),
        ('!city.contains("sh")', "city does not contain “sh”"),
        ("vip ? age > 1 : age > 2", "if VIP: yes, then age is more than 1, otherwise age is more than 2"),
        ('now > timestamp("2026-01-01T00:00:00Z")', "now is more than 2026-01-01T00:00:00Z"),
        ("now.getHours() >= 9", "the hour of now is at least 9"),
        ("true", "always"),
        ("unheard_of == 1.5", "unheard_of is 1.5"),
    ],
)  # fmt: skip
def test_a_condition_in_english(condition: str, said: str) -> None:
    assert read_out(parse(condition), ENGLISH) == said


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("age >= 18 && spend >= 500000", "年龄不低于 18，且近30天卡消费金额不低于 5,000.00 元"),
        ('city in ["a", "b"]', "城市为“a”或“b”之一"),
        ('!has_product("gold_card") || !vip', "客户未持有“金卡”，或贵宾：否"),
        ("segment_wealthy", "客户属于“财富客群”"),
        ("(age > 1 || vip) && age < 3", "（年龄大于 1，或贵宾：是），且年龄小于 3"),
    ],
)
def test_a_condition_in_chinese(condition: str, said: str) -> None:
    assert read_out(parse(condition), CHINESE) == said


def test_amounts_are_told_from_numbers() -> None:
    money = frozenset({"spend", "balance"})
    assert is_money(parse("spend - balance"), money)
    assert is_money(parse("2 * spend"), money)
    assert is_money(parse("max(spend, 10)"), money)
    assert not is_money(parse("spend / balance"), money)
    assert not is_money(parse("spend + age"), money)
    assert not is_money(parse("spend * balance"), money)


ATOMS = st.sampled_from(
    ["age >= 18", "vip", "!vip", 'city == "a"', "spend < 5", "has(age)", 'has_product("gold_card")']
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})")
        | inner.map(lambda p: f"!({p})")
    ),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(CONDITIONS)
def test_whatever_is_written_is_read_without_the_signs_of_the_language(condition: str) -> None:
    for words in (ENGLISH, CHINESE):
        said = read_out(parse(condition), words)
        assert said.strip()
        assert not {"&&", "||", "!=", "==", ">=", "has_product"} & set(said.split())
        assert said.count("(") == said.count(")")
        assert said.count("（") == said.count("）")
