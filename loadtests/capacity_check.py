"""What banks of several sizes need, and whether a simulation of the API processes agrees with the arithmetic.

python -m loadtests.capacity_check                     measures (two minutes), simulates, prints both
python -m loadtests.capacity_check --customers 5000000 --decisions 4 --events 12 --peak 8

Three checks over the measured work of a decision, each process taken up to the utilisations wanted: the predicted p99
beside the simulated one; the processes that the model says are needed beside the fewest that hold the p99 in the
simulation; and the rule that separate queues want a balancer no better than chance, beside better ones.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.capacity_measured import measured
from loadtests.capacity_model import (
    Aims,
    Bank,
    Measured,
    Plan,
    moment,
    plan,
    predicted_p99_s,
    processes_for,
    undisturbed_p99_s,
    utilisation,
    within_reach,
)
from loadtests.capacity_simulation import Balancing, Installation, latencies, quantile
from loadtests.results import Line, Plot, Result, Table, Verdict, describe
from loadtests.telling_results import tell

SIZES = (1_000_000, 10_000_000, 100_000_000)
UTILISATIONS = (0.3, 0.5, 0.6, 0.7, 0.8)
CHECKED_PROCESSES = 4
SIMULATED = 20_000
SEEDS = (1, 2, 3)
CLOSE = 0.20
"""The most that a predicted p99 is to differ from the simulated one, up to 70 % of utilisation."""
CHECKED_UP_TO = 0.7


@dataclass(frozen=True, slots=True)
class Compared:
    """One utilisation: p99 in seconds, predicted, and simulated with each way of balancing."""

    utilisation: float
    predicted_s: float
    simulated_s: float
    in_turn_s: float
    least_busy_s: float

    @property
    def off(self) -> float:
        """How far the prediction is from the simulation, as a share of it."""
        return self.predicted_s / self.simulated_s - 1


def main() -> int:
    """Exit status 1 where the model and the simulation differ by more than is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--decisions", type=float, default=2.0, help="of a customer and day")
    parser.add_argument("--events", type=float, default=5.0, help="of a customer and day")
    parser.add_argument("--peak", type=float, default=6.0, help="busiest second beside the day's mean")
    parser.add_argument("--p99-ms", type=float, default=8.0)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round of the measurement")
    args = parser.parse_args()
    banks = [
        Bank(customers=customers, decisions=args.decisions, events=args.events, peak=args.peak)
        for customers in args.customers
    ]
    result = capacity_result(measured(seconds=args.seconds), banks, Aims(p99_s=args.p99_ms / 1000))
    return 0 if tell(result) else 1


def capacity_result(found: Measured, banks: Sequence[Bank], wanted: Aims) -> Result:
    """Inputs, comparison and plans; those for the nearest aims within reach, where the p99 wanted is not."""
    aims, alone_s = within_reach(wanted, found), undisturbed_p99_s(found)
    compared = [compare(used, found) for used in UTILISATIONS]
    needed, enough, rate = needed_and_enough(found, aims)
    worst = max((abs(one.off) for one in compared if one.utilisation <= CHECKED_UP_TO), default=0.0)
    return describe(
        "capacity",
        "What a bank of so many customers needs",
        figures={"decision_cpu_ms": moment(found.decision_s, 1) * 1000, "events_per_core_s": found.events_per_core_s},
        tables=[_inputs(found), _comparison(compared), _plans(banks, [plan(bank, found, aims) for bank in banks])],
        plots=[_plot(compared)],
        verdicts=[
            Verdict(
                claim=f"a p99 of {wanted.p99_s * 1000:g} ms can be had here",
                target="with nobody waiting, and a margin",
                measured=f"{alone_s * 1000:.1f} ms; planned for {aims.p99_s * 1000:g} ms",
                holds=aims == wanted,
            ),
            Verdict(
                claim="predicted p99 beside the simulated",
                target=f"within {CLOSE:.0%} up to {CHECKED_UP_TO:.0%} of utilisation",
                measured=f"at most {worst:.0%} off",
                holds=worst <= CLOSE,
            ),
            Verdict(
                claim=f"API processes for {rate:,.0f} decisions/s with p99 {aims.p99_s * 1000:g} ms",
                target="what the model says is enough in the simulation, and at most a quarter more than needed",
                measured=f"model {needed}, simulation {enough}",
                holds=enough <= needed <= max(enough + 1, round(enough * 1.25)),
            ),
        ],
    )


def compare(used: float, found: Measured) -> Compared:
    """At this utilisation of each of a few processes."""
    rate = used * CHECKED_PROCESSES / moment(found.decision_s, 1)

    def simulated(balancing: Balancing) -> float:
        return simulated_p99_s(rate, CHECKED_PROCESSES, found, balancing)

    return Compared(
        used,
        predicted_p99_s(rate, CHECKED_PROCESSES, found),
        simulated("random"),
        simulated("in_turn"),
        simulated("least_busy"),
    )


def simulated_p99_s(rate: float, processes: int, found: Measured, balancing: Balancing) -> float:
    """The middle of several seeds."""
    installation = Installation(
        processes=processes,
        work_s=found.decision_s,
        bursts=found.bursts,
        round_trips_s=found.round_trips_s,
        balancing=balancing,
    )
    return sorted(quantile(latencies(installation, rate, SIMULATED, seed), 0.99) for seed in SEEDS)[len(SEEDS) // 2]


def needed_and_enough(found: Measured, aims: Aims) -> tuple[int, int, float]:
    """Processes by the model and by trying in the simulation, for the rate that five processes would just carry without
    any wait; with a utilisation that may be anything, so that the p99 alone decides."""
    rate = 5 / moment(found.decision_s, 1)
    by_waiting = Aims(p99_s=aims.p99_s, utilisation=0.95)
    needed, enough = processes_for(rate, found, by_waiting), 1
    while (
        utilisation(rate, enough, found.decision_s) >= by_waiting.utilisation
        or simulated_p99_s(rate, enough, found, "random") > aims.p99_s
    ):
        enough += 1
    return needed, enough, rate


def _inputs(found: Measured) -> Table:
    rows: list[list[str | float]] = [
        ["work of a decision, mean, ms of processor", moment(found.decision_s, 1) * 1000],
        ["work of a decision, 99 % up to, ms", sorted(found.decision_s)[int(0.99 * len(found.decision_s))] * 1000],
        ["waits for the store, its round trips together, ms", found.round_trips_s * 1000],
        ["events a second of one core, 100 aggregates", found.events_per_core_s],
        ["store, us of processor a decision", found.store_decision_s * 1e6],
        ["store, us of processor an event", found.store_event_s * 1e6],
        ["store, bytes a customer with 100 aggregates", found.state_bytes],
        ["store, bytes a decision kept", found.decision_bytes],
    ]
    return Table("Measured here", ("what", "value"), rows)


def _comparison(compared: Sequence[Compared]) -> Table:
    rows: list[list[str | float]] = [
        [
            f"{one.utilisation:.0%}", one.predicted_s * 1000, one.simulated_s * 1000, f"{one.off:+.0%}",
            one.in_turn_s * 1000, one.least_busy_s * 1000,
        ]
        for one in compared
    ]  # fmt: skip
    columns = ("utilisation", "predicted", "simulated", "off", "in turn", "least busy")
    return Table(f"p99 of {CHECKED_PROCESSES} processes, ms; simulated with three ways of balancing", columns, rows)


def _plans(banks: Sequence[Bank], plans: Sequence[Plan]) -> Table:
    rows: list[list[str | float]] = [
        [
            f"{bank.customers:,}", f"{one.decisions_s:,.0f}", f"{one.events_s:,.0f}", str(one.api_processes),
            one.p99_s * 1000, str(one.builders), str(one.partitions), one.store_bytes / 2**30, str(one.shards),
        ]
        for bank, one in zip(banks, plans, strict=True)
    ]  # fmt: skip
    columns = (
        "customers", "decisions/s at peak", "events/s at peak", "API processes (1 core each)", "p99 ms, a zone gone",
        "state builders (1 core each)", "partitions", "store GiB", "shards",
    )  # fmt: skip
    return Table("For a bank of so many customers", columns, rows)


def _plot(compared: Sequence[Compared]) -> Plot:
    def line(name: str, values: Sequence[float]) -> Line:
        return Line(name, [(one.utilisation, value * 1000) for one, value in zip(compared, values, strict=True)])

    return Plot(
        title="p99 by utilisation",
        x="utilisation of each process",
        y="ms",
        lines=[
            line("predicted", [one.predicted_s for one in compared]),
            line("simulated, random", [one.simulated_s for one in compared]),
            line("simulated, in turn", [one.in_turn_s for one in compared]),
            line("simulated, least busy", [one.least_busy_s for one in compared]),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
