"""Thresholds that fail a run, how they are written, and how the highest rate that holds is looked for."""

from itertools import count

import pytest

from loadtests.open_loop.histogram import LatencyHistogram
from loadtests.open_loop.load import Finding
from loadtests.open_loop.search import NothingHolds, highest_rate
from loadtests.open_loop.tally import Outcome, Tally
from loadtests.open_loop.thresholds import ThresholdUnreadable, judge, threshold_of


def outcome(milliseconds: float = 10.0, **overrides) -> Outcome:
    values = {
        "result": "200",
        "accepted": True,
        "degraded": False,
        "retry_after": False,
        "latency_s": milliseconds / 1000,
        "service_s": milliseconds / 1000,
    }
    return Outcome(**(values | overrides))


REFUSED = {"result": "503", "accepted": False, "retry_after": True}


def tally(*outcomes: Outcome) -> Tally:
    held = Tally(0.1)
    for each in outcomes:
        held.count(each, 0)
    return held


def finding(**tallies: Tally) -> Finding:
    lag = LatencyHistogram()
    lag.record(0.002)
    return Finding(seconds=10.0, tallies=tallies, lag=lag, usage={}, measured_s=10.0, invalid=[])


def holds(text: str, found: Finding) -> bool:
    return judge(threshold_of(text), found).holds


def test_a_percentile_over_its_bound_fails() -> None:
    found = finding(home=tally(*[outcome(10.0)] * 98, *[outcome(60.0)] * 2))

    assert holds("p50=10.1ms", found)
    assert holds("p99=61ms", found)
    assert not holds("p99=50ms", found)
    assert not holds("max=0.05s", found)
    assert holds("mean=11100us", found)


def test_latency_bounds_are_of_what_was_answered_as_it_should_be() -> None:
    found = finding(home=tally(outcome(10.0), outcome(3000.0, **REFUSED)))

    assert holds("max=11ms", found)


def test_a_bound_on_latency_does_not_hold_where_nothing_was_answered() -> None:
    assert not holds("p99=50ms", finding(home=tally(outcome(**REFUSED))))


def test_goodput_is_what_came_in_time_and_whole() -> None:
    found = finding(home=tally(outcome(), outcome(200.0), outcome(degraded=True), outcome(**REFUSED)))

    assert judge(threshold_of("goodput=25%"), found).holds
    assert not holds("goodput=26%", found)
    assert holds("in_time=50%", found)
    assert not holds("in_time=51%", found)
    assert judge(threshold_of("goodput=0.1/s"), found).found == 0.1
    assert not holds("goodput=0.2/s", found)


def test_refused_with_retry_after_is_no_error_and_without_it_is() -> None:
    rude = REFUSED | {"retry_after": False}

    assert holds("errors=0%", finding(home=tally(outcome(**REFUSED))))
    assert holds("refused=100%", finding(home=tally(outcome(**REFUSED))))
    assert not holds("errors=10%", finding(home=tally(outcome(**rude))))
    assert not holds("errors=10%", finding(home=tally(outcome(result="timeout", accepted=False))))


def test_late_is_over_the_deadline_and_not_degraded() -> None:
    found = finding(home=tally(outcome(101.0), outcome(150.0, degraded=True), outcome(99.0)))

    assert judge(threshold_of("late=0%"), found).found == pytest.approx(100 / 3)
    assert holds("degraded=34%", found)


def test_a_bound_may_be_of_one_step() -> None:
    found = finding(home=tally(outcome(90.0)), panel=tally(outcome(10.0)))

    assert holds("panel.p99=20ms", found)
    assert not holds("home.p99=20ms", found)
    assert not holds("p99=20ms", found)


def test_the_generator_s_own_lag_can_be_bounded() -> None:
    assert holds("lag=3ms", finding(home=tally(outcome())))
    assert not holds("lag=1ms", finding(home=tally(outcome())))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("p99", "expected MEASURE=VALUE"),
        ("p99=50", "us, ms or s"),
        ("p98=50ms", "known are p50"),
        ("errors=1/s", "only goodput"),
        ("errors=1", "per cent"),
        ("p99=-1ms", "expected MEASURE=VALUE"),
    ],
)
def test_a_threshold_that_cannot_be_read_is_named(text, named) -> None:
    with pytest.raises(ThresholdUnreadable, match=named):
        threshold_of(text)


def test_a_bound_on_a_step_that_is_not_in_the_run_is_refused() -> None:
    with pytest.raises(ThresholdUnreadable, match="home"):
        holds("panel.p99=20ms", finding(home=tally(outcome())))


@pytest.mark.parametrize("capacity", [3.0, 90.0, 100.0, 777.0, 12_345.0])
def test_the_highest_rate_is_found_to_its_precision(capacity) -> None:
    found = highest_rate(lambda rate: rate <= capacity, begin=100.0)

    assert found.holds <= capacity < found.fails
    assert found.fails / found.holds <= 1.05


def test_a_moment_s_disturbance_does_not_count_against_a_rate() -> None:
    asked: list[float] = []

    def disturbed(rate: float) -> bool:
        asked.append(rate)
        return rate <= 500 and asked.count(rate) > 1

    assert highest_rate(disturbed, begin=100.0).holds == pytest.approx(500, rel=0.05)


def test_a_rate_that_held_only_while_the_machine_was_fast_is_not_the_highest() -> None:
    steps = count()
    highest_rate(lambda rate: next(steps) >= 0 and rate <= 500, begin=100.0)
    searched = next(steps) - 1  # all but the last question, whether the rate that was found holds again
    asked = count()
    found = highest_rate(lambda rate: rate <= (500 if next(asked) < searched else 300), begin=100.0)
    assert found.holds == pytest.approx(300, rel=0.05)
    assert found.fails == pytest.approx(found.holds * 1.05)


def test_a_rate_that_never_holds_again_is_none() -> None:
    answers = iter([True, True, False, False])
    with pytest.raises(NothingHolds, match="held once"):
        highest_rate(lambda _: next(answers, False), begin=1.0, precision=0.6)


def test_where_nothing_holds_there_is_no_capacity() -> None:
    with pytest.raises(NothingHolds):
        highest_rate(lambda _: False, begin=100.0)
