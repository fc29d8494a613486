"""Fallbacks: why a placement has nothing to offer."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum

from decision_engine.outcomes import Stage
from decision_engine.slate import PlacementSlate


class FallbackCause(StrEnum):
    """What a placement answers instead of options."""

    STOPPED = "STOPPED"
    """A kill switch stops the strategy, or the channel."""
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
    slate: PlacementSlate, stages: AbstractSet[Stage], degraded_causes: Sequence[str], *, stopped: bool = False
) -> FallbackCause:
    """The cause for a placement without options, given the stages in which its candidates were rejected: how far the
    best of them came. The stages of an offer's own rules may be left out, as they tell nothing. `stopped`: a kill
    switch keeps everything from being offered."""
    plan = slate.asked.plan
    if plan is None or not plan.treatments or slate.asked.wanted == 0:
        return FallbackCause.NO_CANDIDATES
    if stopped:
        return FallbackCause.STOPPED
    if Stage.EXPERIMENT in stages:
        return FallbackCause.HOLDOUT
    if not _BLINDING_CAUSES.isdisjoint(degraded_causes):
        return FallbackCause.DEGRADED
    return FallbackCause.CAPPED if Stage.CONTACT_POLICY in stages else FallbackCause.ALL_REJECTED
