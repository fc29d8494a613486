"""Why a candidate left the pipeline, as small numbers while deciding and as values in the record."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from decision_engine.outcomes import Stage

Falls = NDArray[np.int16]
"""Per offer the number of its rejection, or `PASSED`."""
Mask = NDArray[np.bool_]
Indexes = NDArray[np.intp]
PASSED = -1


@dataclass(frozen=True, slots=True)
class Rejection:
    """The stage, the rule in it, and the reason code people get."""

    stage: Stage
    rule: str
    code: str


class EngineRejection(IntEnum):
    """The rejections the engine itself gives; numbers of a strategy's own follow these."""

    NOT_AVAILABLE = 0
    SUITABILITY_MISSING = 1
    SUITABILITY_STALE = 2
    SUITABILITY_TOO_LOW = 3
    LEDGER_UNAVAILABLE = 4
    NOT_FOR_THIS_TRIGGER = 5
    KILL_SWITCH = 6
    ALREADY_SHOWN = 7


ENGINE_REJECTIONS: tuple[Rejection, ...] = (
    Rejection(Stage.AVAILABILITY, "availability.dates", "NOT_AVAILABLE"),
    Rejection(Stage.SUITABILITY, "suitability.missing", "SUITABILITY_MISSING"),
    Rejection(Stage.SUITABILITY, "suitability.stale", "SUITABILITY_STALE"),
    Rejection(Stage.SUITABILITY, "suitability.too_low", "SUITABILITY_TOO_LOW"),
    Rejection(Stage.CONTACT_POLICY, "contact_policy.ledger_unavailable", "LEDGER_UNAVAILABLE"),
    Rejection(Stage.AVAILABILITY, "availability.trigger", "NOT_FOR_THIS_TRIGGER"),
    Rejection(Stage.AVAILABILITY, "kill_switch", "KILL_SWITCH"),
    Rejection(Stage.AVAILABILITY, "availability.shown", "ALREADY_SHOWN"),
)
"""In the order of `EngineRejection`."""

HOLDOUT = Rejection(Stage.EXPERIMENT, "experiment.holdout", "HOLDOUT")
DUPLICATE = Rejection(Stage.SLATE, "slate.duplicate", "DUPLICATE")
RESERVED_MEANWHILE = Rejection(Stage.CONTACT_POLICY, "contact_policy.reserved_meanwhile", "RESERVED_MEANWHILE")
GROUP_LIMIT = Rejection(Stage.SLATE, "slate.group_limit", "SLATE_GROUP_LIMIT")
CHANNEL_LIMIT = Rejection(Stage.SLATE, "slate.channel_limit", "SLATE_CHANNEL_LIMIT")
BUNDLE = Rejection(Stage.SLATE, "slate.bundle", "BUNDLE_INCOMPLETE")
HELD_BACK = Rejection(Stage.VOLUME, "volume.worth", "VOLUME_PACED")
"""Worth less here than the units it would take of scarce volumes."""
LATE_REJECTIONS: tuple[Rejection, ...] = (
    HOLDOUT,
    DUPLICATE,
    RESERVED_MEANWHILE,
    GROUP_LIMIT,
    CHANNEL_LIMIT,
    BUNDLE,
    HELD_BACK,
)
"""What can befall a candidate that passed every gate; numbered behind all that gates give, in this order."""


def combined(*stages: Falls | None) -> Falls:
    """The rejections of stages in a row: the earlier one counts. None is a stage that rejects nothing; not all are."""
    falls, *later = [stage for stage in stages if stage is not None]
    for stage in later:
        falls = np.where(falls == PASSED, stage, falls)
    return falls
