"""Builders for the engine's tests: a small bank whose every part can be overridden."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from decision_engine.contact_ledger import ContactClock, ContactRecord, Scope
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Candidate, Decision, DecisionRequest, PlacementRequest
from decision_engine.engine import decide, settle
from decision_engine.features.definitions import (
    AttributeInfo,
    AttributeType,
    ContextAttribute,
    FeatureDeclarations,
)
from decision_engine.identifiers import key32
from decision_engine.offers import ContextWeight, Offer, Placement, Reason, Rule, Treatment
from decision_engine.outcomes import ContactStatus, Fate
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.propensity import FeatureSchema
from decision_engine.strategy import (
    ConsentPurpose,
    ContactLimit,
    ContactWindow,
    Experiment,
    Exploration,
    Strategy,
)

NOW = 1_795_254_600_000
"""2026-11-21T09:50:00Z, a Saturday: 17:50 in Shanghai."""
DAY = 86_400_000
TYPES = {
    "age": AttributeType.INT,
    "balance": AttributeType.INT,
    "city": AttributeType.STRING,
    "senior": AttributeType.BOOL,
    "rate": AttributeType.DOUBLE,
    "risk_level": AttributeType.STRING,
    "risk_assessed_at": AttributeType.TIMESTAMP,
}
PLACEMENTS = {"banner": "mobile", "tile": "mobile", "message": "sms", "panel": "contact_centre"}


def make_rule(when: str, code: str = "NO", id_: str = "rule") -> Rule:
    return Rule(id=id_, when=when, code=code, text={"en": code})


def make_reason(when: str, code: str = "WHY", **text: str) -> Reason:
    return Reason(code=code, when=when, text=text or {"zh-CN": f"{code} 中文", "en": f"{code} in English"})


def make_weight(when: str, weight: float) -> ContextWeight:
    return ContextWeight(when=when, weight=weight)


def make_treatment(offer: str, short: str = "main", channel: str = "mobile", *placements: str) -> Treatment:
    return Treatment(
        name=f"{offer}.{channel}.{short}",
        channel=channel,
        placements=placements or ("banner", "tile"),
        content={"en": {"title": offer}},
    )


def make_offer(name: str, **overrides: Any) -> Offer:
    defaults: dict[str, Any] = {
        "name": name,
        "group": "cards",
        "issue": "acquire",
        "value": 1000,
        "base_rate": 0.1,
        "lever": 0.0,
        "model": "cross_sell",
        "title": {"en": name},
        "treatments": (make_treatment(name),),
    }
    return Offer(**(defaults | overrides))


def make_limit(id_: str = "cap", **overrides: Any) -> ContactLimit:
    defaults: dict[str, Any] = {
        "id": id_,
        "scope": Scope.OFFER,
        "of": None,
        "statuses": ContactStatus.RESERVED | ContactStatus.ANY_RESPONSE,
        "clock": ContactClock.CONTACT,
        "window": ContactWindow(rolling_seconds=7 * 86_400),
        "limit": 1,
        "code": "CAP",
        "text": {"en": "cap"},
    }
    return ContactLimit(**(defaults | overrides))


def make_strategy(*offers: Offer, **overrides: Any) -> Strategy:
    names = {
        name: AttributeInfo(
            name=name, type=type_, theme="basic", description={}, source="profile", default=None, definition=name
        )
        for name, type_ in TYPES.items()
    }
    context = (ContextAttribute(name="page", type=AttributeType.STRING, description={}),)
    defaults: dict[str, Any] = {
        "name": "test",
        "version": "v1",
        "time_zone": "Asia/Shanghai",
        "currency": "CNY",
        "locales": ("zh-CN", "en"),
        "declarations": FeatureDeclarations(time_zone="Asia/Shanghai", context=context),
        "dictionary": names,
        "offers": offers,
        "placements": {
            id_: Placement(
                id=id_,
                channel=channel,
                max_count=5,
                fallback_treatment=f"generic.{channel}.main",
                fallback_content={"en": {"title": "welcome"}},
            )
            for id_, channel in PLACEMENTS.items()
        },
        "consents": {
            name: ConsentPurpose(name=name, granted_by_default=True, text={})
            for name in ("marketing", "personalisation")
        },
        "suitability": None,
        "contact_limits": (),
        "reservation_seconds": 600,
        "exploration": Exploration(),
        "experiment": Experiment(salt="s", shares={}),
        "models": ("cross_sell",),
        "required_models": frozenset(),
        "texts": {},
    }
    return Strategy(**(defaults | overrides))


def make_request(*placements: str, **overrides: Any) -> DecisionRequest:
    """Placements are written `banner` or `banner:2`."""
    asked = [text.partition(":") for text in placements or ("banner",)]
    defaults: dict[str, Any] = {
        "decision_id": "01J",
        "customer_id": "retail:1",
        "channel": "mobile",
        "placements": tuple(PlacementRequest(id=id_, count=int(count or 1)) for id_, _, count in asked),
        "now_ms": NOW,
    }
    return DecisionRequest(**(defaults | overrides))


def make_customer(**overrides: Any) -> CustomerSnapshot:
    defaults: dict[str, Any] = {"known": True, "newest_event_ms": NOW - 500}
    fields = {"attributes", "holdings", "consents", "known", "newest_event_ms"}
    attributes = {name: value for name, value in overrides.items() if name not in fields}
    rest = {name: value for name, value in overrides.items() if name in fields}
    return CustomerSnapshot(**(defaults | {"attributes": attributes} | rest))


def make_contact(offer: str, ago_ms: int = 0, **overrides: Any) -> ContactRecord:
    """A contact shown so long ago; group cards, issue acquire, channel mobile."""
    moment = float(NOW - ago_ms)
    defaults: dict[str, Any] = {
        "tracking": key32(offer).to_bytes(8, "little"),
        "offer": key32(offer),
        "group": key32("cards"),
        "issue": key32("acquire"),
        "channel": key32("mobile"),
        "status": int(ContactStatus.IMPRESSION),
        "flags": 0,
        "reserved_ms": moment,
        "expires_ms": moment + 600_000,
        "contact_ms": moment,
        "outcome_ms": moment,
    }
    return ContactRecord(**(defaults | overrides))


@dataclass
class FakeScorer:
    """Answers with a function of the matrix, and keeps what it was given."""

    score_rows: Callable[[Any], Any]
    schema: FeatureSchema = field(default_factory=lambda: FeatureSchema(()))
    version: str = "m1"
    seen: list[Any] = field(default_factory=list)

    def score(self, matrix: Any) -> Any:
        self.seen.append(np.array(matrix))
        return self.score_rows(matrix)


def answer(
    strategy: Strategy | PreparedStrategy,
    request: DecisionRequest | None = None,
    customer: CustomerSnapshot | None = None,
    records: Sequence[ContactRecord] = (),
    scorers: Mapping[str, Any] | None = None,
    taken: Sequence[int | None] | None = None,
) -> Decision:
    """Decides and settles; the ledger takes every winner unless told otherwise."""
    prepared = strategy if isinstance(strategy, PreparedStrategy) else prepare(strategy)
    draft = decide(prepared, request or make_request(), customer or make_customer(), records, scorers or {})
    return settle(prepared, draft, [0] * len(draft.reservation.positions) if taken is None else taken)


def offered(decision: Decision) -> list[list[str]]:
    """Per placement the names of what is offered, in order."""
    return [[option.candidate.offer for option in placement.options] for placement in decision.placements]


def fate(decision: Decision, offer: str, placement: str = "banner") -> Candidate:
    """The one candidate of an offer in a placement."""
    (found,) = [c for c in decision.candidates if c.offer == offer and c.placement == placement]
    return found


def why(decision: Decision, offer: str, placement: str = "banner") -> tuple[str | None, str | None, str | None]:
    """Stage, rule and code of a rejected candidate."""
    candidate = fate(decision, offer, placement)
    assert candidate.fate is Fate.REJECTED
    return candidate.stage, candidate.rule, candidate.code


@pytest.fixture(scope="session")
def bank() -> SimpleNamespace:
    """All builders under one name."""
    return SimpleNamespace(
        NOW=NOW, DAY=DAY, offer=make_offer, treatment=make_treatment, rule=make_rule, reason=make_reason,
        weight=make_weight, limit=make_limit, strategy=make_strategy, request=make_request, customer=make_customer,
        contact=make_contact, scorer=FakeScorer, answer=answer, offered=offered, fate=fate, why=why,
    )  # fmt: skip
