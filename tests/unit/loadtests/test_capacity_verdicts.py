"""The verdicts of the capacity measurement: each target by itself, and none by a generator that was late."""

from dataclasses import replace

import pytest

from loadtests.open_loop.capacity import HALF, MOST_USED, OVERLOADS, SHARES, Measured, Watched
from loadtests.open_loop.capacity_result import result_of, verdicts
from loadtests.open_loop.histogram import LatencyHistogram
from loadtests.open_loop.load import Finding
from loadtests.open_loop.metering import Usage
from loadtests.open_loop.stages import Stage, between, read_stages
from loadtests.open_loop.tally import Outcome, Tally

CAPACITY = 100.0
SECONDS = 10.0


def tally(answers: list[float], refused: int = 0, result: str = "503") -> Tally:
    """`answers` are the milliseconds of what was answered."""
    held = Tally(0.1)
    for milliseconds in answers:
        held.count(Outcome("200", True, False, False, milliseconds / 1000, milliseconds / 1000), 0)
    for _ in range(refused):
        held.count(Outcome(result, False, False, result == "503", 0.003, 0.003), 0)
    return held


def run(**tallies: Tally) -> Watched:
    lag = LatencyHistogram()
    lag.record(0.001)
    usage = {"api": Usage(5.0, 300.0)}
    finding = Finding(seconds=SECONDS, tallies=tallies, lag=lag, usage=usage, measured_s=SECONDS, invalid=[])
    return Watched(finding, {"rules": Stage(0.06, 1000.0), "model": Stage(0.4, 1000.0)}, 0.5)


def measured(**changed: Watched) -> Measured:
    calm = run(home=tally([1.0] * 985 + [3.0] * 15))
    over = run(home=tally([20.0] * 850, refused=1850), panel=tally([5.0] * 300))
    found = Measured(capacity=CAPACITY, below=dict.fromkeys(SHARES, calm), above=dict.fromkeys(OVERLOADS, over))
    found.below[HALF] = changed.get("half", calm)
    found.below[MOST_USED] = changed.get("used", calm)
    found.above[3.0] = changed.get("over", over)
    return found


def missed(found: Measured) -> list[str]:
    return [each.claim for each in verdicts(found) if not each.holds]


def test_everything_holds_where_everything_is_well() -> None:
    assert missed(measured()) == []


def test_half_of_capacity_is_judged_by_its_median_and_its_tail() -> None:
    assert missed(measured(half=run(home=tally([2.1] * 100)))) == ["latency at half of capacity"]
    assert missed(measured(half=run(home=tally([1.0] * 98 + [8.5] * 2)))) == ["latency at half of capacity"]


def test_the_tail_at_four_fifths_is_judged_by_its_ratio_to_the_median() -> None:
    assert missed(measured(used=run(home=tally([10.0] * 98 + [39.0] * 2)))) == []
    assert missed(measured(used=run(home=tally([10.0] * 98 + [41.0] * 2)))) == ["tail at 80 % of capacity"]


def test_one_late_answer_that_is_not_degraded_is_one_too_many() -> None:
    late = run(home=tally([1.0] * 999 + [101.0]))

    assert missed(measured(half=late)) == ["nothing late that is not marked as degraded"]


def test_goodput_under_overload_is_judged_against_the_capacity() -> None:
    worse = run(home=tally([20.0] * 590, refused=2110), panel=tally([5.0] * 300))

    assert missed(measured(over=worse)) == ["goodput at three times capacity"]


def test_agents_under_overload_must_be_answered_in_time() -> None:
    worse = run(home=tally([20.0] * 850, refused=1850), panel=tally([5.0] * 290, refused=10))

    assert missed(measured(over=worse)) == ["agents at three times capacity"]


@pytest.mark.parametrize("result", ["500", "timeout", "broken"])
def test_whoever_is_not_answered_under_overload_must_be_told_when_to_come_back(result) -> None:
    worse = run(home=tally([20.0] * 850, refused=1850, result=result), panel=tally([5.0] * 300))

    assert missed(measured(over=worse)) == ["the rest at three times capacity"]


def test_a_run_whose_generator_was_late_reaches_no_target() -> None:
    calm = measured().below[HALF]
    late = replace(calm, finding=replace(calm.finding, invalid=["the generator was 9 ms behind"]))

    found = verdicts(measured(half=late))

    assert [each.claim for each in found if not each.holds] == ["latency at half of capacity"]
    assert "NOT VALID" in found[0].measured


def test_the_naive_application_is_in_the_verdicts_where_it_was_measured() -> None:
    assert missed(replace_naive(measured(), 49.0)) == []
    assert missed(replace_naive(measured(), 51.0)) == ["capacity beside the naive application"]


def replace_naive(found: Measured, capacity: float) -> Measured:
    found.naive_capacity = capacity
    return found


def test_the_result_has_what_the_report_draws() -> None:
    found = result_of(replace_naive(measured(), 40.0))

    assert found.figures["capacity_per_s"] == CAPACITY
    assert found.figures["half_p99_ms"] == pytest.approx(3.0, rel=0.01)
    assert [plot.title for plot in found.plots] == [
        "Latency by load",
        "Goodput by load",
        "Latency by percentile",
        "Stages of a decision",
    ]
    assert all(line.points for plot in found.plots for line in plot.lines)
    assert len(found.tables[0].rows) == len(SHARES)
    assert len(found.tables[1].rows) == len(OVERLOADS)


PAGE = """# HELP kairos_decision_stage_seconds Time in one stage of a decision
kairos_decision_stage_seconds_bucket{stage="rules",le="0.1"} 10.0
kairos_decision_stage_seconds_count{stage="rules"} 10.0
kairos_decision_stage_seconds_sum{stage="rules"} 0.002
kairos_decision_stage_seconds_count{stage="model"} 5.0
kairos_decision_stage_seconds_sum{stage="model"} 0.004
"""


def test_the_time_of_stages_is_what_was_spent_between_two_readings() -> None:
    before = {"rules": Stage(0.001, 5.0)}

    spent = between(before, read_stages(PAGE))

    assert list(spent) == ["model", "rules"]
    assert spent["rules"].mean_us == pytest.approx(200)
    assert spent["model"].mean_us == pytest.approx(800)


def test_a_stage_that_nothing_went_through_is_left_out() -> None:
    page = read_stages(PAGE)

    assert between(page, page) == {}
