"""A decision as the shell asks for it: the question, who asks, and how long it may take."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from decision_engine.decision import PlacementRequest
from decision_engine.features.definitions import Value
from decision_engine.identifiers import CustomerId

DEFAULT_TIMEOUT_MS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionCommand:
    """One question.

    `started_s` is `time.perf_counter()` when the request arrived; the budget `timeout_ms` runs from then.
    `body_hash` tells whether two requests with one `request_id` ask the same.
    """

    client: str
    customer_id: CustomerId
    channel: str
    placements: tuple[PlacementRequest, ...]
    locale: str
    started_s: float
    context: Mapping[str, Value] = field(default_factory=dict)
    request_id: str | None = None
    body_hash: bytes = b""
    allow_duplicates: bool = False
    dry_run: bool = False
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    decision_id: str | None = None
    """The id the decision is to have, where the one who asks makes sure that it is one of a kind."""
    held_until_ms: int | None = None
    """Until when what is offered stays reserved; None: as long as the strategy says."""
    shown: tuple[str, ...] = ()
    """Offers that stand before the customer already: they are neither offered nor reserved once more."""

    @property
    def idempotency_key(self) -> str | None:
        """Request ids are the client's own: the same id of two clients is two requests. A dry run leaves no trace."""
        return None if self.request_id is None or self.dry_run else f"{self.client}:{self.request_id}"
