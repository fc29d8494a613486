"""The capacity model: known cases, limits, and agreement with a simulation that knows nothing of its formulae."""

from dataclasses import replace
from random import Random

import pytest

from loadtests.capacity_measured import work_and_waiting
from loadtests.capacity_model import (
    MARGIN,
    NOBODY,
    Aims,
    Bank,
    Measured,
    builders_for,
    erlang_c,
    latency_s,
    one_queue,
    partitions_for,
    plan,
    predicted_p99_s,
    processes_for,
    separate_queues,
    store_bytes,
    undisturbed_p99_s,
    utilisation,
    with_a_zone_gone,
    within_reach,
)
from loadtests.capacity_simulation import Balancing, Installation, latencies, quantile

EVEN = [0.001] * 50
UNEVEN = [0.001 * Random(seed).lognormvariate(0.0, 0.35) for seed in range(300)]
MEASURED = Measured(
    decision_s=UNEVEN,
    round_trips_s=0.0003,
    bursts=3,
    events_per_core_s=20_000,
    store_decision_s=20e-6,
    store_event_s=5e-6,
    state_bytes=2_000,
    decision_bytes=4_000,
)


def simulated_p99(work: list[float], used: float, bursts: int, balancing: Balancing = "random") -> float:
    installation = Installation(processes=3, work_s=work, bursts=bursts, round_trips_s=0.0003, balancing=balancing)
    rate = used * 3 / (sum(work) / len(work))
    return sorted(quantile(latencies(installation, rate, 10_000, seed), 0.99) for seed in (1, 2, 3))[1]


@pytest.mark.parametrize(("servers", "offered", "expected"), [(1, 0.3, 0.3), (2, 1.0, 1 / 3), (3, 2.0, 4 / 9)])
def test_the_chance_of_waiting_is_erlangs(servers: int, offered: float, expected: float) -> None:
    assert erlang_c(servers, offered) == pytest.approx(expected)


def test_erlangs_chance_does_not_overflow_with_thousands_of_processes() -> None:
    assert 0.0 < erlang_c(5_000, 4_950.0) < 1.0


def test_the_mean_wait_of_even_work_is_that_of_pollaczek_and_khinchine() -> None:
    waiting = separate_queues(500.0, 1, EVEN, bursts=1)

    assert waiting.probability == pytest.approx(0.5)
    assert waiting.mean_s == pytest.approx(0.5 * 0.001 / (2 * 0.5))
    assert waiting.mean_per_work == 0.0


def test_work_in_many_pieces_is_shared_so_that_a_wait_is_in_proportion_to_the_work() -> None:
    waiting = separate_queues(500.0, 1, EVEN, bursts=1_000)

    assert waiting.mean_per_work == pytest.approx(1.0, rel=0.01)
    assert waiting.mean_s < 1e-5


def test_nobody_waiting_a_decision_takes_its_work_and_its_round_trips() -> None:
    assert latency_s(0.99, NOBODY, EVEN, 0.0005) == pytest.approx(0.0015, rel=1e-3)


@pytest.mark.parametrize("queues", [separate_queues, one_queue])
def test_more_than_can_be_done_is_refused(queues) -> None:
    with pytest.raises(ValueError, match=r"utilisation 1\.20: more arrives than can be done"):
        queues(1_200.0, 1, EVEN, 1)


@pytest.mark.parametrize("used", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("bursts", [1, 4])
@pytest.mark.parametrize("work", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_the_predicted_p99_is_near_the_simulated_one(work: list[float], bursts: int, used: float) -> None:
    waiting = separate_queues(used * 3 / (sum(work) / len(work)), 3, work, bursts)
    predicted = latency_s(0.99, waiting, work, 0.0003 if bursts > 1 else 0.0)

    assert predicted == pytest.approx(simulated_p99(work, used, bursts), rel=0.2)


def test_a_better_balancer_is_better_than_chance_in_the_simulation() -> None:
    by_chance, in_turn, least = (
        simulated_p99(UNEVEN, 0.7, 3, balancing) for balancing in ("random", "in_turn", "least_busy")
    )

    assert least <= in_turn < by_chance


def test_one_queue_is_better_than_separate_ones() -> None:
    rate = 0.7 * 4 / (sum(UNEVEN) / len(UNEVEN))
    together, apart = one_queue(rate, 4, UNEVEN, 1), separate_queues(rate, 4, UNEVEN, 1)

    assert latency_s(0.99, together, UNEVEN, 0.0) < latency_s(0.99, apart, UNEVEN, 0.0)


def test_the_same_seed_gives_the_same_course() -> None:
    installation = Installation(processes=2, work_s=UNEVEN, bursts=3, round_trips_s=0.0003)

    assert latencies(installation, 800.0, 500, seed=3) == latencies(installation, 800.0, 500, seed=3)
    assert latencies(installation, 800.0, 500, seed=3) != latencies(installation, 800.0, 500, seed=4)


def test_hardly_loaded_a_simulated_decision_takes_its_work_only() -> None:
    installation = Installation(processes=1, work_s=EVEN, bursts=3, round_trips_s=0.0)

    assert latencies(installation, 1.0, 300, seed=1)[150] == pytest.approx(0.001)


def test_the_processes_found_hold_the_p99_and_one_less_would_not() -> None:
    aims = Aims(p99_s=0.006, utilisation=0.95)
    count = processes_for(9_000.0, MEASURED, aims)

    assert predicted_p99_s(9_000.0, count, MEASURED) * MARGIN <= aims.p99_s
    assert predicted_p99_s(9_000.0, count - 1, MEASURED) * MARGIN > aims.p99_s


def test_a_generous_p99_leaves_the_utilisation_to_decide() -> None:
    aims = Aims(p99_s=1.0, utilisation=0.5)
    count = processes_for(9_000.0, MEASURED, aims)

    assert utilisation(9_000.0, count, UNEVEN) <= 0.5 < utilisation(9_000.0, count - 1, UNEVEN)


def test_a_p99_below_the_work_itself_is_refused_with_what_the_work_takes() -> None:
    with pytest.raises(ValueError, match=r"p99 of 1 ms: a decision takes \d\.\d ms with nobody waiting"):
        processes_for(100.0, MEASURED, Aims(p99_s=0.001))


def test_aims_beyond_what_a_process_does_alone_are_brought_within_reach() -> None:
    assert within_reach(Aims(p99_s=0.008), MEASURED) == Aims(p99_s=0.008)
    nearest = within_reach(Aims(p99_s=0.001, utilisation=0.5), MEASURED)
    assert nearest.utilisation == 0.5
    assert MARGIN * undisturbed_p99_s(MEASURED) < nearest.p99_s < 2 * undisturbed_p99_s(MEASURED)
    assert processes_for(9_000.0, MEASURED, nearest) >= 9


def test_a_lost_zone_leaves_what_the_peak_takes() -> None:
    assert with_a_zone_gone(10, 3) == 15
    assert with_a_zone_gone(10, 1) == 10
    assert all(with_a_zone_gone(count, 3) * 2 // 3 >= count for count in range(1, 50))


def test_builders_are_enough_to_catch_up_and_partitions_to_balance_them() -> None:
    aims = Aims(utilisation=0.9, standstill_s=600, catch_up_s=300)

    assert builders_for(50_000.0, MEASURED, aims) == 8  # three times the rate for five minutes
    assert builders_for(50_000.0, MEASURED, replace(aims, standstill_s=0.0)) == 3
    assert [partitions_for(builders) for builders in (1, 2, 3, 8, 9)] == [4, 4, 8, 16, 32]


def test_the_store_holds_states_contacts_and_decisions_while_they_are_kept() -> None:
    bank = Bank(customers=1_000, with_state=0.5, contacts=10, decisions=3, kept_seconds=43_200)

    assert store_bytes(bank, MEASURED) == 500 * (2_000 + 640) + 1_500 * 4_000


def test_ten_times_the_customers_take_about_ten_times_as_much_of_everything() -> None:
    small, large = (plan(Bank(customers=customers), MEASURED, Aims()) for customers in (100_000_000, 1_000_000_000))

    assert large.store_bytes == pytest.approx(10 * small.store_bytes)
    assert 8 <= large.api_processes / small.api_processes <= 10.5
    assert large.p99_s <= Aims().p99_s
    assert large.partitions >= 2 * large.builders


def test_work_and_waiting_are_told_apart_by_the_processor_time() -> None:
    work, waited = work_and_waiting([1.0, 1.4, 1.8], cpu_ms=1.0)

    assert sum(work) / 3 == pytest.approx(0.001)
    assert waited == pytest.approx(0.0004)
    assert work_and_waiting([1.0, 1.0], cpu_ms=1.5)[1] == 0.0
