"""What the guard has seen lately: each decision with what became of it, compared by customers.

A customer counts once a version, by the first decision in the window: many visits of one customer tell little more than
one, and whoever is there longer has more of them.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson

from services.ports import Delivery
from services.workers.guard_statistics import Count

MOST_SEEN = 200_000
"""Decisions remembered; the oldest make room."""
_ANYBODYS = frozenset(
    {
        "state_unavailable",
        "state_slow",
        "ledger_unavailable",
        "ledger_slow",
        "store_unavailable",
        "store_slow",
        "publish_delayed",
        "unaudited",
        "volumes_rebuilding",
    }
)
"""Degraded causes that befall every version alike: between two that decide one after the other they tell nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A decision: when it came by the bus, of whom, by which version, and how it went."""

    at_ms: int
    decision_id: str
    customer_id: str
    version: str
    degraded: bool
    own_fault: bool
    """Whether it was degraded by what another version could do without."""
    fell_back: bool
    offered: bool


@dataclass(frozen=True, slots=True)
class Span:
    """A version from a moment (inclusive) until another (exclusive), epoch milliseconds."""

    version: str
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Counts:
    """One version's customers by measure; for acceptance the bad are those who accepted."""

    degraded: Count
    fallback: Count
    acceptance: Count


@dataclass(slots=True)
class GuardWindow:
    """Decisions and acceptances of the last `kept_ms`; call `forget` now and then."""

    kept_ms: int
    _seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=MOST_SEEN))
    _accepted: dict[str, int] = field(default_factory=dict)
    """Decision to the moment an offer of it was accepted."""

    def take_decision(self, delivery: Delivery) -> None:
        """Notes a record of the decisions topic; one that is unreadable tells nothing."""
        data = _data(delivery)
        try:
            if data is None:
                return
            placements = data["placements"]
            causes = list(data["degraded_causes"])
            names = data["decision_id"], data["customer_id"], data["strategy_version"]
            if not all(isinstance(name, str) for name in names):
                return
            self._seen.append(
                Seen(
                    delivery.timestamp_ms,
                    *names,
                    degraded=bool(causes),
                    own_fault=not _ANYBODYS.issuperset(causes),
                    fell_back=any("fallback_cause" in p and p["fallback_cause"] is not None for p in placements),
                    offered=any(p.get("options") for p in placements),
                )
            )
        except (KeyError, TypeError, AttributeError):
            return

    def take_response(self, delivery: Delivery) -> None:
        """Notes an acceptance; a conversion is one, too."""
        data = _data(delivery)
        if data is not None and data.get("outcome") in ("accept", "convert"):
            self._accepted.setdefault(str(data.get("decision_id")), delivery.timestamp_ms)

    def forget(self, now_ms: int) -> None:
        """Drops what is older than is kept."""
        while self._seen and self._seen[0].at_ms < now_ms - self.kept_ms:
            self._seen.popleft()
        self._accepted = {id_: at for id_, at in self._accepted.items() if at >= now_ms - self.kept_ms}

    def counts(self, span: Span, now_ms: int, answer_ms: int, *, own_faults: bool) -> Counts:
        """How a version's customers fared. `own_faults` leaves out what befalls every version."""
        first: dict[str, Seen] = {}
        offered: dict[str, Seen] = {}
        for seen in self._seen:
            if seen.version != span.version or not span.since_ms <= seen.at_ms < span.until_ms:
                continue
            first.setdefault(seen.customer_id, seen)
            if seen.offered and seen.at_ms <= now_ms - answer_ms:
                offered.setdefault(seen.customer_id, seen)
        bad = sum(seen.own_fault if own_faults else seen.degraded for seen in first.values())
        return Counts(
            degraded=Count(len(first), bad),
            fallback=Count(len(first), sum(seen.fell_back for seen in first.values())),
            acceptance=Count(len(offered), sum(self._is_accepted(seen, answer_ms) for seen in offered.values())),
        )

    def _is_accepted(self, seen: Seen, answer_ms: int) -> bool:
        at_ms = self._accepted.get(seen.decision_id)
        return at_ms is not None and at_ms <= seen.at_ms + answer_ms


def _data(delivery: Delivery) -> dict[str, Any] | None:
    try:
        data = orjson.loads(delivery.value or b"")["data"]
    except (ValueError, KeyError, TypeError):
        return None
    return data if isinstance(data, dict) else None
