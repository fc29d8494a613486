"""Builders of a decision log with a known rule behind it, for tests of learning. Loaded by fixtures, by path."""

import math
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from event_schemas.codec import encode_trusted
from event_schemas.topics import DECISIONS, RESPONSES
from models.decision_log.examples import OfferFacts
from services.ports import Delivery

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
OFFERS = {
    "gold_card": OfferFacts(
        offer="gold_card", group="cards", issue="acquire", model="cross_sell", value=12000.0, base_rate=0.2,
        attributes={"fee": 300.0},
    ),
    "silver_card": OfferFacts(
        offer="silver_card", group="cards", issue="acquire", model="cross_sell", value=8000.0, base_rate=0.2,
        attributes={"fee": 100.0},
    ),
}  # fmt: skip
CITIES = ("beijing", "chengdu", "shanghai")


def rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def make_decision(number: int, at: datetime, **overrides: object) -> bytes:
    """One decision that offered one card on the home banner; overrides replace fields of its data."""
    offer = str(overrides.pop("offer", "gold_card"))
    other = "silver_card" if offer == "gold_card" else "gold_card"
    decision_id = f"D{number:06d}"
    shown = {"placement": "home_banner", "value": 100, "lever": 0.0, "context_weight": 0.0}
    data: dict[str, object] = {
        "decision_id": decision_id,
        "customer_id": f"retail:{number}",
        "time": rfc3339(at),
        "channel": "mobile",
        "placements_asked": [{"id": "home_banner", "count": 1}],
        "context": {"page": "cards"},
        "locale": "zh-CN",
        "strategy_version": "s1",
        "models": {"cross_sell": "prior"},
        "feature_layout": "0123456789abcdef",
        "arm": "full",
        "personalised": True,
        "attributes": {"spend": 100.0, "city": "beijing"},
        "candidates": [
            {**shown, "offer": offer, "treatment": f"{offer}.mobile.banner", "outcome": "offered", "propensity": 0.2},
            {**shown, "offer": other, "treatment": f"{other}.mobile.banner", "outcome": "ranked_lower",
             "propensity": 0.2},
        ],
        "placements": [
            {"id": "home_banner", "options": [
                {"rank": 1, "offer": offer, "treatment": f"{offer}.mobile.banner", "tracking_id": f"{decision_id}.0",
                 "propensity": 0.2, "selection_probability": 0.5},
            ]},
        ],
    }  # fmt: skip
    header = {"id": decision_id, "source": "kairos", "subject": f"retail:{number}", "time": rfc3339(at)}
    return encode_trusted("nbo.decision.made", header, data | overrides)


def make_response(number: int, outcome: str, at: datetime, response_id: str = "") -> bytes:
    """One response to the option of decision `number`."""
    response = response_id or f"R{number:06d}-{outcome}"
    data = {
        "response_id": response,
        "tracking_id": f"D{number:06d}.0",
        "decision_id": f"D{number:06d}",
        "customer_id": f"retail:{number}",
        "offer": "gold_card",
        "group": "cards",
        "issue": "acquire",
        "treatment": "gold_card.mobile.banner",
        "channel": "mobile",
        "placement": "home_banner",
        "outcome": outcome,
        "time": rfc3339(at),
        "decided_at": rfc3339(at),
    }
    header = {"id": response, "source": "kairos", "subject": f"retail:{number}", "time": rfc3339(at)}
    return encode_trusted("nbo.response.recorded", header, data)


def acceptance(spend: float, city: str, offer: str) -> float:
    """The rule behind the log: spend helps, one city hates gold."""
    margin = -2.5 + spend / 60.0 - (1.5 if (city, offer) == ("chengdu", "gold_card") else 0.0)
    return 1.0 / (1.0 + math.exp(-margin))


def make_log(rows: int, seed: int = 1, *, learnable: bool = True) -> tuple[list[bytes], list[bytes]]:
    """Decisions a minute apart with their responses; without `learnable` acceptance is a plain 20 %."""
    draw = random.Random(seed)
    decisions, responses = [], []
    for number in range(rows):
        at = START + timedelta(minutes=number)
        spend, city = draw.uniform(0, 240), draw.choice(CITIES)
        offer = draw.choice(("gold_card", "silver_card"))
        decisions.append(make_decision(number, at, offer=offer, attributes={"spend": spend, "city": city}))
        responses.append(make_response(number, "impression", at + timedelta(seconds=2)))
        if draw.random() < (acceptance(spend, city, offer) if learnable else 0.2):
            responses.append(make_response(number, "accept", at + timedelta(seconds=20)))
    return decisions, responses


def deliveries(topic: str, values: Iterable[bytes], first: int = 0) -> list[Delivery]:
    """The values as records of partition 0."""
    return [Delivery(topic, 0, first + i, None, value, ()) for i, value in enumerate(values)]


def batches(decisions: Sequence[bytes], responses: Sequence[bytes]) -> list[list[Delivery]]:
    """The log as the archive takes it."""
    return [deliveries(DECISIONS, decisions), deliveries(RESPONSES, responses)]
