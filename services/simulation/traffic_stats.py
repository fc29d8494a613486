"""What the simulated traffic has seen so far: counts, latencies, accept rates beside the truth, recent decisions."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

RECENT_LATENCIES = 2_000
RECENT_IMPRESSIONS = 1_000
RECENT_TRUTHS = 500
RECENT_DECISIONS = 12
RATE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDecision:
    """A decision as its channel saw it."""

    at_ms: int
    customer_id: str
    channel: str
    placement: str
    outcome: str
    """The offer of rank 1, or the cause of the fallback."""
    offered: bool
    reasons: tuple[str, ...]
    propensity: float | None
    took_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueWorth:
    """The truth about one decision: the expected value (minor units) of the offer made, and the mean over all that
    were eligible, which is what a random one of them would earn."""

    offered: float
    random_eligible: float


class Rate:
    """Happenings a second over the last few seconds."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def add(self, count: int = 1) -> None:
        """Counts happenings now."""
        self._marks.append((monotonic(), count))

    def per_second(self) -> float:
        """The rate over the last RATE_SECONDS."""
        now = monotonic()
        while self._marks and now - self._marks[0][0] > RATE_SECONDS:
            self._marks.popleft()
        if not self._marks:
            return 0.0
        return sum(count for _, count in self._marks) / max(RATE_SECONDS / 5, now - self._marks[0][0])


@dataclass(slots=True)
class TrafficStats:
    """Running figures, written by the traffic and read by the terminal; one event loop, so no locks."""

    phase: str = "starting"
    simulated_ms: int = 0
    events: int = 0
    visits_skipped: int = 0
    decisions: int = 0
    options: int = 0
    fallbacks: int = 0
    degraded: int = 0
    impressions: int = 0
    accepts: int = 0
    rejects: int = 0
    errors: int = 0
    last_error: str = ""
    models: dict[str, str] = field(default_factory=dict)
    event_rate: Rate = field(default_factory=Rate)
    decision_rate: Rate = field(default_factory=Rate)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_LATENCIES))
    accepted: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT_IMPRESSIONS))
    truths: deque[TrueWorth] = field(default_factory=lambda: deque(maxlen=RECENT_TRUTHS))
    recent: deque[SeenDecision] = field(default_factory=lambda: deque(maxlen=RECENT_DECISIONS))

    def note_events(self, count: int) -> None:
        """Events the bus has acknowledged."""
        self.events += count
        self.event_rate.add(count)

    def note_decision(self, seen: SeenDecision, *, degraded: bool) -> None:
        """One answer."""
        self.decisions += 1
        self.decision_rate.add()
        self.latencies_ms.append(seen.took_ms)
        self.options += seen.offered
        self.fallbacks += not seen.offered
        self.degraded += degraded
        self.recent.append(seen)

    def note_impression(self, *, accepted: bool, rejected: bool) -> None:
        """One option shown and how it ended."""
        self.impressions += 1
        self.accepts += accepted
        self.rejects += rejected
        self.accepted.append(accepted)

    def note_error(self, what: str) -> None:
        """A request that failed."""
        self.errors += 1
        self.last_error = what

    def latency_ms(self, share: float) -> float | None:
        """A quantile of the recent latencies, as the client measured them."""
        return quantile(list(self.latencies_ms), share)

    @property
    def accept_rate(self) -> float | None:
        """Share of the recent impressions that were accepted."""
        return sum(self.accepted) / len(self.accepted) if self.accepted else None

    @property
    def true_worth(self) -> tuple[float, float] | None:
        """By the truth, on the same recent decisions: mean expected value (minor units) of what was offered, and of a
        random eligible offer in its place."""
        if not self.truths:
            return None
        count = len(self.truths)
        return sum(t.offered for t in self.truths) / count, sum(t.random_eligible for t in self.truths) / count


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` of the values lie; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
