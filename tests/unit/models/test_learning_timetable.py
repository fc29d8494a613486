"""When the timetable has a fit due."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from services.workers.learning_schedule import timetable_from

SHANGHAI = ZoneInfo("Asia/Shanghai")
THURSDAY_NOON = datetime(2026, 3, 5, 4, 0, tzinfo=UTC)
"""12:00 in Shanghai."""


@pytest.mark.parametrize(
    ("text", "latest"),
    [
        ("daily 03:00", datetime(2026, 3, 4, 19, 0, tzinfo=UTC)),
        ("daily 12:00", THURSDAY_NOON),
        ("daily 12:01", datetime(2026, 3, 4, 4, 1, tzinfo=UTC)),
        ("weekly thu 12:00", THURSDAY_NOON),
        ("weekly thu 13:00", datetime(2026, 2, 26, 5, 0, tzinfo=UTC)),
        ("weekly fri 00:00", datetime(2026, 2, 26, 16, 0, tzinfo=UTC)),
        ("Every  6h", datetime(2026, 3, 5, 0, 0, tzinfo=UTC)),
    ],
)
def test_the_latest_moment_is_in_the_banks_time(text: str, latest: datetime) -> None:
    timetable = timetable_from(text)
    assert timetable is not None and timetable.latest(THURSDAY_NOON, SHANGHAI) == latest


def test_no_words_are_no_timetable() -> None:
    assert timetable_from(" ") is None


@pytest.mark.parametrize(
    "text", ["hourly", "every 0h", "daily 25:00", "weekly 03:00", "daily 3:00", "weekly sun 03:60"]
)
def test_what_is_not_understood_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"03:00|00:00"):
        timetable_from(text)
