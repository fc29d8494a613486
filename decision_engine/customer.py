"""What a decision knows about a person at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from decision_engine.features.definitions import Value

PERSONALISATION = "personalisation"
"""The purpose that deciding by what is known of a person needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerSnapshot:
    """A customer as of one moment: attributes (missing ones absent), products held, consents recorded.

    `known` is False when no state exists. `newest_event_ms` is the event time of the newest event applied.
    `consents` maps a purpose (`marketing`, `personalisation`, `sms`, …) to granted or refused; a purpose never
    recorded is absent, and the strategy says what that means.
    """

    known: bool
    attributes: Mapping[str, Value] = field(default_factory=dict)
    holdings: frozenset[str] = frozenset()
    consents: Mapping[str, bool] = field(default_factory=dict)
    newest_event_ms: int | None = None


UNKNOWN_CUSTOMER = CustomerSnapshot(known=False)
"""Used for a customer without state, and when the state cannot be read in time."""
