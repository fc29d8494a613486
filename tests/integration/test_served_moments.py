"""The measurement behind "online equals offline": what it compares, and that it would see a difference."""

import random
from pathlib import Path

import pytest

from loadtests.moment_banks import DELAY_MS, Bank, berka_bank, disturbed
from loadtests.oracle_aggregates import About
from loadtests.served_moments import Agreement, Comparison, equal, measure, stops
from services.ports import OutgoingEvent
from services.simulation.cloud_events import TimedEvent


@pytest.fixture
def bank(tiny_berka: Path) -> Bank:
    return berka_bank(tiny_berka)


def timed(number: int) -> TimedEvent:
    return TimedEvent(1_000 * number, OutgoingEvent(topic="t", key="retail:1", value=b"%d" % number))


@pytest.mark.servers
async def test_a_small_bank_is_served_as_its_raw_events_say(bank: Bank) -> None:
    found = await measure(bank, moments=12)

    assert found.differences == []
    assert found.moments == 12
    assert found.compared > 12 * 200


@pytest.mark.parametrize(
    ("online", "offline", "same"),
    [
        (3, 3, True),
        (3, 4, False),
        (None, 0, False),
        (True, 1, False),
        (0.1 + 0.2, 0.3, True),
        (0.3001, 0.3, False),
        (2, 2.0, True),
        ("a", "b", False),
        (290, About(300), True),
        (150, About(300), False),
    ],
)
def test_values_are_compared_by_their_kind(online: object, offline: object, same: bool) -> None:
    assert equal(online, offline) is same


def test_disturbed_events_arrive_after_they_happened_some_twice_and_none_is_lost() -> None:
    events = [timed(number) for number in range(2_000)]
    arrivals = disturbed(iter(events), random.Random(1))

    assert {one.event.value for one in arrivals} == {one.event.value for one in events}
    assert len(arrivals) > len(events)
    assert [one.at_ms for one in arrivals] == sorted(one.at_ms for one in arrivals)
    happened = [1_000 * int(one.event.value or b"") for one in arrivals]
    assert happened != sorted(happened)
    assert all(0 <= one.at_ms - at <= DELAY_MS + 60_000 for one, at in zip(arrivals, happened, strict=True))


def test_stops_are_spread_over_the_whole_log() -> None:
    found = stops([timed(number) for number in range(1_000)], 10, random.Random(1))

    assert found == sorted(found)
    assert found[0] < 150_000
    assert found[-1] > 850_000


def test_a_wrong_value_is_told_with_customer_moment_and_both_values() -> None:
    found = Agreement(bank="any")
    Comparison.note(found, "retail:1 at 5", {"a": 1, "b": 2, "extra": 0}, {"a": 1, "b": 3, "gone": "x"})

    assert found.compared == 4
    assert found.differences == [
        "retail:1 at 5 b: served 2, expected 3",
        "retail:1 at 5 extra: served 0, expected None",
        "retail:1 at 5 gone: served None, expected 'x'",
    ]
    assert "3 differences" in found.summary()
