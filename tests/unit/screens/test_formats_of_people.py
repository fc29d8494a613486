"""Numbers, money and times as the screens write them."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from services.api.screens import formats

NOW = int(datetime(2026, 11, 22, 4, 0, tzinfo=UTC).timestamp() * 1000)
SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("minor", "text"),
    [
        (0, "¥0"),
        (1250, "¥12.50"),
        (123_400, "¥1,234"),
        (123_456, "¥1,235"),
        (-5_000, "-¥50"),
        (10**12, "¥10,000,000,000"),
    ],
)
def test_money_has_cents_only_where_they_say_something(minor: int, text: str) -> None:
    assert formats.money(minor, "CNY") == text


@pytest.mark.parametrize(
    ("minor", "english", "chinese"),
    [
        (123_456, "¥1.23K", "¥1,235"),
        (1_234_567_00, "¥1.23M", "¥123万"),
        (98_765_432_100, "¥988M", "¥9.88亿"),
        (-250_000_00, "-¥250K", "-¥25万"),
        (99_00, "¥99", "¥99"),
    ],
)
def test_short_money_counts_as_the_language_does(minor: int, english: str, chinese: str) -> None:
    assert formats.short_money(minor, "CNY", "en") == english
    assert formats.short_money(minor, "CNY", "zh-CN") == chinese


@pytest.mark.parametrize(
    ("at", "english", "chinese"),
    [
        ("2026-11-22T03:05:00.000Z", "11:05", "11:05"),
        ("2026-11-21T03:05:00.000Z", "21 Nov 11:05", "11月21日 11:05"),
        ("2025-11-21T03:05:00.000Z", "21 Nov 2025", "2025年11月21日"),
        (NOW, "12:00", "12:00"),
    ],
)
def test_moments_are_told_by_the_banks_clock(at: str | int, english: str, chinese: str) -> None:
    assert formats.moment(at, "en", SHANGHAI, NOW) == english
    assert formats.moment(at, "zh-CN", SHANGHAI, NOW) == chinese


def test_spans_take_the_largest_unit() -> None:
    assert formats.since(NOW - 30_000, "en", NOW) == "just now"
    assert formats.since(NOW - 3 * 3_600_000, "zh-CN", NOW) == "3 小时前"
    assert formats.length(90_000, "en") == "1 min"
    assert formats.length(12, "zh-CN") == "12 毫秒"


def test_numbers_and_shares() -> None:
    assert formats.number(1234567) == "1,234,567"
    assert formats.number(0.125) == "0.125"
    assert formats.percent(0.0345) == "3.5%"
    assert formats.short_number(12_345, "en") == "12.3K"
    assert formats.localized({"en": "Yes"}, "zh-CN") == "Yes"
    assert formats.localized(None, "en", "none") == "none"
