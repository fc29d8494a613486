"""Identifiers of the domain, and the stable 32-bit and 64-bit keys derived from names."""

from hashlib import blake2b
from typing import NewType

CustomerId = NewType("CustomerId", str)
"""`retail:123` or `corp:91`: the kind, a colon, the bank's own number."""
DecisionId = NewType("DecisionId", str)
TrackingId = NewType("TrackingId", str)
"""Names one option of one decision: `<decision id>.<position>`."""
OfferName = NewType("OfferName", str)
TreatmentName = NewType("TreatmentName", str)
"""`<offer>.<channel>.<name>`."""
PlacementId = NewType("PlacementId", str)
StrategyVersion = NewType("StrategyVersion", str)


def key32(name: str) -> int:
    """A stable 32-bit key of a name, as the contact ledger stores offers, groups, issues and channels."""
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "little")


def key64(name: str) -> int:
    """A stable 64-bit key of a name, as duplicate memories and sticky assignment use it."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
