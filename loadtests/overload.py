"""What a node does when it is asked for more than it can: `python -m loadtests.overload`.

One API process on the first processor; store, broker and sender on the second. Its capacity is what it answers to 16
agents who ask again at once; then it is asked for 1, 1.5, 3 and 10 times as much in an open loop, by agents (a fifth
of capacity), people at screens (three fifths) and batches (the rest); then the load falls to 0.7, a thousand clients
ask at once, and the store hangs for five seconds. Goodput is what is answered within 100 ms, by the clock and by the
server's processor time: the second means the same on a busy machine.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from os import getloadavg
from typing import Any

from loadtests.open_loop.product import API, Product, own_product
from loadtests.overload_sender import Wave
from loadtests.results import describe, write
from loadtests.server_processes import Server, closed_loop_round, processor_seconds, processors, resident_mib
from services.adapters.redis_client import RedisClient

LOADS = (1.0, 1.5, 3.0, 10.0)
AFTER = 0.7
DEADLINE_MS = 100.0
HANGS_S = 5.0
_BODY = json.dumps(
    {
        "request_id": "c-%d",
        "customer_id": "retail:%d",
        "channel": "contact_centre",
        "placements": [{"id": "agent_panel", "count": 3}],
        "timeout_ms": 1000,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One load and what came of it; shares are of the capacity measured in the same run."""

    load: float
    seconds: float
    goodput: float
    by_cpu: float
    """Good answers per second of the server's processor time, as a share of those at capacity."""
    refusal_cost: float
    """Processor time of a refusal as a share of a decision's."""
    memory_mib: float
    report: dict[str, Any]

    def share_in_time(self, name: str) -> float:
        """Of what the class asked for."""
        found = self.report["classes"][name]
        return found["in_time"] / found["sent"] if found["sent"] else 1.0


def main() -> int:
    """Prints the tables; status 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds a load")
    parser.add_argument("--loads", default=",".join(f"{load:g}" for load in LOADS), help="times capacity")
    args = parser.parse_args()
    return asyncio.run(_run(args.seconds, [float(load) for load in args.loads.split(",")]))


async def _run(seconds: float, loads: list[float]) -> int:
    async with own_product() as product:
        run = Overload(product)
        run.find_capacity()
        levels = [run.level(load, seconds) for load in loads]
        after = run.level(AFTER, 8.0)
        herd = run.wave({"interactive": 0.5 * run.capacity}, 14.0, herd=1_000)
        hanging = await run.while_the_store_hangs()
    print(_table(levels, run, after))
    verdicts = [*_of_overload(levels), *_of_recovery(run, after, herd), *_of_hanging(hanging)]
    width = max(len(name) for name, _, _ in verdicts)
    for name, text, holds in verdicts:
        print(f"{name:{width}}  {text}  {'holds' if holds else 'MISSED'}")
    print(f"load of the machine: {getloadavg()[0]:.1f}")
    figures = {f"goodput_share_at_{level.load:g}x": level.goodput for level in levels}
    figures |= {f"p99_ms_at_{level.load:g}x": level.report["p99_ms"] for level in levels}
    write(
        describe("overload", "Overload at one to ten times capacity", figures={"capacity_rps": run.capacity, **figures})
    )
    return 0 if all(holds for _, _, holds in verdicts) else 1


class Overload:
    """One server under one load after another."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._pid = product.watched[API]
        self._next = 0
        self.capacity = 0.0
        self.cpu_s = 0.0
        """Processor time of a decision at capacity."""
        self.memory_mib = 0.0

    def find_capacity(self) -> None:
        """The median of three rounds of 16 agents, as many as a node never refuses, after one that warms it."""
        port = self._product.port
        server = Server(name="kairos", port=port, path="/v1/decisions", body=_BODY, pid=self._pid)
        rounds = [
            closed_loop_round(server, connections=16, seconds=3.0, customers=self._product.customers) for _ in range(4)
        ][1:]
        self.capacity = sorted(each.requests_per_s for each in rounds)[1]
        self.cpu_s = sorted(each.cpu_ms for each in rounds)[1] / 1000
        self.memory_mib = resident_mib(self._pid)

    def level(self, load: float, seconds: float) -> Level:
        """Asks for so many times the capacity."""
        rates = {"agent": 0.2 * min(1.0, load), "interactive": 0.6 * min(1.0, load)}
        rates["batch"] = load - sum(rates.values())
        before = processor_seconds(self._pid)
        report = self.wave({name: share * self.capacity for name, share in rates.items()}, seconds)
        spent = processor_seconds(self._pid) - before
        classes = report["classes"].values()
        good = sum(found["in_time"] for found in classes)
        answered = good + sum(found["late"] for found in classes)
        refused = sum(found["refused"] for found in classes)
        return Level(
            load=load,
            seconds=seconds,
            goodput=good / seconds / self.capacity,
            by_cpu=good / spent * self.cpu_s,
            refusal_cost=max(0.0, spent - answered * self.cpu_s) / refused / self.cpu_s if refused else 0.0,
            memory_mib=resident_mib(self._pid),
            report=report,
        )

    def wave(self, rates: dict[str, float], seconds: float, herd: int = 0) -> dict[str, Any]:
        """What the sender found."""
        wave = {
            "port": self._product.port, "rates": rates, "seconds": seconds, "herd": herd, "first": self._next,
            "customers": self._product.customers, "cpus": processors()[1], "deadline_ms": DEADLINE_MS,
            "connections": 1_200 if herd else Wave(0, {}, 0.0).connections,
        }  # fmt: skip
        command = [sys.executable, "-m", "loadtests.overload_sender", json.dumps(wave)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 90)
        report: dict[str, Any] = json.loads(done.stdout)
        self._next = report["last_number"]
        return report

    async def while_the_store_hangs(self) -> dict[str, Any]:
        """A third of the load; after three seconds the store answers nobody for five."""
        running = asyncio.create_task(asyncio.to_thread(self.wave, {"interactive": 0.3 * self.capacity}, 16.0))
        async with RedisClient.open(self._product.environment["KAIROS_REDIS_URL"]) as client:
            await asyncio.sleep(4.0)
            await client.execute("CLIENT", "PAUSE", round(HANGS_S * 1000), "ALL")
        return await running


Verdict = tuple[str, str, bool]


def _of_overload(levels: list[Level]) -> list[Verdict]:
    found: list[Verdict] = []
    for level in levels:
        least = {3.0: 0.9, 10.0: 0.7}.get(level.load)
        name = f"{level.load:g}x"
        if least is not None:
            text = f"{level.goodput:.2f} of capacity in time (by processor time {level.by_cpu:.2f}), target {least}"
            found.append((f"goodput at {name}", text, level.goodput >= least))
        p99 = level.report["p99_ms"]
        found.append((f"p99 of answers at {name}", f"{p99:.0f} ms, target 100", p99 <= DEADLINE_MS))
        if level.load > 1:
            refused = level.report["refused_p99_ms"]
            found.append((f"p99 of refusals at {name}", f"{refused:.1f} ms, target 20", refused <= 20))
            agents, people = level.share_in_time("agent"), level.share_in_time("interactive")
            found.append((f"agents in time at {name}", f"{agents:.2%}, target 99 %", agents >= 0.99))
            found.append((f"screens in time at {name}", f"{people:.2%}, target 99 %", people >= 0.99))
        if level.load >= 3:
            found.append(
                (f"cost of a refusal at {name}", f"{level.refusal_cost:.3f} of a decision", level.refusal_cost < 0.1)
            )
        bare = sum(each["without_pause"] + each["failed"] for each in level.report["classes"].values())
        found.append((f"answers of another kind at {name}", f"{bare}", bare == 0))
    return found


def _of_recovery(run: Overload, after: Level, herd: dict[str, Any]) -> list[Verdict]:
    late_seconds = [second for second, good, late, _ in after.report["by_second"] if late > 0.01 * (good + late)]
    recovered_s = max(late_seconds, default=-1) + 1
    growth = after.memory_mib / run.memory_mib - 1
    rows = {second: good for second, good, *_ in herd["by_second"]}
    share = rows.get(11, 0) / (0.5 * run.capacity)
    served = herd["classes"]["herd"]["in_time"] + herd["classes"]["herd"]["late"]
    return [
        ("full rate again after 10x", f"within {recovered_s} s, target 5", recovered_s <= 5),
        ("memory after 10x", f"{growth:+.1%}, target +10 %", growth <= 0.1),
        ("1,000 clients at once", f"{served} served by second {herd['herd_s']:.1f}", served == 1_000),
        ("goodput ten seconds later", f"{share:.2f} of what is asked, target 0.9", share >= 0.9),
    ]


def _of_hanging(hanging: dict[str, Any]) -> list[Verdict]:
    found = hanging["classes"]["interactive"]
    answered = found["in_time"] + found["late"]
    degraded = {second: row for second, _, _, row in hanging["by_second"]}
    # The sender begins up to a second after the run does, so the hang lies in the third second or behind it.
    begin = next((second for second in sorted(degraded) if degraded[second] > 0), 0)
    last = max((second for second in degraded if degraded[second] > 0), default=0)
    over_s = last + 1 - begin - HANGS_S
    refusals = found["refused"] + found["failed"]
    p99 = found["p99_ms"]
    return [
        ("store hangs: p99", f"{p99:.0f} ms, target 120 (1.2 deadlines)", p99 <= 1.2 * DEADLINE_MS),
        ("store hangs: answered", f"{answered} of {found['sent']}, refused {refusals}", refusals <= 0.001 * answered),
        ("store hangs: whole again", f"at most {over_s:.0f} s after it, target 5", over_s <= 5),
    ]


def _table(levels: list[Level], run: Overload, after: Level) -> str:
    lines = [
        f"capacity {run.capacity:.0f}/s, {run.cpu_s * 1000:.2f} ms of a processor each, {run.memory_mib:.0f} MiB",
        "| load | goodput | by processor time | p50 ms | p99 ms | refusals p99 ms | agents | screens | batches |"
        " cost of a refusal | MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    share: Callable[[Level, str], str] = lambda level, name: f"{level.share_in_time(name):.1%}"  # noqa: E731
    for level in [*levels, after]:
        report = level.report
        lines.append(
            f"| {level.load:g}x | {level.goodput:.2f} | {level.by_cpu:.2f} | {report['p50_ms']:.1f} |"
            f" {report['p99_ms']:.1f} | {report['refused_p99_ms']:.1f} | {share(level, 'agent')} |"
            f" {share(level, 'interactive')} | {share(level, 'batch')} | {level.refusal_cost:.3f} |"
            f" {level.memory_mib:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
