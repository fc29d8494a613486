"""What a bank of so many customers needs: partitions, builders, store shards, API processes, as arithmetic.

Every number that goes in is either measured (`Measured`, by the commands named there) or said by the bank (`Bank`).
What comes out is in `Plan`. `loadtests.capacity_check` prints plans and compares the formulae with a simulation.

Decisions. A process is one core that takes requests in turn; a balancer gives each arrival to one of n processes, so
that each is a queue of its own (M/G/1). A decision is `bursts` pieces of work with a round trip to the store between
them, and waits for its turn before each. With S the mean work, C2 its squared coefficient of variation and u the
utilisation lambda S / n:

    E[W]   = lambda E[s2] / (2 n (1 - u))                   first come, first served (Pollaczek-Khinchine), and
    E[W2]  = 2 E[W]2 + lambda E[s3] / (3 n (1 - u))         its second moment (Takacs)
    E[w|s] = E[W] / bursts + (1 - 1 / bursts) s u / (1 - u) in pieces a wait is partly that, partly that of processor
                                                            sharing, which is in proportion to one's own work
    P(w>0) = 1 - (1 - u) ^ bursts                           an arrival finds the process busy with chance u (PASTA),
                                                            and has so many chances

What is waited, if anything, is taken for a gamma distribution of that mean and, for one piece, of those two moments;
more pieces bring it towards an exponential one. P(T > t) is the mean over the measured work s of P(w > t - s - round
trips). With one queue for all (a balancer that knows who is free) waits are those of Allen and Cunneen: fewer in the
ratio of Erlang's C to u, and n times as short. Plans are made with separate queues, which want nothing of a balancer.

Builders: enough that the peak is below the utilisation wanted, and that a standstill is caught up with in the time
wanted, since events keep coming meanwhile: lambda (1 + standstill / catching up) / mu. Partitions: the power of two
that gives every builder at least two, so that a group of any size up to theirs is balanced to within a half.
Store: shards by memory (states, contacts, kept decisions, answers) or by processor time, whichever is more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

DAY_SECONDS = 86_400
MARGIN = 1.1
"""By so much a p99 is planned for that the formulae may be wrong: they were within 7 % of the simulation."""
CONTACT_BYTES = 64
"""`decision_engine.contact_ledger.RECORD`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What this product takes on the machine in question, and by which command it was found."""

    decision_s: Sequence[float]
    """Work of a decision in one process, a sample of its distribution, seconds of processor."""
    round_trips_s: float
    """What a decision waits for the store altogether, seconds."""
    bursts: int
    """Pieces of work of a decision, the store's round trips between them."""
    events_per_core_s: float
    """`loadtests.bench_ingest`."""
    store_decision_s: float
    """Processor time of the store a decision."""
    store_event_s: float
    """Processor time of the store an event, `loadtests.bench_ingest`."""
    state_bytes: float
    """Memory of the store a customer with a state, `loadtests.cost_curves`."""
    decision_bytes: float
    """Memory of the store a kept decision: record, options, answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """What the bank says of itself. Rates are a customer's and a day's; `peak` is the busiest second's rate beside the
    day's mean."""

    customers: int
    with_state: float = 1.0
    decisions: float = 2.0
    events: float = 5.0
    peak: float = 6.0
    contacts: float = 20.0
    kept_seconds: float = DAY_SECONDS

    @property
    def decisions_s(self) -> float:
        """In the busiest second."""
        return self.customers * self.decisions * self.peak / DAY_SECONDS

    @property
    def events_s(self) -> float:
        """In the busiest second."""
        return self.customers * self.events * self.peak / DAY_SECONDS

    @property
    def kept_decisions(self) -> float:
        """That the store holds at any time."""
        return self.customers * self.decisions * self.kept_seconds / DAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """What is wanted of the installation."""

    p99_s: float = 0.008
    utilisation: float = 0.6
    """The most that a process, a builder or a shard is to be used at the peak."""
    zones: int = 3
    """The peak must be carried with one of them gone."""
    standstill_s: float = 600.0
    catch_up_s: float = 600.0
    shard_bytes: float = 16 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is needed, copies included (one replica a shard)."""

    decisions_s: float
    events_s: float
    api_processes: int
    p99_s: float
    """With a zone gone, at the peak."""
    builders: int
    partitions: int
    store_bytes: float
    """Of the primaries."""
    shards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How the waits of a decision for its processor are distributed, given its work: none at all, or together a gamma
    distribution of a mean that grows with the work."""

    probability: float
    mean_s: float
    """Of the waits of anybody, whatever their work, over those who wait and those who do not."""
    mean_per_work: float
    """What is added to that by a second of work of one's own."""
    shape: float
    """Of the gamma distribution; 1 is the exponential."""


NOBODY = Waiting(probability=0.0, mean_s=0.0, mean_per_work=0.0, shape=1.0)


def utilisation(rate: float, processes: int, work_s: Sequence[float]) -> float:
    """The share of time a process works."""
    return rate * moment(work_s, 1) / processes


def separate_queues(rate: float, processes: int, work_s: Sequence[float], bursts: int) -> Waiting:
    """Each process has arrivals of its own. Raises ValueError where they are more than it can take."""
    used = _stable(utilisation(rate, processes, work_s))
    return _waiting(used, rate / processes, work_s, bursts, 1 - (1 - used) ** bursts)


def one_queue(rate: float, processes: int, work_s: Sequence[float], bursts: int) -> Waiting:
    """Whoever is free takes the next. Raises ValueError where they are more than all can take."""
    used = _stable(utilisation(rate, processes, work_s))
    must = erlang_c(processes, processes * used)
    alone = _waiting(used, rate / processes, work_s, bursts, 1 - (1 - must) ** bursts)
    less = must / used / processes
    return replace(alone, mean_s=alone.mean_s * less, mean_per_work=alone.mean_per_work * less)


def _waiting(used: float, rate: float, work_s: Sequence[float], bursts: int, probability: float) -> Waiting:
    """First come, first served by Pollaczek and Khinchine with Takacs's second moment; in pieces, partly shared."""
    mean = rate * moment(work_s, 2) / (2 * (1 - used))
    square = 2 * mean**2 + rate * moment(work_s, 3) / (3 * (1 - used))
    variance = max(square / used - (mean / used) ** 2, 1e-18)
    return Waiting(
        probability=probability,
        mean_s=mean / bursts,
        mean_per_work=(1 - 1 / bursts) * used / (1 - used),
        shape=1 + ((mean / used) ** 2 / variance - 1) / bursts,
    )


def erlang_c(servers: int, offered: float) -> float:
    """The chance that an arrival must wait, of `offered` servers' worth of work; by Erlang's B, without overflow."""
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = offered * blocked / (server + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


def latency_s(quantile: float, waiting: Waiting, work_s: Sequence[float], round_trips_s: float) -> float:
    """The latency that the share `quantile` of the decisions do not exceed: waits, work and round trips."""
    work = np.asarray(work_s)
    low, high = 0.0, float(work.max()) * 1_000 + round_trips_s
    for _ in range(60):
        middle = (low + high) / 2
        above = _share_above(middle - round_trips_s, waiting, work)
        low, high = (middle, high) if above > 1 - quantile else (low, middle)
    return high


def _share_above(left_s: float, waiting: Waiting, work: NDArray[np.float64]) -> float:
    if waiting.probability == 0.0:
        return float((work > left_s).mean())
    mean = (waiting.mean_s + waiting.mean_per_work * work) / waiting.probability
    beyond = gammaincc(waiting.shape, np.maximum(left_s - work, 0.0) * waiting.shape / mean)
    return float(np.where(work > left_s, 1.0, waiting.probability * beyond).mean())


def moment(values: Sequence[float], order: int) -> float:
    """The mean of a power of the values."""
    return sum(value**order for value in values) / len(values)


def processes_for(rate: float, measured: Measured, aims: Aims) -> int:
    """The fewest whose p99, with a margin, and utilisation are as wanted. Raises ValueError where none is enough."""
    idle = undisturbed_p99_s(measured)
    if idle * MARGIN > aims.p99_s:
        raise ValueError(f"p99 of {aims.p99_s * 1000:g} ms: a decision takes {idle * 1000:.1f} ms with nobody waiting")
    count = max(1, ceil(utilisation(rate, 1, measured.decision_s) / aims.utilisation))
    while predicted_p99_s(rate, count, measured) * MARGIN > aims.p99_s:
        count = max(count + 1, ceil(count * 1.002))
    return count


def undisturbed_p99_s(measured: Measured) -> float:
    """With nobody waiting."""
    return latency_s(0.99, NOBODY, measured.decision_s, measured.round_trips_s)


def within_reach(aims: Aims, measured: Measured) -> Aims:
    """The aims; where the p99 wanted is beyond what a process does alone, with one that leaves a quarter to waiting."""
    least_s = undisturbed_p99_s(measured) * MARGIN
    return aims if least_s <= aims.p99_s else replace(aims, p99_s=ceil(least_s * 1.25 * 1000) / 1000)


def predicted_p99_s(rate: float, processes: int, measured: Measured) -> float:
    """With separate queues."""
    waiting = separate_queues(rate, processes, measured.decision_s, measured.bursts)
    return latency_s(0.99, waiting, measured.decision_s, measured.round_trips_s)


def plan(bank: Bank, measured: Measured, aims: Aims) -> Plan:
    """Raises ValueError where the aims cannot be met."""
    in_service = processes_for(bank.decisions_s, measured, aims)
    builders = builders_for(bank.events_s, measured, aims)
    memory = store_bytes(bank, measured)
    work = bank.decisions_s * measured.store_decision_s + bank.events_s * measured.store_event_s
    return Plan(
        decisions_s=bank.decisions_s,
        events_s=bank.events_s,
        api_processes=with_a_zone_gone(in_service, aims.zones),
        p99_s=predicted_p99_s(bank.decisions_s, in_service, measured),
        builders=builders,
        partitions=partitions_for(builders),
        store_bytes=memory,
        shards=max(1, ceil(memory / aims.shard_bytes), ceil(work / aims.utilisation)),
    )


def with_a_zone_gone(count: int, zones: int) -> int:
    """So many that the others hold `count` when any one of the zones is lost; the same number in each."""
    return count if zones < 2 else zones * ceil(count / (zones - 1))


def builders_for(rate: float, measured: Measured, aims: Aims) -> int:
    """By utilisation, or by catching up, whichever takes more."""
    steady = rate / aims.utilisation
    catching_up = rate * (1 + aims.standstill_s / aims.catch_up_s)
    return max(1, ceil(max(steady, catching_up) / measured.events_per_core_s))


def partitions_for(builders: int) -> int:
    """The power of two that gives each at least two, and never fewer than four."""
    return int(2 ** max(2, ceil(log2(2 * builders))))


def store_bytes(bank: Bank, measured: Measured) -> float:
    """States, contacts, and decisions while they are kept."""
    customers = bank.customers * bank.with_state * (measured.state_bytes + bank.contacts * CONTACT_BYTES)
    return customers + bank.kept_decisions * measured.decision_bytes


def _stable(used: float) -> float:
    if used >= 1:
        raise ValueError(f"utilisation {used:.2f}: more arrives than can be done")
    return used
