"""ULIDs: well-formed, unique, rising."""

import re

import pytest

from services.adapters import ulid_ids
from services.adapters.system_clock import SystemClock
from services.adapters.ulid_ids import UlidIds, encode_ulid


def test_ids_rise_strictly_and_are_well_formed() -> None:
    ids = UlidIds()
    made = [ids.new_id() for _ in range(5_000)]
    assert made == sorted(set(made))
    assert all(re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", one) for one in made)


def test_the_first_ten_characters_are_the_moment() -> None:
    before = SystemClock().now_ms()
    made = UlidIds().new_id()
    after = SystemClock().now_ms()
    assert encode_ulid(before << 80)[:10] <= made[:10] <= encode_ulid(after << 80)[:10]


def test_a_clock_that_steps_back_does_not_break_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([2_000_000_000_000_000_000, 1_000_000_000_000_000_000, 1_500_000_000_000_000_000])
    monkeypatch.setattr(ulid_ids.time, "time_ns", lambda: next(moments))
    ids = UlidIds()
    made = [ids.new_id() for _ in range(3)]
    assert made == sorted(set(made))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0" * 26), (1, "0" * 25 + "1"), (31, "0" * 25 + "Z"), (32, "0" * 24 + "10"), (2**128 - 1, "7" + "Z" * 25)],
)
def test_the_encoding_is_crockfords(value: int, text: str) -> None:
    assert encode_ulid(value) == text
