"""How much of a node one client may use: requests a second, requests at once, and a fair share when it is full.

Limits are counted in each process by itself: a client of n nodes may make n times as many requests.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.api.errors import OVERLOADED, ApiError
from services.ports import Metrics

CONTESTED = 0.75
"""Of the places of a node: beyond it nobody gets more than a fair share, so that others find room."""
_MOST_BUCKETS = 10_000
UNCLASSED = "any"
"""The class of requests that are refused whatever class they are of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """`per_second` requests on average, `burst` saved up for at once, `at_once` under way. None: no limit."""

    per_second: float | None = None
    burst: float | None = None
    """Default: the requests of one second, at least one."""
    at_once: int | None = None

    @classmethod
    def of(cls, entry: object) -> "RateLimit":
        """From `{"per_second": 50, "burst": 100, "at_once": 8}`, each optional. Raises ValueError naming the fault."""
        if not isinstance(entry, dict) or not entry or set(entry) - {"per_second", "burst", "at_once"}:
            raise ValueError("limit must be an object of per_second, burst, at_once")
        for name, value in entry.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"limit: {name} must be a number above 0")
        if not isinstance(entry.get("at_once", 1), int):
            raise ValueError("limit: at_once must be a whole number")
        if entry.get("burst", 1) < 1:
            raise ValueError("limit: burst must be at least 1")
        return cls(**entry)

    def over(self, other: "RateLimit") -> "RateLimit":
        """These, and the other's where these say nothing. A rate brings its own burst."""
        return RateLimit(
            per_second=other.per_second if self.per_second is None else self.per_second,
            burst=other.burst if self.burst is None and self.per_second is None else self.burst,
            at_once=other.at_once if self.at_once is None else self.at_once,
        )

    @property
    def saved(self) -> float:
        """Requests that may come at once after a rest."""
        return max(1.0, self.burst or self.per_second or 1.0)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


@dataclass(slots=True)
class Room:
    """Requests of one kind that are under way, by client."""

    places: int
    at_work: dict[str, int] = field(default_factory=dict)
    taken: int = 0


@dataclass(slots=True)
class Admission:
    """Counts what clients do. `default` holds for whom nothing else is said. `monotonic_s` only moves forward."""

    default: RateLimit = field(default_factory=RateLimit)
    metrics: Metrics | None = None
    monotonic_s: Callable[[], float] = time.monotonic
    _buckets: dict[str, _Bucket] = field(default_factory=dict, init=False)

    def take(self, client: str, limit: RateLimit | None) -> None:
        """One request of the client. Raises ApiError that says when the next may come."""
        limit = self._of(limit)
        if limit.per_second is None:
            return
        bucket = self._filled(client, limit)
        if bucket.tokens < 1:
            self._count("rate")
            wait_s = (1 - bucket.tokens) / limit.per_second
            text = f"More than {limit.per_second:g} requests a second."
            raise ApiError(OVERLOADED, text, retry_after_s=max(1, math.ceil(wait_s)))
        bucket.tokens -= 1

    def charge(self, client: str, limit: RateLimit | None, further: int) -> None:
        """The request asked for more than one thing: the client waits the longer for the next one."""
        limit = self._of(limit)
        if further > 0 and limit.per_second is not None:
            self._filled(client, limit).tokens -= further

    @contextmanager
    def working(self, room: "Room", client: str, limit: RateLimit | None) -> Iterator[None]:
        """A place in the room for one more of the client's requests, or ApiError."""
        own, at_once = room.at_work.get(client, 0), self._of(limit).at_once
        if at_once is not None and own >= at_once:
            self._refuse("client_at_once", f"More than {at_once} requests at once.")
        if room.taken >= room.places:
            self._refuse("in_flight", "Too many requests are being worked on; try again shortly.")
        if room.taken >= CONTESTED * room.places and own >= room.places / (len(room.at_work) + (own == 0)):
            self._refuse("fair_share", "Others wait, too; try again shortly.")
        room.at_work[client] = own + 1
        room.taken += 1
        try:
            yield
        finally:
            room.taken -= 1
            room.at_work[client] -= 1
            if not room.at_work[client]:
                del room.at_work[client]

    def _of(self, limit: RateLimit | None) -> RateLimit:
        return self.default if limit is None else limit.over(self.default)

    def _filled(self, client: str, limit: RateLimit) -> _Bucket:
        """The client's bucket with what has come in since it was last looked at."""
        now_s = self.monotonic_s()
        bucket = self._buckets.get(client)
        if bucket is None:
            if len(self._buckets) >= _MOST_BUCKETS:
                self._buckets = {name: kept for name, kept in self._buckets.items() if kept.at_s > now_s - 60}
            bucket = self._buckets[client] = _Bucket(limit.saved, now_s)
        bucket.tokens = min(limit.saved, bucket.tokens + (now_s - bucket.at_s) * (limit.per_second or 0.0))
        bucket.at_s = now_s
        return bucket

    def _refuse(self, reason: str, text: str) -> None:
        self._count(reason)
        raise ApiError(OVERLOADED, text)

    def _count(self, reason: str) -> None:
        if self.metrics is not None:
            self.metrics.count("shed_total", reason=reason, priority=UNCLASSED)
