"""What a strategy declares about how its models are trained: their family, and what business and law ask of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from decision_engine.offers import LocalText, Offer


class Family(StrEnum):
    """What a model foretells."""

    ACQUISITION = "acquisition"
    """Acceptance of an offer by those who hold no product of its group yet."""
    CROSS_SELL = "cross_sell"
    """Acceptance of an offer."""
    CHURN = "churn"
    """That a customer leaves within a horizon."""


class Balance(StrEnum):
    """How much more rare positives weigh while the trees are grown; calibration takes it back."""

    NONE = "none"
    SQRT = "sqrt"
    """The root of the negatives for each positive."""
    FULL = "full"
    """The negatives for each positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedGroups:
    """An attribute by whose groups a model is judged, never taught: its values, or, of a number, the bands that begin
    at these bounds (`[30, 60]`: below 30, 30 to below 60, from 60)."""

    attribute: str
    bands: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTraining:
    """How one model is trained. `rising` and `falling` name numbers the score may only follow, `calibrate_by` texts
    (`group`, `issue`, `offer`, `channel`, or attributes) whose values are calibrated each by itself. `learns_from` are
    attributes every personalised decision records for it, whether or not a rule or an earlier version reads them: a
    model can only learn from what was recorded.

    `groups` are those whose newcomers an acquisition model scores. Of churn, `leaves` says how a customer looks who has
    left, `horizon_days` within what time, and `score` names the profile attribute that the score is published as, in
    percent.
    """

    name: str
    family: Family = Family.CROSS_SELL
    purpose: LocalText | None = None
    calibrate_by: tuple[str, ...] = ()
    rising: tuple[str, ...] = ()
    falling: tuple[str, ...] = ()
    balance: Balance = Balance.NONE
    protected: tuple[ProtectedGroups, ...] = ()
    groups: tuple[str, ...] = ()
    horizon_days: int = 0
    leaves: str = ""
    learns_from: tuple[str, ...] = ()
    score: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomers:
    """A group whose offers an acquisition model scores for whoever holds none of the group's products."""

    group: str
    model: str
    products: frozenset[str]


def newcomers_of(trainings: Sequence[ModelTraining], offers: Sequence[Offer]) -> tuple[Newcomers, ...]:
    """The groups of all acquisition models, with the products of the groups' offers."""
    return tuple(
        Newcomers(
            group=group,
            model=training.name,
            products=frozenset(offer.product for offer in offers if offer.group == group and offer.product),
        )
        for training in trainings
        if training.family is Family.ACQUISITION
        for group in training.groups
    )
