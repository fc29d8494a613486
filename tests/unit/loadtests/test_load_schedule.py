"""When requests are meant to be sent: laid down beforehand, at the rate asked for, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.open_loop.plan import Plan, sendings
from loadtests.open_loop.profiles import PROFILES, UnknownProfile, profile_of
from loadtests.open_loop.schedule import (
    Phase,
    ScheduleUnreadable,
    arrivals,
    length_s,
    mean_rate,
    phases_of,
    sessions,
)


def plan(**overrides) -> Plan:
    values = {"host": "127.0.0.1", "port": 1, "streams": PROFILES["app"].streams, "phases": phases_of("200x20")}
    return Plan(**(values | overrides))


def test_a_constant_rate_is_evenly_spaced() -> None:
    times = arrivals(phases_of("100x2"), "even", seed=1)

    assert len(times) == 200
    assert np.diff(times) == pytest.approx(0.01)
    assert times[0] == 0.0


def test_steps_follow_one_another_at_their_own_rates() -> None:
    times = arrivals(phases_of("10x2,100x1,0x1,50x2"), "even", seed=1)

    assert [int(((times >= begin) & (times < begin + 1)).sum()) for begin in range(6)] == [10, 10, 100, 0, 50, 50]


def test_a_ramp_grows_in_a_straight_line() -> None:
    times = arrivals(phases_of("0-100x10"), "even", seed=1)

    assert len(times) == 500
    counts = [int(((times >= begin) & (times < begin + 1)).sum()) for begin in range(10)]
    assert counts == pytest.approx([5 + 10 * second for second in range(10)], abs=1)


@settings(max_examples=40)
@given(st.lists(st.tuples(*[st.floats(0, 300)] * 2, st.floats(0.1, 5)), min_size=1, max_size=4), st.integers(0, 1000))
def test_arrivals_are_in_order_and_within_the_run(shape, seed) -> None:
    phases = [Phase(*each) for each in shape]

    for spacing in ("even", "poisson"):
        times = arrivals(phases, spacing, seed)
        assert (np.diff(times) >= 0).all()
        assert ((times >= 0) & (times <= length_s(phases) + 1e-6)).all()


def test_poisson_arrivals_have_the_rate_and_the_gaps_of_independent_customers() -> None:
    times = arrivals(phases_of("1000x50"), "poisson", seed=3)

    gaps = np.diff(times)
    assert len(times) / 50 == pytest.approx(1000, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.03)  # of an exponential distribution
    assert (times == arrivals(phases_of("1000x50"), "poisson", seed=3)).all()


def test_customers_think_between_their_requests() -> None:
    starts = arrivals(phases_of("10x100"), "even", seed=1)

    times, owners = sessions(starts, 3, 2.0, seed=1)

    first = np.sort(times[owners == 5])
    assert len(times) == 3 * len(starts)
    assert (np.diff(times) >= 0).all()
    assert first[0] == pytest.approx(starts[5])
    spread = [np.ptp(times[owners == owner]) for owner in range(len(starts))]
    assert np.mean(spread) == pytest.approx(4.0, rel=0.1)


def test_a_session_s_steps_come_in_their_order_and_the_rate_is_that_of_all_requests() -> None:
    due = sendings(plan(phases=phases_of("200x30")))

    assert len(due) / 30 == pytest.approx(200, rel=0.05)
    assert [each.at_s for each in due] == sorted(each.at_s for each in due)
    first_second = [each.step for each in due if each.at_s < 5]
    assert {first_second.count(step) / len(first_second) > 0.25 for step in range(3)} == {True}


def test_the_shares_of_several_processes_are_the_whole_schedule() -> None:
    whole = sendings(plan())

    parts = [each for share in range(3) for each in sendings(plan(share=share, shares=3))]

    assert sorted(parts, key=lambda each: (each.at_s, each.number)) == sorted(
        whole, key=lambda each: (each.at_s, each.number)
    )
    assert len({each.number for each in whole}) == len(whole)


def test_streams_have_their_share_of_the_rate() -> None:
    due = sendings(plan(streams=PROFILES["priority"].streams, phases=phases_of("1000x10")))

    agents = sum(each.step == 1 for each in due)
    assert agents / len(due) == pytest.approx(0.1, abs=0.01)


def test_a_plan_survives_being_handed_over() -> None:
    import json

    whole = plan(streams=PROFILES["mixed"].streams, headers={"X-API-Key": "k"}, processors=[1])

    handed = Plan.of(json.loads(json.dumps(whole.as_mapping())))

    assert handed.steps() == whole.steps()
    assert sendings(handed) == sendings(whole)


@pytest.mark.parametrize(
    ("text", "named"), [("fast", "'fast'"), ("10x", "'10x'"), ("1x2,a-bx3", "'a-bx3'"), ("0x5", "nothing")]
)
def test_a_schedule_that_cannot_be_read_is_named(text, named) -> None:
    with pytest.raises(ScheduleUnreadable, match=named):
        phases_of(text)


def test_the_mean_rate_is_that_of_all_phases() -> None:
    assert mean_rate(phases_of("100x10,0-200x10")) == 100


def test_an_unknown_profile_is_answered_with_those_known() -> None:
    with pytest.raises(UnknownProfile, match=r"'web'.*app.*agent.*storm.*mixed"):
        profile_of("web")


def test_a_deadline_given_is_that_of_decisions_alone() -> None:
    view, panel, outcome = profile_of("agent", deadline_ms=20).streams[0].steps

    assert (view.deadline_ms, panel.deadline_ms, outcome.deadline_ms) == (250, 20, 250)
