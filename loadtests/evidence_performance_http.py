"""The claims of performance about decisions over HTTP. Those of latency, tail and overload come from one run of the
capacity measurement, which is made once."""

import asyncio
from collections.abc import Callable
from functools import cache

from loadtests.evidence import Claim, Measured
from loadtests.evidence_engine import claim
from loadtests.results import Result, write

COMMAND = "python -m loadtests.open_loop.capacity"
SECONDS = 10.0


@cache
def _capacity() -> Result:
    from loadtests.open_loop.capacity import measure
    from loadtests.open_loop.capacity_result import result_of

    result = result_of(asyncio.run(measure(seconds=SECONDS, naive=False)))
    write(result)
    return result


def _judged(name: str) -> Callable[[], Measured]:
    """The verdict of this name; one that the measurement does not have is a mistake here."""

    def measure() -> Measured:
        result = _capacity()
        found = next(each for each in result.verdicts if each.claim == name)
        return Measured(f"{found.measured} (load of the machine {result.machine['load_1m']})", found.holds)

    return measure


def _of_capacity(name: str, target: str) -> Claim:
    return Claim(name=name, target=target, command=COMMAND, measure=_judged(name), quick=False)


CLAIMS = (
    claim(
        "decisions beside the naive application",
        "whole path over 1,000 offers, one process on one core: at least twice the requests a second of the naive "
        "application, which only looks up features and calls the model",
        ["loadtests.bench_http"],
        timeout=600,
        quick=False,
    ),
    _of_capacity("latency at half of capacity", "open loop, Poisson arrivals: p50 under 2 ms, p99 under 8 ms"),
    _of_capacity("tail at 80 % of capacity", "p99 at most 4 times p50"),
    _of_capacity("nothing late that is not marked as degraded", "0 answers over 100 ms, at every load"),
    _of_capacity("goodput at three times capacity", "at least 90 % of capacity"),
    _of_capacity("agents at three times capacity", "at least 99 % of their decisions within the deadline"),
    _of_capacity("the rest at three times capacity", "429 or 503 with `Retry-After`"),
    claim(
        "the load generator is not the bottleneck",
        "at least 4,000 requests a second from one process, at most 5 ms behind its schedule in the worst 1 %",
        ["loadtests.open_loop.ceiling"],
        timeout=300,
    ),
    claim(
        "the load generator sees what a closed loop does not",
        "a stall of a second is in the latencies of all that were due in it; percentiles agree with numpy to 0.1 %",
        ["pytest", "-q", "tests/unit/loadtests"],
        timeout=300,
    ),
)
