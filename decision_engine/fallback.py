"""Fallbacks: why a placement has nothing to offer."""

from collections.abc import Sequence
from enum import StrEnum

from decision_engine.decision import Candidate
from decision_engine.outcomes import Stage
from decision_engine.slate import PlacementSlate


class FallbackCause(StrEnum):
    """What a placement answers instead of options."""

    NO_CANDIDATES = "NO_CANDIDATES"
    """The strategy has nothing for this placement, or nothing was asked for."""
    HOLDOUT = "HOLDOUT"
    """Something would have been offered, but the customer is in the arm that gets nothing."""
    DEGRADED = "DEGRADED"
    """State or ledger could not be read, so that nothing could be cleared."""
    CAPPED = "CAPPED"
    """What was left fell to the contact policy, at the latest when it was to be reserved."""
    ALL_REJECTED = "ALL_REJECTED"
    """No candidate passed the gates."""


_BLINDING_CAUSES = frozenset({"state_unavailable", "ledger_unavailable", "store_unavailable", "deadline"})
"""Degraded causes under which a refusal may be owed to missing data and not to the customer."""


def fallback_cause(
    slate: PlacementSlate, candidates: Sequence[Candidate], degraded_causes: Sequence[str]
) -> FallbackCause:
    """The cause for a placement without options: how far its best candidates came."""
    if not candidates or slate.asked.wanted == 0:
        return FallbackCause.NO_CANDIDATES
    stages = {candidate.stage for candidate in candidates}
    if Stage.EXPERIMENT in stages:
        return FallbackCause.HOLDOUT
    if not _BLINDING_CAUSES.isdisjoint(degraded_causes):
        return FallbackCause.DEGRADED
    return FallbackCause.CAPPED if Stage.CONTACT_POLICY in stages else FallbackCause.ALL_REJECTED
