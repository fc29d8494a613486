"""A draft: a decision made but not yet reserved, with all that is needed to settle it."""

from collections.abc import Mapping
from typing import NamedTuple

from decision_engine.arbitration import Ranking
from decision_engine.contact_ledger import ReservationRequest
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import DecisionRequest
from decision_engine.experiment_layers import Trial
from decision_engine.features.definitions import Value
from decision_engine.rejections import Falls, Mask
from decision_engine.scoring import Scores
from decision_engine.slate import PlacementSlate
from decision_engine.volume_view import NO_VOLUMES, VolumeView


class Draft(NamedTuple):  # with as many fields a tuple is made twice as fast as a dataclass
    """What was decided. `reservation` is for the ledger: its answer, the alternative taken for each position, is
    what `settle` needs. Per offer of the strategy: `truth` of all conditions, `falls` the rejection of each offer,
    `held_out` those that the experiment withholds."""

    request: DecisionRequest
    snapshot: CustomerSnapshot
    personalised: bool
    trial: Trial
    truth: Mask
    falls: Falls
    scores: Scores
    ranking: Ranking
    held_out: Mask
    slate: tuple[PlacementSlate, ...]
    attributes: Mapping[str, Value]
    reservation: ReservationRequest
    volumes: VolumeView = NO_VOLUMES
    """The part of the volume view that could make a difference."""
    held_back: Mask | None = None
    """Offers worth less here than what they take of scarce volumes."""
