"""Moments as the wire writes them."""

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=1024)  # one decision writes the same few moments again and again
def rfc3339(epoch_ms: int) -> str:
    """`2026-11-21T09:30:00.123Z` of epoch milliseconds."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")[:23] + "Z"


def epoch_ms(text: str) -> int:
    """Epoch milliseconds of an RFC 3339 text with an offset."""
    moment = datetime.fromisoformat(text).astimezone(UTC)
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000
