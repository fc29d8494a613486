"""The life cycle of nodes, models and strategies: `nbo.control.*`. The subject names the thing, not a customer."""

from typing import Annotated, Literal

from pydantic import Field

from event_schemas.envelope import (
    DottedName,
    Envelope,
    Finite,
    Identifier,
    LongText,
    Moment,
    OwnData,
    ShortText,
    Slug,
    Whole,
)

ACTIVE_SUBJECT = "strategy:active"
"""What every act is about that says which version decides."""
Actor = Annotated[str, Field(min_length=1, max_length=128)]


class Node(OwnData):
    """A process that came up, and with what."""

    node: Identifier
    role: Slug
    strategy_version: Identifier | None = None
    models: dict[Identifier, Identifier] = Field(default_factory=dict)


class Promotion(OwnData):
    """A model version that is to serve from now on."""

    name: DottedName
    version: Identifier
    path: Annotated[str, Field(min_length=1, max_length=1024)]
    checksum: Identifier
    schema_hash: Identifier
    metrics: dict[Identifier, Finite] = Field(default_factory=dict)
    actor: Actor | None = None
    approved_by: Actor | None = None
    """The second person; None where nobody was asked."""
    previous_version: Identifier | None = None
    """What served before, and would again after a rollback."""
    reason: ShortText | None = None
    """What started the version's fit, such as `drift:calibration`; None: a person, or not known."""


class Proposal(OwnData):
    """A model version that has passed its checks and waits for a second person."""

    name: DottedName
    version: Identifier
    checksum: Identifier
    reason: ShortText
    """What started the fit: rows, schedule, drift and of what, or a person."""
    compared_with: Identifier | None = None
    """The version in service at the time."""
    checks: dict[Identifier, LongText] = Field(default_factory=dict)
    """Check to what was found."""
    actor: Actor
    comment: LongText | None = None


class Declination(OwnData):
    """A proposal that somebody has said no to."""

    name: DottedName
    version: Identifier
    actor: Actor
    comment: LongText | None = None


class Challenge(OwnData):
    """A model version that serves a share of the customers in place of the one in service; who belongs to the share
    depends on the customer alone, for as long as the version challenges."""

    name: DottedName
    version: Identifier
    path: Annotated[str, Field(min_length=1, max_length=1024)]
    checksum: Identifier
    schema_hash: Identifier
    share: Annotated[float, Field(gt=0, lt=1)]
    actor: Actor
    approved_by: Actor | None = None
    comment: LongText | None = None


class Shadowing(OwnData):
    """A model version that scores beside the one in service without deciding anything."""

    name: DottedName
    version: Identifier
    path: Annotated[str, Field(min_length=1, max_length=1024)]
    checksum: Identifier
    schema_hash: Identifier
    sample: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The share of decisions it scores at most."""
    actor: Actor
    comment: LongText | None = None


class Retirement(OwnData):
    """A model version that is to serve no longer; without a version, whichever serves under the name."""

    name: DottedName
    version: Identifier | None = None
    role: Literal["champion", "challenger", "shadow"] = "champion"
    """What it is to be no longer."""
    actor: Actor | None = None
    comment: LongText | None = None


SourceText = Annotated[str, Field(max_length=500_000)]
"""The whole text of one file of a strategy."""


class ChainedAct(OwnData):
    """What every act of the governance chain says of those before it (docs/governance.md)."""

    previous_hash: ShortText | None = None
    """SHA-256 of the bytes of the act before it in the chain; None: an act of before the chain."""
    records: Whole | None = None
    """How many records of the chain, those without effect included, its writer had read."""
    records_hash: ShortText | None = None
    """One hash over all of these, in their order."""


class StrategyAct(ChainedAct):
    """Somebody did something to a strategy version."""

    name: Slug
    version: Identifier
    actor: Actor
    comment: LongText | None = None
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of customers it is active for; None is all."""
    effective_at: Moment | None = None
    previous_version: Identifier | None = None
    files: dict[ShortText, SourceText] | None = None
    """File name to text, with a submission."""
    title: ShortText | None = None
    base_version: Identifier | None = None
    """What a submission was written from."""
    draft: Identifier | None = None
    """The draft a submission was."""
    edited_by: tuple[Actor, ...] = ()
    """Everybody who worked on a submission: none of them may approve it."""
    checks: dict[Identifier, LongText] = Field(default_factory=dict)
    """Check to what was found of a submission."""


class StrategyDraft(OwnData):
    """What somebody is writing: how it differs from the version it began with. The newest event of a draft counts."""

    draft: Identifier
    title: ShortText
    base_version: Identifier
    changed: dict[ShortText, SourceText] = Field(default_factory=dict)
    """File name to its whole text, of those that differ."""
    removed: tuple[ShortText, ...] = ()
    """Files of the base version that the draft has no more."""
    revision: Whole = 1
    """Counts what was saved, so that two writers notice each other."""
    actor: Actor
    """Who saved it last."""
    editors: tuple[Actor, ...] = ()
    """Everybody who ever saved it."""
    comment: LongText | None = None
    discarded: bool = False
    """Whether it ended, by a submission or by being thrown away."""


class StrategySimulation(ChainedAct):
    """What a strategy version would have done on recorded days, beside another."""

    name: Slug
    version: Identifier
    compared_with: Identifier
    since: Moment
    until: Moment
    decisions: Whole
    figures: dict[Identifier, Finite] = Field(default_factory=dict)
    """The key figures of the report by name."""
    report_digest: ShortText
    """SHA-256 of the whole report."""
    actor: Actor
    comment: LongText | None = None


class KillSwitch(ChainedAct):
    """Something is stopped, or released again, at once."""

    kind: Literal["offer", "group", "model", "strategy", "channel"]
    name: Identifier
    engaged: bool
    actor: Actor
    comment: LongText | None = None


class DataExport(ChainedAct):
    """Somebody took data out of the service: a list of customers, the history."""

    what: Slug
    """`customers_of_map`, `governance_history`."""
    part: LongText | None = None
    """Which part of it, in words; None is all."""
    attributes: tuple[Identifier, ...] = Field(default=(), max_length=100)
    """What of each row was taken, beside its identifier."""
    rows: Whole
    actor: Actor
    comment: LongText | None = None
    """What for."""


class ResourcePrices(OwnData):
    """What a unit of each volume is worth now, in minor units of value, and how demand spreads over a day. Nodes let
    prices fade when no newer ones come."""

    strategy_version: Identifier
    computed_at: Moment
    prices: dict[Identifier, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    hours: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(default=(), max_length=24)
    """Shares of the hours of the bank's day, from 0; empty is evenly."""
    decisions: int = Field(default=0, ge=0)
    """The recent decisions the programme was solved over."""


class NodeStarted(Envelope):
    """A process has started."""

    type: Literal["nbo.control.node.started"] = "nbo.control.node.started"
    data: Node


class ModelPromoted(Envelope):
    """A model version was put in service."""

    type: Literal["nbo.control.model.promoted"] = "nbo.control.model.promoted"
    data: Promotion


class ModelProposed(Envelope):
    """A model version waits for approval."""

    type: Literal["nbo.control.model.proposed"] = "nbo.control.model.proposed"
    data: Proposal


class ModelDeclined(Envelope):
    """A proposal was declined."""

    type: Literal["nbo.control.model.declined"] = "nbo.control.model.declined"
    data: Declination


class ModelChallenged(Envelope):
    """A model version serves a share of the customers."""

    type: Literal["nbo.control.model.challenged"] = "nbo.control.model.challenged"
    data: Challenge


class ModelShadowed(Envelope):
    """A model version scores in the shadow of the one in service."""

    type: Literal["nbo.control.model.shadowed"] = "nbo.control.model.shadowed"
    data: Shadowing


class ModelRetired(Envelope):
    """A model version was taken out of service."""

    type: Literal["nbo.control.model.retired"] = "nbo.control.model.retired"
    data: Retirement


class StrategyDrafted(Envelope):
    """A draft was saved, or ended."""

    type: Literal["nbo.control.strategy.drafted"] = "nbo.control.strategy.drafted"
    data: StrategyDraft


class StrategySubmitted(Envelope):
    """A draft was handed in for approval."""

    type: Literal["nbo.control.strategy.submitted"] = "nbo.control.strategy.submitted"
    data: StrategyAct


class StrategySimulated(Envelope):
    """A version was tried on recorded days."""

    type: Literal["nbo.control.strategy.simulated"] = "nbo.control.strategy.simulated"
    data: StrategySimulation


class StrategyDeclined(Envelope):
    """A submission was declined."""

    type: Literal["nbo.control.strategy.declined"] = "nbo.control.strategy.declined"
    data: StrategyAct


class StrategyRetired(Envelope):
    """A version that was submitted, approved or given a share will not become active."""

    type: Literal["nbo.control.strategy.retired"] = "nbo.control.strategy.retired"
    data: StrategyAct


class StrategyApproved(Envelope):
    """A second person approved a submission."""

    type: Literal["nbo.control.strategy.approved"] = "nbo.control.strategy.approved"
    data: StrategyAct


class StrategyActivated(Envelope):
    """An approved version decides from now on."""

    type: Literal["nbo.control.strategy.activated"] = "nbo.control.strategy.activated"
    data: StrategyAct


class StrategyRolledBack(Envelope):
    """The version before decides again."""

    type: Literal["nbo.control.strategy.rolled_back"] = "nbo.control.strategy.rolled_back"
    data: StrategyAct


class KillSwitchSet(Envelope):
    """A kill switch was engaged or released."""

    type: Literal["nbo.control.kill_switch.set"] = "nbo.control.kill_switch.set"
    data: KillSwitch


class DataExported(Envelope):
    """Data was taken out of the service."""

    type: Literal["nbo.control.data.exported"] = "nbo.control.data.exported"
    data: DataExport


class PricesSet(Envelope):
    """The prices of scarce resources were computed anew."""

    type: Literal["nbo.control.prices.set"] = "nbo.control.prices.set"
    data: ResourcePrices
