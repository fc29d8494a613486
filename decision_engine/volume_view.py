"""What a decision is told of the volumes: how much is left for it to hand out, and what a unit is worth."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class VolumeStanding:
    """What this node may still hand out of a volume now, in units; whether more is left but held back for later; and
    the price of a unit: the value, in minor units, that one unit more would bring (the dual of the programme)."""

    remaining: int
    paced: bool = False
    price: float = 0.0


VolumeView = Mapping[str, VolumeStanding]
"""Volume id to its standing."""
NO_VOLUMES: VolumeView = MappingProxyType({})
VolumeUse = Mapping[str, int]
"""Volume id to the units taken."""
