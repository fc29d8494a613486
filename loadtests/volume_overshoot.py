"""`python -m loadtests.volume_overshoot`: no cap and no volume is exceeded, whoever crashes whenever.

Processes decide for the same few hundred customers over volume-limited offers, with the product's engine, ledger and
leases on a real Valkey. Now and then one of them is killed with SIGKILL in the middle of its work and a new one takes
its place. The judge is a count of its own: every process writes down what it handed out, after the ledger and the
lease have it and before anything else, one line in one write, and the judge adds the lines up.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from decision_engine.contact_ledger import decode_records
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Decision, DecisionRequest, PlacementRequest
from decision_engine.engine import decide, settle
from decision_engine.identifiers import CustomerId, DecisionId, PlacementId
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.volume import use_of_offer
from services.adapters.embedded_servers import embedded_valkey
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import ClientLimits, RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.adapters.redis_volume_holds import RedisVolumeHolds
from services.adapters.redis_volume_leases import (
    VOLUME_LIBRARY,
    LeaseHolder,
    LeaseTerms,
    RedisVolumeLeases,
    VolumeKeys,
)
from services.adapters.system_clock import SystemClock
from services.ports import StoreUnavailable
from services.use_cases.volume_reservation import VolumeReservation

KEYS = RedisKeys("overshoot", "00000000000000ff")
TERMS = LeaseTerms(chunk=32, lapse_s=3.0, renew_s=0.25)
LIMITS = ClientLimits(timeout_s=5.0)
"""Sixteen processes share two cores here: a late reply is no sign of a server that is away."""
OFFERS = 20
BUDGETS = 4
"""So many of the offers are limited by a budget instead of a stock."""
UNIT_COST = 250
OFFER_CAP = 8
CUSTOMER_CAP = 150
LEAST_USED = 0.97
TASKS = 4
"""Decisions under way at once in one process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is done, by how many, with how many crashes on the way."""

    processes: int
    decisions: int
    customers: int
    amount: int
    crashes: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the judge found."""

    decisions: int
    handed_out: int
    crashes: int
    used: dict[str, tuple[int, int]]
    """By volume the units handed out, and its amount."""
    most_per_offer: int
    most_per_customer: int
    seconds: float

    @property
    def overshot(self) -> int:
        """Volumes of which more was handed out than there was."""
        return sum(units > amount for units, amount in self.used.values())

    @property
    def least_used(self) -> float:
        """The smallest share of any volume that was used."""
        return min(units / amount for units, amount in self.used.values())

    @property
    def holds(self) -> bool:
        """Whether nothing was exceeded and nearly all was used."""
        capped = self.most_per_offer <= OFFER_CAP and self.most_per_customer <= CUSTOMER_CAP
        return capped and self.overshot == 0 and self.least_used >= LEAST_USED


def main() -> int:
    """Runs it and prints a table; exit status 1 where anything was exceeded or too little used."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.volume_overshoot", description=__doc__)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--decisions", type=int, default=200_000)
    parser.add_argument("--customers", type=int, default=500)
    parser.add_argument("--amount", type=int, default=3_000, help="charges each volume has (default 3000)")
    parser.add_argument("--crashes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    verdict = asyncio.run(run(Plan(**vars(parser.parse_args()))))
    print(report(verdict))
    return 0 if verdict.holds else 1


async def run(plan: Plan) -> Verdict:
    """Starts a store, lets the processes decide, kills some, and judges."""
    with tempfile.TemporaryDirectory(prefix="kairos-overshoot-") as name:
        folder = Path(name)
        async with embedded_valkey(folder) as server:
            url = f"redis://127.0.0.1:{server.port}"
            async with RedisClient.open(url, library=VOLUME_LIBRARY) as client:
                await RedisVolumeHolds(client, VolumeKeys(KEYS.namespace)).open({}, [])  # nothing was handed out yet
            began = time.monotonic()
            crashes = await asyncio.to_thread(_supervise, plan, folder, url)
            return _judge(plan, folder, crashes, time.monotonic() - began)


def report(verdict: Verdict) -> str:
    """The verdict as a table."""
    lines = [
        f"{verdict.decisions:,} decisions, {verdict.handed_out:,} offers handed out, {verdict.crashes} crashes,"
        f" {verdict.seconds:.0f} s",
        "volume          handed out     amount    used",
    ]
    lines += [
        f"{name:<15} {units:>10,} {amount:>10,} {units / amount:>7.2%}{'  EXCEEDED' if units > amount else ''}"
        for name, (units, amount) in sorted(verdict.used.items())
    ]
    lines += [
        f"volumes exceeded: {verdict.overshot}; least used: {verdict.least_used:.2%} (at least {LEAST_USED:.0%})",
        f"most contacts of one customer with one offer: {verdict.most_per_offer} (cap {OFFER_CAP})",
        f"most contacts of one customer: {verdict.most_per_customer} (cap {CUSTOMER_CAP})",
        "holds" if verdict.holds else "MISSED",
    ]
    return "\n".join(lines)


def strategy_text(amount: int) -> str:
    """A small bank in which every offer is limited."""
    offers, volumes = [], []
    for number in range(OFFERS):
        name, budget = f"offer_{number:02}", number < BUDGETS
        offers.append(
            f"  - {{name: {name}, group: cards, title: {{en: {name}}}, value: {1000 + 10 * number}, base_rate: 0.1,\n"
            f"     treatments: [{{name: main, channel: mobile, placements: [banner], content: {{en: {{title: x}}}}}}]}}"
        )
        units = f"amount: {amount * UNIT_COST}, unit_cost: {UNIT_COST}" if budget else f"amount: {amount}"
        resource = "budget" if budget else "stock"
        volumes.append(
            f"  - {{id: v_{number:02}, of: {{offer: {name}}}, resource: {resource}, {units}, per: {{calendar: month}}}}"
        )
    return _STRATEGY.format(
        offers="\n".join(offers), volumes="\n".join(volumes), offer_cap=OFFER_CAP, customer_cap=CUSTOMER_CAP
    )


_STRATEGY = """
name: scarce_bank
time_zone: UTC
currency: CNY
locales: [en]
consents: [{{name: marketing, default: granted, text: {{en: Marketing}}}}]
models: [{{name: cross_sell}}]
issues: [{{name: acquire}}]
groups: [{{name: cards, issue: acquire, model: cross_sell}}]
offers:
{offers}
placements:
  - {{id: banner, channel: mobile, max_count: 2, fallback: {{treatment: none, content: {{en: {{title: x}}}}}}}}
contact_policy:
  reservation_seconds: 86400
  limits:
    - {{id: per_offer, scope: offer, limit: {offer_cap}, window: 30d, code: CAP_OFFER, text: {{en: cap}}}}
    - {{id: in_total, scope: all, limit: {customer_cap}, window: 30d, code: CAP_ALL, text: {{en: cap}}}}
exploration: {{kind: epsilon_greedy, epsilon: 0.5}}
volumes:
{volumes}
"""


def _supervise(plan: Plan, folder: Path, url: str) -> int:
    """Keeps every place filled until its share of the decisions is made; returns how many were killed."""
    path = folder / "strategy.yaml"
    path.write_text(strategy_text(plan.amount), encoding="utf-8")
    prepared = prepare(load_strategy_file(path))
    share, rng, context = plan.decisions // plan.processes, random.Random(plan.seed), get_context("fork")
    logs = [folder / f"handed-out-{place}.log" for place in range(plan.processes)]
    lives, crashes = [0] * plan.processes, 0
    running: dict[int, BaseProcess] = {}
    # Crashes are spread over the first two thirds, while there is something to lose.
    due = [plan.decisions * 2 * (number + 1) // (3 * (plan.crashes + 1)) for number in range(plan.crashes)]
    while True:
        made = [_lines(log) for log in logs]
        if due and sum(made) >= due[0] and running:
            due.pop(0)
            victim = rng.choice(sorted(running))
            running.pop(victim).kill()
            crashes += 1
        for place in range(plan.processes):
            if place in running and not running[place].is_alive():
                running.pop(place)
            if place not in running and (left := share - _lines(logs[place])) > 0:
                lives[place] += 1
                worker = _Worker(plan, url, logs[place], f"{place}-{lives[place]}", left)
                running[place] = context.Process(target=worker.run, args=(prepared,), daemon=True)
                running[place].start()
        if not running:
            return crashes
        _show(sum(made), plan.decisions, crashes)
        time.sleep(0.2)


def _show(made: int, wanted: int, crashes: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{made:,} of {wanted:,} decisions, {crashes} crashes", end="", file=sys.stderr, flush=True)


def _lines(path: Path) -> int:
    """Lines so far. Each was written in one write, so a killed process leaves no half of one."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


@dataclass(frozen=True, slots=True)
class _Worker:
    """One process: it decides for random customers until its share is done."""

    plan: Plan
    url: str
    log: Path
    name: str
    decisions: int

    def run(self, prepared: PreparedStrategy) -> None:
        asyncio.run(self._run(prepared))

    async def _run(self, prepared: PreparedStrategy) -> None:
        sink = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        async with (
            RedisClient.open(self.url, limits=LIMITS, library=FUNCTION_LIBRARY) as client,
            RedisClient.open(self.url, limits=LIMITS, library=VOLUME_LIBRARY) as volume_client,
            RedisVolumeLeases(
                volume_client,
                VolumeKeys(KEYS.namespace),
                prepared.volumes,
                LeaseHolder(node=self.name, clock=SystemClock(), zone=prepared.zone, metrics=PrometheusMetrics()),
                TERMS,
            ) as leases,
        ):
            desk = _Desk(prepared, client, RedisContactLedger(client, KEYS), leases)
            numbers = iter(range(self.decisions))
            await asyncio.gather(*(self._decide(desk, numbers, sink, task) for task in range(TASKS)))

    async def _decide(self, desk: "_Desk", numbers: Iterator[int], sink: int, task: int) -> None:
        rng = random.Random(f"{self.plan.seed}-{self.name}-{task}")
        for number in numbers:
            customer = CustomerId(f"retail:{rng.randrange(self.plan.customers)}")
            offers = await desk.decide(customer, f"{self.name}.{number}")
            os.write(sink, f"{customer} {' '.join(offers)}\n".encode())


@dataclass(frozen=True, slots=True)
class _Desk:
    """Decides with the product's own parts."""

    prepared: PreparedStrategy
    client: RedisClient
    ledger: RedisContactLedger
    leases: RedisVolumeLeases

    async def decide(self, customer: CustomerId, decision_id: str) -> Sequence[str]:
        """The offers handed out; none when the store does not answer."""
        try:
            records = decode_records(await self.ledger.read(customer))
            now_ms = time.time_ns() // 1_000_000
            request = DecisionRequest(
                decision_id=DecisionId(decision_id),
                customer_id=customer,
                channel="mobile",
                placements=(PlacementRequest(id=PlacementId("banner"), count=2),),
                now_ms=now_ms,
                locale="en",
            )
            draft = decide(self.prepared, request, _CUSTOMER, records, {}, self.leases.view(now_ms))
            reservation = VolumeReservation(ledger=self.ledger, leases=self.leases)
            taken = await reservation.reserve(customer, self.prepared.volumes, draft)
        except StoreUnavailable:
            return ()
        return _offers(settle(self.prepared, draft, taken))


_CUSTOMER = CustomerSnapshot(
    known=True, attributes={}, holdings=frozenset(), consents={}, newest_event_ms=None
)  # fmt: skip


def _offers(decision: Decision) -> list[str]:
    return [option.candidate.offer for placement in decision.placements for option in placement.options]


def _judge(plan: Plan, folder: Path, crashes: int, seconds: float) -> Verdict:
    """Adds up what was handed out, line by line."""
    strategy = prepare(load_strategy_file(folder / "strategy.yaml"))
    units: Counter[str] = Counter()
    per_offer: Counter[tuple[str, str]] = Counter()
    per_customer: Counter[str] = Counter()
    decisions = 0
    for log in sorted(folder.glob("handed-out-*.log")):
        for line in log.read_text(encoding="utf-8").splitlines():
            customer, *offers = line.split()
            decisions += 1
            for offer in offers:
                per_offer[customer, offer] += 1
                per_customer[customer] += 1
                units.update(use_of_offer(strategy.volumes, offer, "mobile"))
    return Verdict(
        decisions=decisions,
        handed_out=per_customer.total(),
        crashes=crashes,
        used={volume.id: (units[volume.id], volume.amount) for volume in strategy.volumes.volumes},
        most_per_offer=max(per_offer.values(), default=0),
        most_per_customer=max(per_customer.values(), default=0),
        seconds=seconds,
    )


if __name__ == "__main__":
    sys.exit(main())
