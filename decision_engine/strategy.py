"""The strategy: the immutable, versioned bundle that decides."""

from collections.abc import Mapping
from dataclasses import dataclass

from decision_engine.contact_ledger import ContactClock, Scope
from decision_engine.features.definitions import AttributeInfo, FeatureDeclarations
from decision_engine.identifiers import OfferName, PlacementId, StrategyVersion
from decision_engine.offers import LocalText, Offer, Placement


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactLimit:
    """A cap, cool-down or suppression as declared: at most `limit - 1` matching contacts may exist when a new
    one is made. `of` names one offer, group, issue or channel; None is each by itself."""

    id: str
    scope: Scope
    of: str | None
    statuses: int
    clock: ContactClock
    window: ContactWindow
    limit: int
    code: str
    text: LocalText


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """`off`, or `epsilon_greedy`: with probability epsilon the order of a placement's candidates is drawn uniformly."""

    kind: str = "off"
    epsilon: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Shares of the arms beside `full`: `random_eligible`, `holdout`; sticky by salted hash of the customer."""

    salt: str
    shares: Mapping[str, float]


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
    """Model names the offers refer to."""
    required_models: frozenset[str]
    """Those whose absence degrades a decision; the others may run on base rates until one is promoted."""
    texts: Mapping[str, LocalText]
    """Reason code to its words, for every code the strategy or the engine can give."""

    def offer(self, name: OfferName) -> Offer | None:
        """The offer of that name."""
        return next((offer for offer in self.offers if offer.name == name), None)
