"""`python -m loadtests.faults.soak`: a day of the bank in minutes, with memory and handles of every process watched.

Events carry the times of the last twenty-four hours, faster than they passed, while decisions and responses go on;
every process is looked at again and again. Of each the slope of its memory over the simulated hours is fitted by least
squares after a first quarter in which caches fill; a slope of a megabyte an hour or a growing number of handles is a
miss. The store keeps what the bank has become, so its figures are shown and not judged.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.faults.battle import Battle
from loadtests.faults.campaign import Judge
from loadtests.faults.load import Load, Rates
from loadtests.faults.system import ROLES, System, running_system
from loadtests.results import Line, Plot, Result, Table, Verdict, describe, write

HOURS = 24.0
SAMPLE_S = 2.0
WARM_SHARE = 0.25
MOST_MB_AN_HOUR = 1.0
MOST_HANDLES = 3
"""How many more at the end than after warming up: connections come and go with the load."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process: when, in simulated hours; resident memory in megabytes; open handles."""

    hour: float
    mb: float
    handles: int


@dataclass(slots=True)
class Watched:
    """Every look at every process, by its name."""

    samples: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))

    def slopes(self) -> dict[str, tuple[float, int]]:
        """By process megabytes a simulated hour, and handles more at the end than after warming up."""
        found = {}
        for name, samples in self.samples.items():
            warm = [one for one in samples if one.hour >= HOURS * WARM_SHARE]
            if len(warm) > 2:
                found[name] = (slope([(one.hour, one.mb) for one in warm]), _growth(warm))
        return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line of least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def _growth(samples: Sequence[Sample]) -> int:
    """The least of the last third against the least of the first: what is only busy for a moment does not count."""
    third = max(1, len(samples) // 3)
    return min(s.handles for s in samples[-third:]) - min(s.handles for s in samples[:third])


def look(pid: int, hour: float) -> Sample | None:
    """None for a process that is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        handles = len(os.listdir(f"/proc/{pid}/fd"))
    except (OSError, IndexError):
        return None
    return Sample(hour, pages * os.sysconf("SC_PAGE_SIZE") / 2**20, handles)


async def soak(minutes: float, seed: int, folder: Path, rates: Rates) -> tuple[Watched, Load, Mapping[str, list[str]]]:
    """Runs it; what was seen, the load, and what the judge found at the end. Raises NotRecovered."""
    watched = Watched()
    async with running_system(folder, "embedded", ROLES) as system:
        began, speed = time.monotonic(), HOURS * 60 / minutes
        first_ms = time.time_ns() // 1_000_000 - int(HOURS * 3_600_000)

        def simulated_ms() -> int:
            return min(first_ms + int((time.monotonic() - began) * 1000 * speed), time.time_ns() // 1_000_000)

        load = Load(system, random.Random(seed), rates, clock_ms=simulated_ms)
        async with load.running():
            while (hour := (time.monotonic() - began) * speed / 3600) < HOURS:
                _look_at_all(system, watched, hour)
                await load.renew(2)
                await asyncio.sleep(SAMPLE_S)
            findings = await Judge(Battle(system=system, load=load)).judge(everybody=True)
    return watched, load, findings


def _look_at_all(system: System, watched: Watched, hour: float) -> None:
    pids = {name: role.pid for name, role in system.roles.items()} | {"store": system.store.server.pid}
    for name, pid in pids.items():
        if pid and (sample := look(pid, hour)) is not None:
            watched.samples[name].append(sample)


def result(watched: Watched, load: Load, findings: Mapping[str, list[str]]) -> Result:
    """For `var/bench`."""
    slopes = watched.slopes()
    judged = {name: found for name, found in slopes.items() if name != "store"}
    rows: list[list[str | float]] = [[name, round(mb, 3), handles] for name, (mb, handles) in sorted(slopes.items())]
    worst = max((mb for mb, _ in judged.values()), default=0.0)
    flat = bool(judged) and all(mb < MOST_MB_AN_HOUR and more <= MOST_HANDLES for mb, more in judged.values())
    return describe(
        "faults-soak",
        "A simulated day, compressed",
        figures={
            "worst_slope_mb_per_simulated_hour": round(worst, 4),
            "most_handles_more": float(max((more for _, more in judged.values()), default=0)),
            "events": float(load.events),
            "answers": float(len(load.answers)),
            "findings": float(sum(map(len, findings.values()))),
        },
        tables=[Table("Slopes after warming up", ["process", "MB a simulated hour", "handles more"], rows)],
        plots=[
            Plot(
                "Memory of every process",
                "simulated hour",
                "MB",
                [Line(name, [(s.hour, s.mb) for s in samples]) for name, samples in sorted(watched.samples.items())],
            )
        ],
        verdicts=[
            Verdict("memory is flat", f"below {MOST_MB_AN_HOUR:g} MB a simulated hour", f"worst {worst:.3f}", flat),
            Verdict("nothing is lost or doubled", "0 findings", str(dict(findings)) if findings else "0", not findings),
        ],
    )


def main() -> int:
    """Exit status 0 only if memory and handles are flat and the judge found nothing."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.faults.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the day takes (default 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=40.0, help="decisions a second (default 40); twice the events")
    args = parser.parse_args()
    rates = Rates(events=2 * args.rate, decisions=args.rate, responses=args.rate / 2)
    with tempfile.TemporaryDirectory(prefix="kairos-soak-", ignore_cleanup_errors=True) as name:
        watched, load, findings = asyncio.run(soak(args.minutes, args.seed, Path(name), rates))
    made = result(watched, load, findings)
    for row in made.tables[0].rows:
        print(f"{row[0]:<14} {row[1]:>9} MB/h {row[2]:>4} handles")
    print(f"{load.events:,} events, {len(load.answers):,} decisions; load {os.getloadavg()[0]:.1f}")
    for verdict in made.verdicts:
        print(f"{verdict.claim}: {verdict.measured} ({'holds' if verdict.holds else 'MISSED'})")
    print(f"written to {write(made)}")
    return 0 if all(verdict.holds for verdict in made.verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
