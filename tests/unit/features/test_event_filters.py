"""The filters of an event type, evaluated together."""

from itertools import product

import pytest

from decision_engine.features import filters
from decision_engine.features.definitions import AttributeType
from decision_engine.features.filters import compile_filters

TYPES = {
    "kind": AttributeType.STRING,
    "direction": AttributeType.STRING,
    "amount": AttributeType.INT,
    "at": AttributeType.TIMESTAMP,
}
WORDS = ('direction == "debit"', 'kind == "card" && direction != "credit"', 'kind in ["fee", "salary"]')
NUMBERS = ("amount >= 100", 'kind == "card" && amount < 50')
MIXED = (NUMBERS[0], WORDS[0], "", WORDS[1], NUMBERS[1], WORDS[2])


def each_alone(wheres: tuple[str, ...], values: dict[str, object]) -> int:
    """Every filter by itself, so that nothing is shared."""
    return sum(compile_filters([where], TYPES)(values, 0) << bit for bit, where in enumerate(wheres))  # type: ignore[arg-type]


def events() -> list[dict[str, object]]:
    kinds, directions, amounts = ("card", "fee", None), ("debit", "credit", None), (10, 100, None)
    found = product(kinds, directions, amounts)
    return [
        {name: value for name, value in zip(("kind", "direction", "amount"), values, strict=True) if value is not None}
        for values in found
    ]


@pytest.mark.parametrize("wheres", [WORDS, NUMBERS, MIXED, ("",), (*WORDS, "")])
def test_together_they_pass_what_each_passes_alone_also_when_asked_again(wheres: tuple[str, ...]) -> None:
    together = compile_filters(wheres, TYPES)

    for values in [*events(), *events()]:
        assert together(values, 0) == each_alone(wheres, values)  # type: ignore[arg-type]


def test_more_combinations_than_are_remembered_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MAX_REMEMBERED", 3)
    together = compile_filters(WORDS, TYPES)

    assert [together(values, 0) for values in events()] == [each_alone(WORDS, values) for values in events()]


def test_the_time_of_the_event_is_never_remembered() -> None:
    together = compile_filters(['now >= timestamp("2026-01-01T00:00:00Z") && kind == "card"'], TYPES)

    assert [together({"kind": "card"}, at) for at in (0, 1_800_000_000_000, 0)] == [0, 1, 0]


def test_a_word_of_another_type_passes_nothing() -> None:
    together = compile_filters(['kind == "1"'], TYPES)

    assert [together({"kind": kind}, 0) for kind in ("1", 1, True, None)] == [1, 0, 0, 0]
