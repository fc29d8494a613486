"""One process of the generator: `python -m loadtests.open_loop.worker FILE`.

It reads a plan as a line of JSON, says `ready` when its connections are open, reads the moment (of `monotonic`, which
the processes of one machine share) at which the run begins, and in the end leaves what it found in the file, as JSON.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvloop

from loadtests.open_loop.histogram import LatencyHistogram
from loadtests.open_loop.plan import Plan
from loadtests.open_loop.sender import Sent, send
from loadtests.open_loop.tally import Tally

READY = "ready"


def main() -> int:
    """Runs the plan."""
    plan = Plan.of(json.loads(sys.stdin.readline()))
    bind(plan.processors)
    hand_over(uvloop.run(send(plan, told_to_begin)), Path(sys.argv[1]))
    return 0


async def told_to_begin() -> float:
    """Says that this process is ready, and waits for the moment."""
    print(READY, flush=True)
    return float(await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline))


def bind(processors: Sequence[int]) -> None:
    """Keeps this process on these processors, where that can be done."""
    if processors and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, processors)


def hand_over(sent: Sent, file: Path) -> None:
    """Leaves what was found in the file: the whole of it or, where that fails, nothing. Raises OSError."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(as_mapping(sent)), "utf-8")
    part.replace(file)


def as_mapping(sent: Sent) -> dict[str, object]:
    """For JSON."""
    return {
        "tallies": {name: tally.as_mapping() for name, tally in sent.tallies.items()},
        "lag": sent.lag.as_mapping(),
    }


def sent_of(found: Mapping[str, object]) -> Sent:
    """What `as_mapping` gave. Raises KeyError or TypeError on anything else."""
    tallies, lag = found["tallies"], found["lag"]
    if not isinstance(tallies, dict) or not isinstance(lag, dict):
        raise TypeError("a process of the generator answers with tallies and lag")
    return Sent({str(name): Tally.of(tally) for name, tally in tallies.items()}, LatencyHistogram.of(lag))


if __name__ == "__main__":
    sys.exit(main())
