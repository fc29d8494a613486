"""The capacity of one API process on one processor, and how it behaves below and above it.

python -m loadtests.open_loop.capacity                 about six minutes
python -m loadtests.open_loop.capacity --seconds 5 --naive

Capacity is the highest rate at which 99 % of the decisions are answered whole (not refused, not degraded) within
their deadline of 100 ms. Then: latencies at shares of it; loads above it, where one decision in ten is asked by an
agent with a customer on the line; and, with --naive, the capacity of the application that only looks up features and
calls the model, on the same processor in the same run. Customers come independently of one another (Poisson). Exit
status 1 where a target is missed.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loadtests.open_loop.load import Finding, Load, run_load
from loadtests.open_loop.plan import Plan
from loadtests.open_loop.product import API, Product, own_product
from loadtests.open_loop.profiles import DEADLINE_MS, PROFILES, Step, Stream
from loadtests.open_loop.schedule import phases_of
from loadtests.open_loop.search import NothingHolds, highest_rate
from loadtests.open_loop.stages import Stage, between, fetch_stages

WARM_UP_S = 2.0
HOLDS_SHARE = 0.99
ATTEMPTS = 3
BEGIN_RATE = 600.0
SHARES = (0.1, 0.25, 0.5, 0.65, 0.8, 0.9, 1.0)
HALF, MOST_USED = 0.5, 0.8
OVERLOADS = (1.5, 3.0, 10.0)
THREE_TIMES = 3.0
NAIVE_STEP = Step(
    name="naive", path="/decide", body=json.dumps({"request_id": "%(id)s", "customer_id": "retail:%(customer)s"})
)
NAIVE_STREAMS = (Stream(name="naive", steps=(NAIVE_STEP,)),)


@dataclass(frozen=True, slots=True)
class Watched:
    """A run, where its decisions' time went, and how busy the machine was with everything it did, this run included."""

    finding: Finding
    stages: Mapping[str, Stage]
    machine_load: float


@dataclass(slots=True)
class Measured:
    """What was found. Keys of `below` are shares of the capacity, of `above` multiples of it."""

    capacity: float
    naive_capacity: float | None = None
    below: dict[float, Watched] = field(default_factory=dict)
    above: dict[float, Watched] = field(default_factory=dict)
    probes: list[tuple[float, float]] = field(default_factory=list)
    """Rates that were tried, and the share that was answered whole and in time."""


class MachineTooBusy(Exception):
    """The generator could not keep to its schedule on this machine: nothing can be measured on it now."""


async def measure(*, seconds: float, naive: bool) -> Measured:
    """All of it, on a product of its own. Runs are `seconds` long, those that are judged by their tail twice that.
    Raises MachineTooBusy, and NothingHolds where not even a slow rate does."""
    async with own_product(naive=naive) as product:
        return await asyncio.to_thread(_Measuring(product, seconds).measured)


class _Measuring:
    def __init__(self, product: Product, seconds: float) -> None:
        self._product, self._seconds = product, seconds
        self._streams = PROFILES["decide"].streams
        self._probes: list[tuple[float, float]] = []

    def measured(self) -> Measured:
        product = self._product
        capacity = highest_rate(self._api_holds, BEGIN_RATE).holds
        found = Measured(capacity=capacity, probes=self._probes)
        if product.naive_port is not None:
            found.naive_capacity = highest_rate(self._naive_holds, BEGIN_RATE).holds
        for share in SHARES:
            length = self._seconds * (2 if share in (HALF, MOST_USED) else 1)
            load = _load(product, product.port, self._streams, share * capacity, length)
            found.below[share] = self._watched(f"{share:.0%} of capacity", load)
        for times in OVERLOADS:
            load = _load(product, product.port, PROFILES["priority"].streams, times * capacity, self._seconds)
            found.above[times] = self._watched(f"{times:g} times capacity", load)
        return found

    def _api_holds(self, rate: float) -> bool:
        share = self._whole_share(API, self._product.port, self._streams, rate)
        self._probes.append((rate, share))
        return share >= HOLDS_SHARE

    def _naive_holds(self, rate: float) -> bool:
        assert self._product.naive_port is not None
        return self._whole_share("naive", self._product.naive_port, NAIVE_STREAMS, rate) >= HOLDS_SHARE

    def _whole_share(self, name: str, port: int, streams: Sequence[Stream], rate: float) -> float:
        """Of a valid run; one that is not is made again."""
        for _ in range(ATTEMPTS):
            finding = run_load(_load(self._product, port, streams, rate, self._seconds))
            share = finding.total.whole / max(1, finding.total.sent)
            _say(f"{name} at {rate:,.0f}/s: {share:.1%} whole and in time{_faults(finding)}")
            if not finding.invalid:
                return share
        raise MachineTooBusy(f"{ATTEMPTS} runs at {rate:,.0f}/s were not valid: {finding.invalid[0]}")

    def _watched(self, name: str, load: Load) -> Watched:
        """With the stages of the whole run, its warm-up included."""
        url = f"http://127.0.0.1:{self._product.port}"
        before = fetch_stages(url)
        finding = run_load(load)
        _say(f"{name}: {_in_words(finding)}")
        return Watched(finding, between(before, fetch_stages(url)), os.getloadavg()[0])


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


def _load(product: Product, port: int, streams: Sequence[Stream], rate: float, seconds: float) -> Load:
    plan = Plan(
        host="127.0.0.1",
        port=port,
        streams=streams,
        phases=phases_of(f"{rate:f}x{WARM_UP_S + seconds:f}"),
        customers=product.customers,
        warm_up_s=WARM_UP_S,
        timeout_s=2.0,
        connections=32,
        most_connections=1_000,
        processors=product.others,
    )
    return Load(plan=plan, watched=product.watched)


def _in_words(finding: Finding) -> str:
    total = finding.total
    latencies = [f"p{percent:g} {total.accepted.percentile_ms(percent):.2f} ms" for percent in (50, 99)]
    parts = [*latencies, f"{total.whole / max(1, total.sent):.1%} whole and in time", f"{finding.goodput:,.0f}/s"]
    return ", ".join(parts) + _faults(finding)


def _faults(finding: Finding) -> str:
    return "".join(f" (NOT VALID: {fault})" for fault in finding.invalid)


def main() -> int:
    """Prints the figures, keeps them for the report; the exit status is the verdict."""
    from loadtests.open_loop.capacity_result import result_of
    from loadtests.open_loop.telling import as_text
    from loadtests.results import write

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of a run (those judged by their tail: twice)")
    parser.add_argument("--naive", action="store_true", help="the naive application, too")
    args = parser.parse_args()
    try:
        result = result_of(asyncio.run(measure(seconds=args.seconds, naive=args.naive)))
    except (MachineTooBusy, NothingHolds) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    for table in result.tables:
        print(f"\n{table.title}\n\n{as_text(table)}")
    print(f"\none request in time: at most {DEADLINE_MS:g} ms; load of the machine {result.machine['load_1m']}")
    for each in result.verdicts:
        print(f"{'holds' if each.holds else 'MISSED'}: {each.claim}: {each.measured} (target: {each.target})")
    print(f"kept in {write(result)}")
    return 0 if all(each.holds for each in result.verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
