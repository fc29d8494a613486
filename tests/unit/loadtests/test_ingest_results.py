"""What the ingest measurements make of their figures, and the events they feed."""

from dataclasses import replace

from event_schemas.plain import decode_plain
from loadtests.bench_ingest import Rate, ingest_result, quix_verdicts, rate_verdicts
from loadtests.ingest_hour import events
from loadtests.ingest_hour_verdicts import Course, Minute, hour_result

RATE = Rate(name="Kairos", guarantee="exactly once", events_a_second=30_000, processor_us=30, lowest=1, highest=2)
COURSE = Course(rate=1_000, seconds=3_600, speed=20.0, customers=50, ahead=None)


def hour(*, us: float = 40.0, growth: float = 0.0, lag: int = 1_000, slow_from: int = 61) -> list[Minute]:
    found, processor = [], 0.0
    for number in range(61):
        processor += 60_000 * (us if number < slow_from else 10 * us) / 1e6
        found.append(
            Minute(
                applied=60_000 * number,
                lag=lag,
                wall=3.0 * number,
                processor=processor,
                builder_mib=200 * (1 + growth * number / 60),
                store_mib=100,
            )
        )
    return found


def test_a_rate_is_judged_by_processor_seconds() -> None:
    assert [verdict.holds for verdict in rate_verdicts({"hundred": RATE})] == [True]
    assert [verdict.holds for verdict in rate_verdicts({"hundred": replace(RATE, processor_us=51)})] == [False]


def test_twice_quix_streams_must_hold_by_the_wall_and_by_the_processor_with_the_store_counted() -> None:
    quix = replace(RATE, name="Quix Streams", events_a_second=15_000, processor_us=60)

    assert [verdict.holds for verdict in quix_verdicts({"hourly": RATE, "quix_exactly": quix})] == [True]
    slower = replace(RATE, store_us=1)
    assert [verdict.holds for verdict in quix_verdicts({"hourly": slower, "quix_exactly": quix})] == [False]
    rarer = replace(RATE, events_a_second=29_999)
    assert [verdict.holds for verdict in quix_verdicts({"hourly": rarer, "quix_exactly": quix})] == [False]


def test_without_quix_streams_nothing_is_claimed_about_it() -> None:
    assert quix_verdicts({"hourly": RATE, "hundred": RATE}) == []


def test_the_result_has_a_row_for_each_contestant() -> None:
    result = ingest_result({"hourly": RATE, "hundred": replace(RATE, name="other")})

    assert [row[0] for row in result.tables[0].rows] == ["Kairos", "other"]
    assert result.figures == {"us_an_event_hourly": 30, "us_an_event_hundred": 30}


def test_an_hour_is_held_when_rate_memory_and_lag_are() -> None:
    result = hour_result(COURSE, hour())

    assert [verdict.holds for verdict in result.verdicts] == [True, True, True]


def test_one_slow_tenth_is_enough_to_miss_the_rate() -> None:
    assert not hour_result(COURSE, hour(slow_from=55)).verdicts[0].holds


def test_memory_that_grows_is_a_miss() -> None:
    assert not hour_result(COURSE, hour(growth=0.2)).verdicts[1].holds


def test_lag_is_judged_only_where_the_clock_fed() -> None:
    late = hour(lag=200_000)

    assert not hour_result(COURSE, late).verdicts[2].holds
    assert len(hour_result(replace(COURSE, ahead=60_000), late).verdicts) == 2


def test_an_hour_that_was_not_applied_whole_is_a_miss() -> None:
    assert not hour_result(COURSE, hour()[:-1]).verdicts[0].holds


def test_fed_events_are_readable_each_its_own_in_the_order_of_time() -> None:
    course = Course(rate=10, seconds=3, speed=1.0, customers=4, ahead=None)
    found = [decode_plain(event.value) for event in events(course)]

    assert len({event.id for event in found}) == 30
    assert [event.time_ms for event in found] == sorted(event.time_ms for event in found)
    assert found[-1].time_ms - found[0].time_ms == 2_900
    assert all(event.subject == outgoing.key for event, outgoing in zip(found, events(course), strict=True))
