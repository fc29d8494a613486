"""A decision: what was asked, every candidate's fate, and what was answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from decision_engine.features.definitions import Value
from decision_engine.identifiers import (
    CustomerId,
    DecisionId,
    OfferName,
    PlacementId,
    StrategyVersion,
    TrackingId,
    TreatmentName,
)
from decision_engine.online import OnlineTable, UsedBeliefs
from decision_engine.outcomes import Fate, Stage
from decision_engine.volume_view import VolumeStanding


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRequest:
    """A slot and how many options it wants."""

    id: PlacementId
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRequest:
    """The facts of one question, stamped with its id and moment by the caller.

    `now_ms` is epoch milliseconds. `context` holds the declared context attributes. `degraded_causes` are
    what already went wrong before deciding (`state_unavailable`, `ledger_unavailable`, …).
    """

    decision_id: DecisionId
    customer_id: CustomerId
    channel: str
    placements: tuple[PlacementRequest, ...]
    now_ms: int
    context: Mapping[str, Value] = field(default_factory=dict)
    locale: str = "zh-CN"
    allow_duplicates: bool = False
    degraded_causes: tuple[str, ...] = ()
    held_until_ms: int | None = None
    """Until when what is offered stays reserved, for who cannot show it at once; None: as long as the strategy says."""
    online: OnlineTable | None = field(default=None, compare=False)
    """What is believed about treatments now; None, or a strategy that does not learn online: the models alone."""
    switches: tuple[str, ...] = ()
    """The kill switches that are engaged, each `kind:name`, ascending."""
    shown: tuple[str, ...] = ()
    """Offers that stand before the customer already, ascending: they are not offered, nor reserved, once more."""


class Candidate(NamedTuple):  # with as many fields a tuple is made five times as fast as a dataclass
    """One treatment considered for one placement, and how it ended.

    For the rejected `stage`, `rule` and `code` say why; for the scored the factors of
    `priority = propensity x (1 + context_weight/100) x value x (1 + lever/100) - resource_cost`.
    `selection_probability` is the chance, before the draw, that an offered candidate stands where it stands in its
    placement's order, and that any other candidate stands in one of the places asked for; always given what earlier
    placements of the same request took.
    """

    placement: PlacementId
    offer: OfferName
    treatment: TreatmentName
    fate: Fate
    stage: Stage | None = None
    rule: str | None = None
    code: str | None = None
    propensity: float | None = None
    context_weight: float | None = None
    value: int | None = None
    lever: float | None = None
    resource_cost: float | None = None
    priority: float | None = None
    selection_probability: float | None = None


class Option(NamedTuple):
    """A candidate that is offered: where it stands, and why in words of the request's locale."""

    tracking_id: TrackingId
    candidate: Candidate
    rank: int
    mandatory: bool
    reasons: tuple[tuple[str, str], ...]
    """Pairs of reason code and text."""
    expires_ms: int


class PlacementAnswer(NamedTuple):
    """Options, or the cause for which the placement shows its fallback; never both."""

    id: PlacementId
    options: tuple[Option, ...] = ()
    fallback_cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The whole outcome of one request; with the request, the ledger records and the models it can be computed
    again, byte for byte.

    `attributes`, `holdings`, `consents`, `known` and `newest_event_ms` are the snapshot it was made on, the attributes
    cut down to those that anything in the strategy or a model could read. `taken` is the ledger's answer: per
    position the alternative it reserved. `quiet_until_ms` is when the channel's quiet hours or holidays end that held
    back some offers; None when there were none, or none that ends.
    """

    decision_id: DecisionId
    customer_id: CustomerId
    now_ms: int
    strategy_version: StrategyVersion
    models: Mapping[str, str]
    arm: str
    personalised: bool
    degraded_causes: tuple[str, ...]
    feature_age_ms: int | None
    attributes: Mapping[str, Value]
    candidates: Sequence[Candidate]
    placements: tuple[PlacementAnswer, ...]
    holdings: tuple[str, ...] = ()
    consents: Mapping[str, bool] = field(default_factory=dict)
    known: bool = True
    newest_event_ms: int | None = None
    taken: tuple[int | None, ...] = ()
    volumes: Mapping[str, VolumeStanding] = field(default_factory=dict)
    """What was left of the volumes that could make a difference, and their prices."""
    quiet_until_ms: int | None = None
    failed_models: tuple[str, ...] = ()
    """Models that base rates stood in for because they failed; one that was not there is not among them."""
    experiments: Mapping[str, str] = field(default_factory=dict)
    """The arm in each holdout of an issue and each experiment of the strategy's own, by its name."""
    online: UsedBeliefs | None = None
    """What online learning added to the models' propensities; None: nothing."""
