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
Column = Annotated[str, Field(max_length=200_000)]
"""Numbers of a coded column."""


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


class CandidateOutcome(OwnData):
    """One of the ways in which candidates of a decision ended. The rule of a rejection is named with its reason code,
    or told by its place: `own_rule` counts from 0 over the rules of that stage that concern the candidate's offer."""

    outcome: Literal["offered", "ranked_lower", "rejected"]
    stage: Slug | None = None
    rule: Identifier | None = None
    reason: Identifier | None = None
    own_rule: Whole | None = None


class CodedPlacement(OwnData):
    """The candidates of one placement whose offers passed every gate, as columns in the order the strategy gives them:
    by offer name, then treatment name. `fates` are places in the decision's `outcomes`, `chances` places in its
    `chances`. A column is the letter of its layout and base64 (docs/explain.md)."""

    placement: Slug
    fates: Column = ""
    chances: Column = ""


class CodedFactors(OwnData):
    """The factors of the offers that passed every gate, rounded to six digits. `offers` are flags in base64, a bit an
    offer of the strategy in the order of their names. An absent `lever` is the strategy's; an absent `priority` is
    the product of the other factors with the strategy's value; any other absent column is zero."""

    offers: Column = ""
    propensity: tuple[Probability, ...] = ()
    context_weight: tuple[Finite, ...] = ()
    lever: tuple[Finite, ...] = ()
    resource_cost: tuple[Finite, ...] = ()
    priority: tuple[Finite, ...] = ()


class CodedCandidates(OwnData):
    """Every candidate of a decision, compactly; together with the strategy they are `CandidateRecord`s."""

    outcomes: tuple[CandidateOutcome, ...] = ()
    chances: tuple[Probability, ...] = ()
    """The distinct selection probabilities."""
    offers: Column = ""
    """Per offer of the strategy, in the order of their names, the place in `outcomes` of what its candidates came to;
    of no meaning for those that passed every gate or were not asked for."""
    placements: tuple[CodedPlacement, ...] = ()
    factors: CodedFactors = Field(default_factory=CodedFactors)


class VolumeStandingRecord(OwnData):
    """What was left of a volume for the deciding node, whether more was held back, and the price of a unit."""

    remaining: int
    paced: bool = False
    price: Finite = 0.0


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


class OnlineBeliefs(OwnData):
    """What online learning added: the customer's segment (empty: none), the newest moment learnt from, and for each
    treatment of the offers that passed the gates, in the order of their names, the multiplier on the odds of the
    model's propensity and the shape of the gamma distribution it is known to. `base` is the model's own propensity of
    the offers that are offered, `versions` the model version it comes from."""

    segment: Annotated[str, Field(max_length=100)] = ""
    as_of_ms: int = 0
    treatments: tuple[DottedName, ...] = ()
    multipliers: tuple[Finite, ...] = ()
    shapes: tuple[Finite, ...] = ()
    base: dict[Slug, Probability] = Field(default_factory=dict)
    versions: dict[Slug, Identifier] = Field(default_factory=dict)


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
    experiments: dict[Slug, Slug] = Field(default_factory=dict)
    """The arm in each holdout of an issue and each experiment of the strategy's own, by its name."""
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
    """One by one, as records of earlier releases have them."""
    coded_candidates: CodedCandidates | None = None
    """The same as columns, as they are written now."""
    volumes: dict[Identifier, VolumeStandingRecord] = Field(default_factory=dict)
    """The volumes that could make a difference, as the decision saw them."""
    quiet_until_ms: int | None = None
    """When the channel's quiet hours or holidays end that held back some offers."""
    held_until: Moment | None = None
    """Until when what was offered stays reserved, where that is longer than the strategy says."""
    models_failed: tuple[Identifier, ...] = ()
    """Models that base rates stood in for because they failed; a replay lets them fail again."""
    online: OnlineBeliefs | None = None
    """What online learning made of the models' propensities; absent where the strategy does not learn so."""
    switches: tuple[ShortText, ...] = ()
    """The kill switches that were engaged, each `kind:name`; absent: none."""
    shown: tuple[Identifier, ...] = ()
    """Offers that stood before the customer already and were not to be offered again; absent: none."""
    placements: tuple[AnsweredPlacement, ...] = ()


class DecisionMade(CustomerEnvelope):
    """A decision was made."""

    type: Literal["nbo.decision.made"] = "nbo.decision.made"
    data: DecisionRecord
