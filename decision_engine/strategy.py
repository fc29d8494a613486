"""The strategy: the immutable, versioned bundle that decides."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from decision_engine.attribution import AttributionTerms
from decision_engine.contact_ledger import ContactClock, Direction, Scope
from decision_engine.features.definitions import AttributeInfo, FeatureDeclarations
from decision_engine.features.linked import Link, LinkedAttribute
from decision_engine.guard_terms import GuardTerms
from decision_engine.identifiers import OfferName, PlacementId, StrategyVersion
from decision_engine.model_training import ModelTraining
from decision_engine.offers import LocalText, Offer, Placement
from decision_engine.online import OnlineLearning
from decision_engine.portrait import Portrait
from decision_engine.purposes import MARKETING, Purpose
from decision_engine.tags import Segment, Tag
from decision_engine.triggers.definitions import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentPurpose:
    """A purpose a person may grant or refuse; `granted_by_default` counts for a known customer who said nothing."""

    name: str
    granted_by_default: bool
    text: LocalText


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitabilityGate:
    """Where the customer's risk level (1-5, C1-C5) and its assessment date stand, and how long it is valid."""

    level_attribute: str
    assessed_attribute: str
    valid_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactWindow:
    """A rolling window of seconds, or the current calendar `day`, `week` (from Monday) or `month` of the bank."""

    rolling_seconds: int | None = None
    calendar: str | None = None
    open_start: bool = False
    """Whether what is exactly `rolling_seconds` ago is outside: a minimum distance that has been kept."""


class AppliesTo(StrEnum):
    """Which offers a rule of the contact policy holds back."""

    MARKETING = "marketing"
    """Marketing offers that are not mandatory; service messages are exempt."""
    OPTIONAL = "optional"
    """All but mandatory offers."""
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedContacts:
    """The offer, group, issue or channel whose contacts a limit counts in place of those of what it holds back."""

    scope: Scope
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactLimit:
    """A cap, cool-down or suppression as declared: at most `limit - 1` matching contacts may exist when a new
    one is made. `of` names one offer, group, issue or channel; None is each by itself. A contact with any of the
    statuses in `without` does not count. A limit with a direction counts and holds back that direction alone."""

    id: str
    scope: Scope
    of: str | None
    statuses: int
    clock: ContactClock
    window: ContactWindow
    limit: int
    code: str
    text: LocalText
    without: int = 0
    direction: Direction = Direction.ANY
    related: RelatedContacts | None = None
    applies_to: AppliesTo = AppliesTo.OPTIONAL


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietTime:
    """Hours in which channels leave people in peace, from a minute of the local day until another, over midnight when
    that one is not later; beginning on these weekdays (0 is Monday), or on these dates (`2026-10-01`) for holidays."""

    id: str
    channels: tuple[str, ...]
    from_minute: int
    until_minute: int
    weekdays: tuple[int, ...] = ()
    dates: tuple[str, ...] = ()
    applies_to: AppliesTo = AppliesTo.OPTIONAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """How the order of a placement's marketing offers is sometimes drawn: `off`, `epsilon_greedy` (by `epsilon`),
    `inverse_gap` (by `gamma`) or `thompson` (the model's propensity counts as `prior_strength` impressions, `rounds`
    are drawn), the latter two among the best `contenders` offers.

    The budget: only a `share` of the decisions explores, and never an offer whose priority is more than `max_regret`
    percent below the best one's (None: any).
    """

    kind: str = "off"
    epsilon: float = 0.0
    gamma: float = 0.0
    prior_strength: float = 100.0
    rounds: int = 200
    contenders: int = 20
    share: float = 1.0
    max_regret: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """The standing experiment: shares of the arms beside `full`, sticky by salted hash of the customer. `rooms` is by
    arm the most its share may be raised to without moving anyone between arms."""

    salt: str
    shares: Mapping[str, float]
    rooms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueHoldout:
    """A share of the customers who get no marketing offers of one issue."""

    name: str
    issue: str
    share: float
    salt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverChange:
    """Percentage points added to the levers of all offers, or of those of one `issue`, `group` or `offer`."""

    add: float
    issue: str | None = None
    group: str | None = None
    offer: str | None = None

    def concerns(self, offer: Offer) -> bool:
        """Whether the lever of that offer changes."""
        return (
            self.issue in (None, offer.issue) and self.group in (None, offer.group) and self.offer in (None, offer.name)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerArm:
    """One arm of an experiment of the strategy's own, and what it changes; `room` as in `Experiment`. `withhold` are
    offers its customers do not get."""

    name: str
    share: float
    room: float
    levers: tuple[LeverChange, ...] = ()
    withhold: tuple[OfferName, ...] = ()
    exploration: Exploration | None = None

    def added(self, offer: Offer) -> float:
        """What the arm adds to the lever of an offer."""
        return sum((change.add for change in self.levers if change.concerns(offer)), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentLayer:
    """An experiment of the strategy's own: everyone outside its arms is in `control`. Each has its own salt, so that
    whoever is in which arm of one says nothing about the others."""

    name: str
    salt: str
    arms: tuple[LayerArm, ...]


def written(value: str | float | None) -> str | None:
    """An offer's attribute as a strategy writes it: a whole number without its point."""
    return value if value is None or isinstance(value, str) else f"{value:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeScope:
    """What a volume is about: one `offer`, `group`, `issue` or `channel` by name, or the offers whose `attribute` of
    that name `equals` a value."""

    kind: str
    name: str
    equals: str | None = None

    def concerns(self, offer: Offer) -> bool:
        """Whether offers of this kind take from the volume; one of a channel takes from it in that channel only."""
        match self.kind:
            case "offer":
                return offer.name == self.name
            case "group":
                return offer.group == self.name
            case "issue":
                return offer.issue == self.name
            case "channel":
                return any(treatment.channel == self.name for treatment in offer.treatments)
            case _:
                return written((offer.attributes or {}).get(self.name)) == self.equals


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCost:
    """How much one charge takes: `units`, or what the offer's `attribute` says."""

    units: int = 1
    attribute: str | None = None

    def of(self, offer: Offer) -> int:
        """The units one charge for the offer takes."""
        if self.attribute is None:
            return self.units
        return int((offer.attributes or {})[self.attribute])


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumePeriod:
    """The current calendar `day`, `week` (from Monday) or `month` of the bank, after which the amount is whole again;
    or once, from a moment (None: always) until another, exclusive; epoch milliseconds."""

    calendar: str | None = None
    from_ms: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeConstraint:
    """A stock, budget or capacity of the whole bank: at most `amount` units a period.

    `charged_on` says what takes a unit for good: `reservation` (being offered), `impression` or `accept`. Until then
    it is held, and released when the contact lapses unseen, or `hold_seconds` after the offer without an acceptance.
    `pacing` is `none`, `even` over the period, or along the hours of recent `traffic`.
    """

    id: str
    of: VolumeScope
    resource: str
    amount: int
    unit_cost: UnitCost
    period: VolumePeriod
    charged_on: str
    hold_seconds: int
    pacing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Offers shown together: the children only with the parent, behind it and in this order; their values add."""

    parent: OfferName
    children: tuple[OfferName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlateRules:
    """How the placements of one request are filled: together, so that the sum of the priorities is greatest
    (`by_value`), or one after another; how often one offer, and offers of one group, may stand (None: as often as they
    like), limits by name of group and channel, and bundles."""

    by_value: bool = False
    offer_repeats: int = 1
    group_repeats: int | None = None
    groups: Mapping[str, int] = field(default_factory=dict)
    channels: Mapping[str, int] = field(default_factory=dict)
    bundles: tuple[Bundle, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedLever:
    """A percentage that adds to the levers of one `offer`, `group` or `issue` by name, from a moment until another,
    exclusive (epoch milliseconds; None: open)."""

    scope: str
    name: str
    lever: float
    from_ms: int | None = None
    until_ms: int | None = None

    def concerns(self, offer: Offer) -> bool:
        """Whether it counts for the offer."""
        return {"offer": offer.name, "group": offer.group, "issue": offer.issue}[self.scope] == self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Boost:
    """What a person did with an offer counts for it, or for its group, as context weight: at first `weight` percent,
    half of it after each half-life. The boosts of one rule add up to `most` at the most."""

    id: str
    after: int
    """The status bits of the outcomes."""
    of: str
    """`offer` or `group`."""
    weight: float
    half_life_seconds: int
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """Everything that decides, checked and frozen. `version` is a hash of the content."""

    name: str
    version: StrategyVersion
    time_zone: str
    currency: str
    locales: tuple[str, ...]
    declarations: FeatureDeclarations
    dictionary: Mapping[str, AttributeInfo]
    offers: tuple[Offer, ...]
    placements: Mapping[PlacementId, Placement]
    consents: Mapping[str, ConsentPurpose]
    suitability: SuitabilityGate | None
    contact_limits: tuple[ContactLimit, ...]
    reservation_seconds: int
    exploration: Exploration
    experiment: Experiment
    models: tuple[str, ...]
    """Model names the offers refer to, and the acquisition models."""
    required_models: frozenset[str]
    """Those whose absence degrades a decision; the others may run on base rates until one is promoted."""
    texts: Mapping[str, LocalText]
    """Reason code to its words, for every code the strategy or the engine can give."""
    volumes: tuple[VolumeConstraint, ...] = ()
    slate: SlateRules = field(default_factory=SlateRules)
    levers: tuple[DatedLever, ...] = ()
    boosts: tuple[Boost, ...] = ()
    outbound_channels: tuple[str, ...] = ()
    """Channels in which the bank comes to the customer; in all others the customer comes to the bank."""
    quiet_times: tuple[QuietTime, ...] = ()
    holdouts: tuple[IssueHoldout, ...] = ()
    experiments: tuple[ExperimentLayer, ...] = ()
    attribution: AttributionTerms | None = None
    """How conversions are credited to contacts; None attributes nothing."""
    segments: tuple[Segment, ...] = ()
    tags: tuple[Tag, ...] = ()
    links: tuple[Link, ...] = ()
    """Further subjects customers are linked to."""
    linked: tuple[LinkedAttribute, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    """Patterns of events that start a contact by themselves."""
    online: OnlineLearning | None = None
    """How it learns between two fits of its models; None does not."""
    portrait: Portrait | None = None
    """What people who serve a customer see at a glance; None: nothing is chosen."""
    trainings: tuple[ModelTraining, ...] = ()
    """How models are trained, for those of which it says more than their name."""
    guard: GuardTerms | None = None
    """When a version is taken back by itself; None: by the usual terms."""
    purposes: tuple[Purpose, ...] = ()
    """What attributes may be used for; none declared: everything may be used for everything."""

    @property
    def out_of_marketing(self) -> frozenset[str]:
        """Attributes that marketing may not use: neither a rule that chooses nor a model."""
        if all(purpose.name != MARKETING for purpose in self.purposes):
            return frozenset()
        return frozenset(name for name, info in self.dictionary.items() if MARKETING not in info.purposes)

    def training(self, model: str) -> ModelTraining:
        """How that model is trained; one nothing is said of is a cross-sell model without wishes."""
        return next((training for training in self.trainings if training.name == model), ModelTraining(name=model))

    def offer(self, name: OfferName) -> Offer | None:
        """The offer of that name."""
        return next((offer for offer in self.offers if offer.name == name), None)
