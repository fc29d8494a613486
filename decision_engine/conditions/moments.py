"""The texts inside `timestamp("…")` and `duration("…")`, as whole milliseconds."""

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})"
)  # fmt: skip
_DURATION = re.compile(r"([+-]?)((?:\d+(?:\.\d+)?(?:h|m|s|ms|us|ns))+|0)")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)")
_MILLISECONDS = {
    "h": Fraction(3_600_000), "m": Fraction(60_000), "s": Fraction(1_000),
    "ms": Fraction(1), "us": Fraction(1, 1_000), "ns": Fraction(1, 1_000_000),
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST_DURATION_MS = 315_576_000_000_000
"""Ten thousand years in milliseconds, CEL's bound."""
FIRST_MOMENT_MS = -62_135_596_800_000
"""The beginning of the year 1, CEL's bound."""
LAST_MOMENT_MS = 253_402_300_799_999
"""The end of the year 9999, CEL's bound."""


def timestamp_ms(text: str) -> int | None:
    """Epoch milliseconds of an RFC 3339 moment with its offset (finer parts are cut off), or None."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    date, time, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{time}{'+00:00' if offset in 'Zz' else offset}")
        whole = (moment - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None
    return whole + int(Fraction(fraction or "0") * 1_000)


def duration_ms(text: str) -> int | None:
    """Milliseconds of a duration such as `24h`, `1h30m`, `-90s`, `1.5h` (finer parts are cut off), or None."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    parts = _DURATION_PART.findall(match.group(2))
    total = sum((Fraction(number) * _MILLISECONDS[unit] for number, unit in parts), Fraction())
    if total > LARGEST_DURATION_MS:
        return None
    return -int(total) if match.group(1) == "-" else int(total)
