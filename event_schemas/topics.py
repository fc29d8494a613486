"""The topics, what they carry, and how long they keep it. The key of a record is always the event's subject."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

TRANSACTIONS = "bank.transactions.v1"
CHANNEL_EVENTS = "bank.channel-events.v1"
PROFILE_UPDATES = "bank.profile-updates.v1"
BUSINESS_SIGNALS = "bank.business-signals.v1"
DECISIONS = "nbo.decisions.v1"
RESPONSES = "nbo.responses.v1"
OUTBOUND = "nbo.outbound.v1"
CONVERSIONS = "nbo.conversions.v1"
SHADOW_SCORES = "nbo.shadow-scores.v1"
ERASURES = "nbo.erasures.v1"
CONTROL = "nbo.control.v1"
DEAD_LETTERS = "nbo.dead-letters.v1"

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """How a topic is to be created. `retention_ms` None keeps records for ever (or, compacted, the newest a key)."""

    name: str
    carries: str
    compacted: bool = False
    retention_ms: int | None = None


ALL_TOPICS: tuple[TopicSpec, ...] = (
    # The bank's own log is what state is rebuilt from, so it must outlast the longest window (a year) and more.
    TopicSpec(name=TRANSACTIONS, carries="money that moved", retention_ms=550 * _DAY_MS),
    TopicSpec(name=CHANNEL_EVENTS, carries="what customers do in the channels", retention_ms=550 * _DAY_MS),
    # Profile, holdings and consents are partial updates: compaction would lose attributes, so nothing is dropped.
    TopicSpec(name=PROFILE_UPDATES, carries="profile, holdings, consents, erasure"),
    TopicSpec(name=BUSINESS_SIGNALS, carries="graded signals on companies", retention_ms=550 * _DAY_MS),
    TopicSpec(name=DECISIONS, carries="every decision, whole", retention_ms=90 * _DAY_MS),
    TopicSpec(name=RESPONSES, carries="every response", retention_ms=550 * _DAY_MS),
    TopicSpec(name=OUTBOUND, carries="triggered decisions to deliver", retention_ms=7 * _DAY_MS),
    TopicSpec(name=CONVERSIONS, carries="conversions and who gets the credit", retention_ms=550 * _DAY_MS),
    TopicSpec(name=SHADOW_SCORES, carries="what models in the shadow would have said", retention_ms=30 * _DAY_MS),
    # Without an id in it; whoever reads an old log again must know whom to leave out.
    TopicSpec(name=ERASURES, carries="who was erased, by keyed hash, and where it was done"),
    TopicSpec(name=CONTROL, carries="life cycle of nodes, models, strategies; kill switches", compacted=True),
    TopicSpec(name=DEAD_LETTERS, carries="what could not be read, and why", retention_ms=30 * _DAY_MS),
)

STATE_TOPICS: tuple[str, ...] = (TRANSACTIONS, CHANNEL_EVENTS, PROFILE_UPDATES, BUSINESS_SIGNALS, RESPONSES)
"""What customer state is folded from. The index is the topic's position slot in the stored state: never reorder."""

_EXACT: Mapping[str, str] = MappingProxyType(
    {
        "bank.transaction.posted": TRANSACTIONS,
        "bank.profile.updated": PROFILE_UPDATES,
        "bank.consent.changed": PROFILE_UPDATES,
        "bank.customer.erased": PROFILE_UPDATES,
        "bank.product.opened": PROFILE_UPDATES,
        "bank.product.closed": PROFILE_UPDATES,
        "bank.business.signal": BUSINESS_SIGNALS,
        "nbo.decision.made": DECISIONS,
        "nbo.response.recorded": RESPONSES,
        "nbo.outbound.offered": OUTBOUND,
        "nbo.conversion.attributed": CONVERSIONS,
        "nbo.outbound.cancelled": OUTBOUND,
        "nbo.model.shadow_scored": SHADOW_SCORES,
    }
)
_PREFIXES: tuple[tuple[str, str], ...] = (
    ("bank.channel.", CHANNEL_EVENTS),
    ("nbo.control.", CONTROL),
    ("nbo.erasure.", ERASURES),
)


def topic_for(event_type: str) -> str:
    """The topic an event type travels on. Raises KeyError for a type that has none."""
    if (exact := _EXACT.get(event_type)) is not None:
        return exact
    for prefix, topic in _PREFIXES:
        if event_type.startswith(prefix):
            return topic
    raise KeyError(event_type)
