"""The claims of performance about the path of one decision: where its processor time goes, and that it can be seen."""

import asyncio
from collections.abc import Callable
from functools import cache

from loadtests.evidence import Claim, Measured
from loadtests.results import Result, write

COMMAND = "python -m loadtests.decision_stages"
MOST_UNNAMED = 0.25
"""Of a decision's processor time: what is the event loop's and the use case's own."""
MOST_FOR_METRICS = 0.08
"""Of a decision's processor time, for measuring it: a thousand offers may be refused by as many rules."""


@cache
def _stages() -> Result:
    from loadtests.decision_stages import Plan, measure

    result = asyncio.run(measure(Plan(rounds=5)))
    write(result)
    return result


def _shares() -> tuple[dict[str, float], str]:
    """Each stage's share of the CPU time, and all of it in words."""
    result = _stages()
    stages = {
        name.removeprefix("now_").removesuffix("_us"): us
        for name, us in result.figures.items()
        if name.startswith("now_") and name.endswith("_us")
    }
    total = sum(stages.values())
    shares = {name: us / total for name, us in stages.items()}
    said = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    cpu_us = result.figures["now_cpu_us_per_decision"]
    return shares, f"{cpu_us:.0f} us of CPU a decision (load of the machine {result.machine['load_1m']}): {said}"


def _named() -> Measured:
    from loadtests.decision_stages import OTHER

    shares, said = _shares()
    return Measured(said, shares.get(OTHER, 0.0) <= MOST_UNNAMED)


def _share_of(stage: str, most: float) -> Callable[[], Measured]:
    def measure() -> Measured:
        shares, _ = _shares()
        return Measured(f"{100 * shares.get(stage, 0.0):.1f} %", shares.get(stage, 0.0) <= most)

    return measure


CLAIMS = (
    Claim(
        name="where a decision's time goes",
        target=f"the CPU time of the whole path by stage, at most {100 * MOST_UNNAMED:.0f} % of it in none",
        command=COMMAND,
        measure=_named,
        quick=False,
    ),
    Claim(
        name="measuring a decision is cheap",
        target=f"over 1,000 offers with rules of their own at most {100 * MOST_FOR_METRICS:.0f} % of its CPU time",
        command=COMMAND,
        measure=_share_of("metrics", MOST_FOR_METRICS),
        quick=False,
    ),
)
