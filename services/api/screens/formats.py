"""Numbers, money and times as people read them, in the languages of the screens."""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo

from services.use_cases.wire_time import epoch_ms

_SYMBOLS = {"CNY": "¥", "USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "HKD": "HK$", "CZK": "Kč "}
_WHOLE_FROM_MINOR = 100_000
"""From a thousand on, the cents say nothing."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MINUTE_MS, _HOUR_MS, _DAY_MS = 60_000, 3_600_000, 86_400_000
_SPANS = {
    "en": {"now": "just now", "minutes": "{n} min ago", "hours": "{n} h ago", "days": "{n} d ago"},
    "zh-CN": {"now": "刚刚", "minutes": "{n} 分钟前", "hours": "{n} 小时前", "days": "{n} 天前"},
}
_LENGTHS = {
    "en": {"ms": "{n} ms", "seconds": "{n} s", "minutes": "{n} min", "hours": "{n} h", "days": "{n} d"},
    "zh-CN": {"ms": "{n} 毫秒", "seconds": "{n} 秒", "minutes": "{n} 分钟", "hours": "{n} 小时", "days": "{n} 天"},
}


def money(minor: float, currency: str) -> str:
    """An amount in minor units, `¥1,234`; with its cents where it is small."""
    digits = 0 if abs(minor) >= _WHOLE_FROM_MINOR or minor % 100 == 0 else 2
    sign = "-" if minor < 0 else ""
    return f"{sign}{_SYMBOLS.get(currency, currency + ' ')}{abs(minor) / 100:,.{digits}f}"


def short_money(minor: float, currency: str, locale: str) -> str:
    """An amount in minor units in as little space as possible: `¥1.2M`, `¥123万`."""
    symbol = _SYMBOLS.get(currency, currency + " ")
    return ("-" if minor < 0 else "") + symbol + short_number(round(abs(minor) / 100, 2), locale)


def short_number(value: float, locale: str) -> str:
    """Three significant digits and a unit of the language: `12.3K`, `1.23万`."""
    steps = ((1e8, "亿"), (1e4, "万")) if locale.startswith("zh") else ((1e9, "B"), (1e6, "M"), (1e3, "K"))
    size = abs(value)
    for step, unit in steps:
        if size >= step:
            scaled = value / step
            return f"{scaled:,.0f}{unit}" if abs(scaled) >= 100 else f"{scaled:.3g}{unit}"
    return number(value, 0 if size >= 100 else None)


def number(value: float, digits: int | None = None) -> str:
    """With thousands separators; without digits given, as many as mean something, four after the point at most."""
    if digits is not None:
        return f"{value:,.{digits}f}"
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def percent(share: float, digits: int = 1) -> str:
    """A share of one as a percentage."""
    return f"{100 * share:.{digits}f}%"


def moment(at: str | int, locale: str, zone: tzinfo, now_ms: int) -> str:
    """A point in time (RFC 3339 or epoch milliseconds) by the bank's clock: today without its date, this year without
    its year."""
    at_ms = epoch_ms(at) if isinstance(at, str) else at
    then, now = (datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone) for ms in (at_ms, now_ms))
    clock = f"{then:%H:%M}"
    if then.date() == now.date():
        return clock
    chinese = locale.startswith("zh")
    day = f"{then.month}月{then.day}日" if chinese else f"{then.day} {_MONTHS[then.month - 1]}"
    if then.year != now.year:
        return f"{then.year}年{day}" if chinese else f"{day} {then.year}"
    return f"{day} {clock}"


def since(at: str | int, locale: str, now_ms: int) -> str:
    """How long ago a point in time was, in one unit."""
    age = max(0, now_ms - (epoch_ms(at) if isinstance(at, str) else at))
    words = _SPANS[locale]
    for unit, size in (("days", _DAY_MS), ("hours", _HOUR_MS), ("minutes", _MINUTE_MS)):
        if age >= size:
            return words[unit].format(n=age // size)
    return words["now"]


def length(ms: float, locale: str) -> str:
    """A length of time in one unit."""
    words = _LENGTHS[locale]
    for unit, size in (("days", _DAY_MS), ("hours", _HOUR_MS), ("minutes", _MINUTE_MS), ("seconds", 1000)):
        if ms >= size:
            return words[unit].format(n=int(ms // size))
    return words["ms"].format(n=int(ms))


def localized(texts: Mapping[str, str] | None, locale: str, default: str = "") -> str:
    """The text of the locale, else any that there is."""
    if not texts:
        return default
    return texts.get(locale) or next(iter(texts.values()))
