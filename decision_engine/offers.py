"""Offers, their treatments, and the placements that ask for them."""

from collections.abc import Mapping
from dataclasses import dataclass

from decision_engine.identifiers import OfferName, PlacementId, TreatmentName

LocalText = Mapping[str, str]
"""Locale (`zh-CN`, `en`) to text."""
Content = Mapping[str, str]
"""What a channel renders: `title`, `body`, `image`, `action_url`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A condition that must hold, and what is said when it does not."""

    id: str
    when: str
    code: str
    text: LocalText


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why an offer fits: shown to people when its condition holds."""

    code: str
    when: str
    text: LocalText


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextWeight:
    """A percentage that counts when the condition holds: 55 multiplies priority by 1.55. `from_ms`, `until_ms`: epoch
    milliseconds between which it does, until is exclusive (None: open)."""

    when: str
    weight: float
    from_ms: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """An offer in one channel; `name` is `<offer>.<channel>.<short name>`."""

    name: TreatmentName
    channel: str
    placements: tuple[PlacementId, ...]
    content: Mapping[str, Content]
    script: LocalText | None = None
    attributes: Mapping[str, str] | None = None
    disclosure: LocalText | None = None
    """What must be said in this channel, in the place of the offer's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """A new offer's first time: from a moment until another, exclusive (epoch milliseconds), it is put first in at
    least this share of the decisions in which it could be."""

    from_ms: int
    until_ms: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A proposition within an issue and a group, with the rules that guard it (scopes already merged in).

    `value` is what an acceptance is worth in minor units; `base_rate` the acceptance probability assumed
    before any model has learnt; `lever` the sum of the issue's, group's and offer's percentages;
    `risk_level` 1-5 (R1-R5) for investment products, the higher of issuer's and seller's rating.
    `available_from_ms`, `available_until_ms`: epoch milliseconds, until is exclusive.
    """

    name: OfferName
    group: str
    issue: str
    value: int
    base_rate: float
    lever: float
    model: str
    title: LocalText
    treatments: tuple[Treatment, ...]
    product: str | None = None
    risk_level: int | None = None
    mandatory: bool = False
    purpose: str = "marketing"
    consents: tuple[str, ...] = ()
    available_from_ms: int | None = None
    available_until_ms: int | None = None
    eligibility: tuple[Rule, ...] = ()
    applicability: tuple[Rule, ...] = ()
    suitability: tuple[Rule, ...] = ()
    reasons: tuple[Reason, ...] = ()
    context_weights: tuple[ContextWeight, ...] = ()
    attributes: Mapping[str, str | float] | None = None
    ramp: Ramp | None = None
    disclosure: LocalText | None = None
    """What the law has whoever makes the offer say with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A slot that asks for options, and what it shows when there is none."""

    id: PlacementId
    channel: str
    max_count: int
    fallback_treatment: TreatmentName
    fallback_content: Mapping[str, Content]
