"""Every decision, whole: `nbo.decision.made`, audit record and training row in one."""

from typing import Annotated, Literal

from pydantic import Field

from event_schemas.envelope import (
    AttributeName,
    AttributeValue,
    CustomerEnvelope,
    CustomerKey,
    DottedName,
    Finite,
    Identifier,
    Moment,
    OwnData,
    ShortText,
    Slug,
    Whole,
)

Probability = Annotated[float, Field(ge=0, le=1)]


class AskedPlacement(OwnData):
    """A slot and how many options it wanted."""

    id: Slug
    count: Whole


class CandidateRecord(OwnData):
    """One treatment considered for one placement, and how it ended. Absent fields were never reached."""

    placement: Slug
    offer: Slug
    treatment: DottedName
    outcome: Literal["offered", "ranked_lower", "rejected"]
    stage: Slug | None = None
    rule: Identifier | None = None
    reason: Identifier | None = None
    """The reason code of a rejection."""
    propensity: Probability | None = None
    context_weight: Finite | None = None
    value: int | None = None
    """Minor units."""
    lever: Finite | None = None
    resource_cost: Finite | None = None
    priority: Finite | None = None
    selection_probability: Probability | None = None


class OptionRecord(OwnData):
    """An option as answered."""

    rank: Whole
    offer: Slug
    treatment: DottedName
    tracking_id: Identifier
    mandatory: bool = False
    priority: Finite | None = None
    propensity: Probability | None = None
    selection_probability: Probability | None = None
    reasons: tuple[Identifier, ...] = ()
    """Reason codes."""
    expires_at: Moment | None = None


class AnsweredPlacement(OwnData):
    """Options, or the cause for which the slot showed its fallback."""

    id: Slug
    options: tuple[OptionRecord, ...] = ()
    fallback: DottedName | None = None
    fallback_cause: Identifier | None = None


class DecisionRecord(OwnData):
    """All that is needed to explain a decision, to learn from it and to compute it again."""

    decision_id: Identifier
    request_id: Identifier | None = None
    client: ShortText | None = None
    customer_id: CustomerKey
    time: Moment
    channel: Slug
    placements_asked: tuple[AskedPlacement, ...]
    context: dict[AttributeName, AttributeValue] = Field(default_factory=dict)
    locale: ShortText
    allow_duplicates: bool = False
    strategy_version: Identifier
    models: dict[Identifier, Identifier] = Field(default_factory=dict)
    """Model name to the version that scored."""
    feature_layout: Identifier
    arm: Slug
    personalised: bool
    degraded: bool = False
    degraded_causes: tuple[Slug, ...] = ()
    causes_before: tuple[Slug, ...] = ()
    """Those of `degraded_causes` that held before deciding began; a replay starts from them."""
    feature_age_ms: int | None = None
    took_ms: Finite | None = None
    known: bool = True
    """False when no state existed or it could not be read."""
    attributes: dict[AttributeName, AttributeValue] = Field(default_factory=dict)
    """The attributes as served, all that any rule or model could see."""
    holdings: tuple[Slug, ...] = ()
    consents: dict[Slug, bool] = Field(default_factory=dict)
    """Purposes the customer had said something about."""
    ledger: Annotated[str, Field(max_length=200_000)] | None = None
    """The contact ledger as read, base64."""
    taken: tuple[Whole | None, ...] = ()
    """For each reserved position the index of the alternative the ledger took, or null."""
    candidates: tuple[CandidateRecord, ...] = ()
    placements: tuple[AnsweredPlacement, ...] = ()


class DecisionMade(CustomerEnvelope):
    """A decision was made."""

    type: Literal["nbo.decision.made"] = "nbo.decision.made"
    data: DecisionRecord
