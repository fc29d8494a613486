"""An hour that comes twice in autumn is one moment of the timetable."""

from datetime import datetime
from zoneinfo import ZoneInfo

from services.workers.learning_schedule import timetable_from


def test_the_hour_that_comes_twice_is_fitted_in_once() -> None:
    timetable, zone = timetable_from("daily 02:30"), ZoneInfo("Europe/Berlin")
    assert timetable is not None
    first = datetime.fromisoformat("2026-10-25T00:30:00+00:00")
    for now in ("2026-10-25T00:31:00+00:00", "2026-10-25T01:31:00+00:00", "2026-10-25T22:00:00+00:00"):
        assert timetable.latest(datetime.fromisoformat(now), zone) == first
