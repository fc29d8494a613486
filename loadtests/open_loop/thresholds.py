"""Bounds that fail a run: `p99=50ms`, `panel.p99=20ms`, `errors=1%`, `goodput=99%`.

| measure | the bound is the most (of `goodput` the least) | unit |
|---|---|---|
| `p50` `p90` `p99` `p999` `max` `mean` | latency of what was answered as it should be | `us`, `ms`, `s` |
| `goodput` | answered in time and not degraded, of what was sent | `%`, or a number a second |
| `in_time` | answered in time, degraded or not, of what was sent | `%` |
| `errors` | neither answered nor refused with `Retry-After`, of what was sent | `%` |
| `refused` `degraded` `late` | refused; degraded; over the deadline and not degraded | `%` |
| `lag` | what the generator itself was late, in its worst 1 % | `us`, `ms`, `s` |

With a step's name and a dot before it a bound is of that step alone.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.open_loop.load import Finding
from loadtests.open_loop.tally import Tally

_PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
_SHARES: dict[str, Callable[[Tally], int]] = {
    "errors": Tally.errors,
    "refused": Tally.refusals,
    "degraded": lambda tally: tally.degraded,
    "late": lambda tally: tally.late,
    "in_time": lambda tally: tally.in_time,
    "goodput": lambda tally: tally.whole,
}
_AT_LEAST = {"goodput", "in_time"}
_TIMES = (*_PERCENTILES, "mean", "lag")
_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_FORM = re.compile(r"(?:(?P<step>\w+)\.)?(?P<measure>\w+)=(?P<value>\d+(?:\.\d+)?)(?P<unit>us|ms|s|%|/s)?")


class ThresholdUnreadable(Exception):
    """The text is no threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A bound: `value` in milliseconds, in per cent, or in answers a second (`unit`)."""

    text: str
    step: str | None
    measure: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A threshold, what was found in its unit, and whether it holds."""

    threshold: Threshold
    found: float
    holds: bool


def threshold_of(text: str) -> Threshold:
    """Raises ThresholdUnreadable naming the fault."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ThresholdUnreadable(f"{text!r}: expected MEASURE=VALUE, such as p99=50ms or errors=1%")
    measure, unit, value = found["measure"], found["unit"], float(found["value"])
    if measure in _TIMES:
        if unit not in _MS:
            raise ThresholdUnreadable(f"{text!r}: a latency is in us, ms or s")
        return Threshold(text=text, step=found["step"], measure=measure, value=value * _MS[unit], unit="ms")
    if measure not in _SHARES:
        raise ThresholdUnreadable(f"{text!r}: known are {', '.join((*_TIMES, *_SHARES))}")
    if unit == "/s" and measure != "goodput":
        raise ThresholdUnreadable(f"{text!r}: only goodput is bounded in answers a second")
    if unit not in ("%", "/s"):
        raise ThresholdUnreadable(f"{text!r}: expected per cent")
    return Threshold(text=text, step=found["step"], measure=measure, value=value, unit=unit)


def judge(threshold: Threshold, finding: Finding) -> Judged:
    """Whether it holds; of what was never answered no latency holds. Raises ThresholdUnreadable for a step that the run
    does not have."""
    if threshold.step is not None and threshold.step not in finding.tallies:
        raise ThresholdUnreadable(f"{threshold.text!r}: the steps of this run are {', '.join(finding.tallies)}")
    tally = finding.total if threshold.step is None else finding.tallies[threshold.step]
    value = _value(threshold, tally, finding)
    holds = value >= threshold.value if threshold.measure in _AT_LEAST else value <= threshold.value
    return Judged(threshold, value, holds)


def _value(threshold: Threshold, tally: Tally, finding: Finding) -> float:
    measure = threshold.measure
    if measure == "lag":
        return finding.lag.percentile_ms(99)
    if measure == "mean":
        return tally.accepted.mean_ms()
    if measure in _PERCENTILES:
        return tally.accepted.percentile_ms(_PERCENTILES[measure])
    if threshold.unit == "/s":
        return tally.whole / finding.seconds
    return 100 * _SHARES[measure](tally) / tally.sent if tally.sent else float("nan")
