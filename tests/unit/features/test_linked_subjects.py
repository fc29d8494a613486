"""Households and companies: what a customer has from the states of those it is linked to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_engine.customer import UNKNOWN_CUSTOMER, CustomerSnapshot
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.features.linked import (
    Combine,
    Link,
    LinkedAttribute,
    LinkKind,
    LinkRef,
    combined,
    links_of,
    members_of,
    read_linked,
    type_of,
)

HOUSEHOLD = Link(name="household", kind=LinkKind.TOGETHER, attribute="household_id", most=4)
COMPANY = Link(name="company", kind=LinkKind.TO, attribute="company_id", most=1)
OURS = LinkRef(HOUSEHOLD, "h1")


def person(
    household: str | None = "h1", consents: dict[str, bool] | None = None, **attributes: Value
) -> CustomerSnapshot:
    if household is not None:
        attributes["household_id"] = household
    return CustomerSnapshot(known=True, attributes=attributes, consents=consents or {})


def linked(combine: Combine, attribute: str | None = "balance", link: str = "household") -> LinkedAttribute:
    return LinkedAttribute(
        name="it",
        link=link,
        combine=combine,
        attribute=attribute,
        type=AttributeType.INT,
        theme="basic",
        description={},
    )


def test_the_household_is_the_customer_and_those_with_the_same_id() -> None:
    anna, ben, moved = person(balance=5), person(balance=7), person("h2", balance=100)
    assert members_of(OURS, anna, [ben, moved, UNKNOWN_CUSTOMER], shares_by_default=True) == [anna, ben]


def test_who_refuses_personalisation_gives_nothing_and_gets_nothing() -> None:
    refuses = person(consents={"personalisation": False}, balance=7)
    anna = person(balance=5)
    assert members_of(OURS, anna, [refuses], shares_by_default=True) == [anna]
    assert links_of([HOUSEHOLD], refuses, shares_by_default=True) == ()
    assert links_of([HOUSEHOLD], anna, shares_by_default=True) == (OURS,)


def test_silence_means_what_the_strategy_says_it_means() -> None:
    anna, silent, agrees = person(), person(), person(consents={"personalisation": True})
    assert members_of(OURS, anna, [silent, agrees], shares_by_default=False) == [anna, agrees]
    assert links_of([HOUSEHOLD], silent, shares_by_default=False) == ()
    assert links_of([HOUSEHOLD], agrees, shares_by_default=False) == (OURS,)


def test_no_more_members_are_read_than_the_link_allows() -> None:
    anna = person()
    assert len(members_of(OURS, anna, [person() for _ in range(9)], shares_by_default=True)) == 4


def test_a_link_to_a_company_takes_the_companys_own_values() -> None:
    company = CustomerSnapshot(known=True, attributes={"signals": 3})
    ref = LinkRef(COMPANY, "corp:1")
    members = members_of(ref, person(company_id="corp:1"), [company], shares_by_default=True)
    assert combined(linked(Combine.VALUE, "signals", "company"), members) == 3
    assert members_of(ref, person(company_id="corp:1"), [UNKNOWN_CUSTOMER], shares_by_default=True) == []


def test_an_empty_id_is_no_link() -> None:
    assert links_of([HOUSEHOLD, COMPANY], person(""), shares_by_default=True) == ()


@pytest.mark.parametrize(
    ("combine", "values", "expected"),
    [
        (Combine.SUM, [5, None, 7], 12),
        (Combine.MEAN, [5, None, 8], 6.5),
        (Combine.MIN, [5, 7], 5),
        (Combine.MAX, [5, 7], 7),
        (Combine.ANY, [False, None, True], True),
        (Combine.ALL, [True, None, True], True),
        (Combine.ALL, [True, False], False),
        (Combine.COUNT, [True, False, None, True], 2),
        (Combine.COUNT, [None], 0),
        (Combine.SUM, [None, None], None),
    ],
)
def test_values_are_combined_over_those_who_have_one(
    combine: Combine, values: list[Value | None], expected: Value | None
) -> None:
    members = [person(**({} if value is None else {"balance": value})) for value in values]
    assert combined(linked(combine), members) == expected


def test_a_count_of_nothing_in_particular_counts_the_members() -> None:
    assert combined(linked(Combine.COUNT, None), [person(), person()]) == 2


def test_what_was_not_read_is_missing_rather_than_nothing() -> None:
    assert read_linked([linked(Combine.SUM)], {}) == {}
    assert read_linked([linked(Combine.SUM)], {"household": [person()]}) == {}


@pytest.mark.parametrize(
    ("combine", "of", "expected"),
    [
        (Combine.SUM, AttributeType.INT, AttributeType.INT),
        (Combine.SUM, AttributeType.STRING, None),
        (Combine.MEAN, AttributeType.INT, AttributeType.DOUBLE),
        (Combine.ANY, AttributeType.BOOL, AttributeType.BOOL),
        (Combine.ANY, AttributeType.INT, None),
        (Combine.MAX, AttributeType.TIMESTAMP, AttributeType.TIMESTAMP),
        (Combine.COUNT, None, AttributeType.INT),
        (Combine.COUNT, AttributeType.STRING, None),
        (Combine.VALUE, AttributeType.STRING, AttributeType.STRING),
    ],
)
def test_the_type_of_a_combination(combine: Combine, of: AttributeType | None, expected: AttributeType | None) -> None:
    assert type_of(combine, of) is expected


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_members_never_matters(balances: list[int], shuffler) -> None:  # type: ignore[no-untyped-def]
    members = [person(balance=balance) for balance in balances]
    shuffled = list(members)
    shuffler.shuffle(shuffled)
    for combine in (Combine.SUM, Combine.MIN, Combine.MAX, Combine.MEAN):
        assert combined(linked(combine), members) == combined(linked(combine), shuffled)
