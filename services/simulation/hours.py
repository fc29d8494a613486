"""Hours of the bank's day."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def hour_of(at_ms: int, zone: ZoneInfo) -> float:
    """The local hour with its fraction: 13.5 is half past one in the afternoon."""
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    return local.hour + local.minute / 60
