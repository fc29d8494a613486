"""What came of the requests of one step, counted in one process and added up over all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from loadtests.open_loop.histogram import LatencyHistogram

TIMED_OUT: Final = "timeout"
BROKEN: Final = "broken"
UNREACHABLE: Final = "unreachable"
NOT_SENT: Final = "not sent"
"""Outcomes that are no status: given up after the time-out, the connection ended before the answer, no connection to be
had, and no connection came free before the time-out."""
REFUSALS: Final = ("429", "503")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request. `result` is the status as text, or one of the words above; latencies in seconds from
    when it was meant to be sent, and from when it was."""

    result: str
    accepted: bool
    degraded: bool
    retry_after: bool
    latency_s: float
    service_s: float


@dataclass(slots=True)
class Tally:
    """Counts and latencies of one step. `all` holds every outcome, those given up with the time they were waited for;
    `accepted` what was answered as it should be; `refused` those of 429 and 503; `service` what was accepted, from
    when it was really sent."""

    deadline_s: float
    outcomes: dict[str, int] = field(default_factory=dict)
    all: LatencyHistogram = field(default_factory=LatencyHistogram)
    accepted: LatencyHistogram = field(default_factory=LatencyHistogram)
    refused: LatencyHistogram = field(default_factory=LatencyHistogram)
    service: LatencyHistogram = field(default_factory=LatencyHistogram)
    in_time: int = 0
    """Accepted within the deadline; `whole` of them without being degraded."""
    whole: int = 0
    degraded: int = 0
    late: int = 0
    """Accepted over the deadline and not marked as degraded."""
    retry_after: int = 0
    """Refusals that say when to come again."""
    unasked: int = 0
    """Responses with no offer to respond to: not sent."""
    by_second: dict[int, list[int]] = field(default_factory=dict)
    """By second of the run in which it was meant to be sent: sent, in time, and the longest latency in microseconds."""

    @property
    def sent(self) -> int:
        """Requests, whatever came of them."""
        return self.all.total

    def count(self, outcome: Outcome, second: int) -> None:
        """Counts one request."""
        self.outcomes[outcome.result] = self.outcomes.get(outcome.result, 0) + 1
        self.all.record(outcome.latency_s)
        good = outcome.accepted and outcome.latency_s <= self.deadline_s
        if outcome.accepted:
            self.accepted.record(outcome.latency_s)
            self.service.record(outcome.service_s)
            self.degraded += outcome.degraded
            self.in_time += good
            self.whole += good and not outcome.degraded
            self.late += not good and not outcome.degraded
        elif outcome.result in REFUSALS:
            self.refused.record(outcome.latency_s)
            self.retry_after += outcome.retry_after
        row = self.by_second.setdefault(second, [0, 0, 0])
        row[0] += 1
        row[1] += good
        row[2] = max(row[2], round(outcome.latency_s * 1e6))

    def refusals(self) -> int:
        """How many were told to come again later."""
        return sum(self.outcomes.get(name, 0) for name in REFUSALS)

    def errors(self) -> int:
        """Requests that were neither accepted nor refused in order, with `Retry-After`."""
        return self.sent - self.accepted.total - self.retry_after

    def merge(self, other: "Tally") -> None:
        """Adds what another has counted."""
        for name, count in other.outcomes.items():
            self.outcomes[name] = self.outcomes.get(name, 0) + count
        for mine, others in zip(self._histograms(), other._histograms(), strict=True):  # noqa: SLF001 - of its own kind
            mine.merge(others)
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for second, (sent, good, longest) in other.by_second.items():
            row = self.by_second.setdefault(second, [0, 0, 0])
            row[:] = [row[0] + sent, row[1] + good, max(row[2], longest)]

    def as_mapping(self) -> dict[str, object]:
        """For JSON, between processes."""
        names = ("all", "accepted", "refused", "service")
        histograms = {name: held.as_mapping() for name, held in zip(names, self._histograms(), strict=True)}
        counts = {name: getattr(self, name) for name in _COUNTS}
        seconds = [[second, *row] for second, row in sorted(self.by_second.items())]
        return {"deadline_s": self.deadline_s, "outcomes": self.outcomes, "by_second": seconds, **histograms, **counts}

    @classmethod
    def of(cls, found: Mapping[str, object]) -> "Tally":
        """What `as_mapping` gave. Raises KeyError, TypeError or ValueError on anything else."""
        held = dict(found)
        histograms = {}
        for name in ("all", "accepted", "refused", "service"):
            mapping = held.pop(name)
            if not isinstance(mapping, dict):
                raise TypeError(f"{name} of a tally is a histogram")
            histograms[name] = LatencyHistogram.of(mapping)
        seconds = held.pop("by_second")
        if not isinstance(seconds, list):
            raise TypeError("by_second of a tally is a list")
        by_second = {int(row[0]): [int(value) for value in row[1:]] for row in seconds}
        return cls(**held, **histograms, by_second=by_second)  # type: ignore[arg-type]

    def _histograms(self) -> tuple[LatencyHistogram, ...]:
        return self.all, self.accepted, self.refused, self.service


_COUNTS = ("in_time", "whole", "degraded", "late", "retry_after", "unasked")


def merged(tallies: Mapping[str, Tally]) -> Tally:
    """All steps together, each judged by its own deadline. ValueError where there is none."""
    if not tallies:
        raise ValueError("nothing was tallied")
    total = Tally(max(tally.deadline_s for tally in tallies.values()))
    for tally in tallies.values():
        total.merge(tally)
    return total
