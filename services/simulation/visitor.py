"""One customer's visit through the public API: ask, see, react as the truth says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import cast
from zoneinfo import ZoneInfo

import httpx
import numpy as np

from decision_engine.draws import draw_fraction
from decision_engine.offers import Offer
from services.ports import OutgoingEvent
from services.simulation.asking import Asked, Asking
from services.simulation.cloud_events import EventHead, cloud_event, epoch_ms
from services.simulation.hours import hour_of
from services.simulation.population import Population
from services.simulation.traffic_stats import SeenDecision, TrafficStats, TrueWorth
from services.simulation.truth import Exposures, Moment, ResponseModel, react
from services.simulation.visits import Visit

JsonObject = Mapping[str, object]
ELIGIBLE_OUTCOMES = frozenset({"offered", "ranked_lower"})
TRUTH_SHARE = 0.2
"""Share of the decisions whose record is read back to compare with the truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitors:
    """All customers, ready to visit. `publish_opened` puts the product of an accepted offer onto the bus."""

    client: httpx.AsyncClient
    asking: Asking
    people: Population
    truth: ResponseModel
    offers: Mapping[str, Offer]
    zone: ZoneInfo
    stats: TrafficStats
    seed: int
    exposures: Exposures = field(default_factory=Exposures)

    async def visit(self, visit: Visit) -> OutgoingEvent | None:
        """One visit; answers the event of a product opened, if an offer of one was accepted.

        Raises httpx.HTTPError when the API is away or refuses.
        """
        asked = self.asking.question(visit)
        if asked is None:
            return None
        answer, took_ms = await self._decide(visit, asked)
        placement = cast("Sequence[JsonObject]", answer["placements"])[0]
        options = cast("Sequence[JsonObject]", placement.get("options") or ())
        self._note(visit, asked, answer, took_ms)
        if not options:
            return None
        return await self._react(visit, str(answer["decision_id"]), options[0])

    async def clock_ms(self, channel: str) -> int | None:
        """The moment at which the deployment decides, from a dry run: during a replay the newest event applied.

        None when the strategy has no placement in that channel. Raises httpx.HTTPError.
        """
        asked = self.asking.question(Visit(0, 0, channel, None))
        if asked is None:
            return None
        body = {
            "customer_id": "retail:1",
            "channel": asked.channel,
            "placements": [{"id": asked.placement, "count": 1}],
            "dry_run": True,
        }
        response = await self.client.post("/v1/decisions", json=body)
        response.raise_for_status()
        answer = cast("JsonObject", response.json())
        return epoch_ms(datetime.fromisoformat(str(answer["time"])))

    async def _decide(self, visit: Visit, asked: Asked) -> tuple[JsonObject, float]:
        body = {
            "request_id": f"t{self.seed}-{visit.customer}-{visit.at_ms}",
            "customer_id": f"retail:{visit.customer + 1}",
            "channel": asked.channel,
            "placements": [{"id": asked.placement, "count": asked.count}],
            "context": dict(asked.context),
        }
        started = perf_counter()
        response = await self.client.post("/v1/decisions", json=body)
        took_ms = (perf_counter() - started) * 1000
        response.raise_for_status()
        return cast("JsonObject", response.json()), took_ms

    async def _react(self, visit: Visit, decision_id: str, option: JsonObject) -> OutgoingEvent | None:
        offer, tracking = str(option["offer"]), str(option["tracking_id"])
        eligible = await self._eligible(decision_id)
        chances = self._chances(visit, [offer, *eligible])
        self.exposures.note(f"{visit.customer}", offer, visit.at_ms)
        reaction = react(chances[0], draw_fraction(tracking, "accept"), draw_fraction(tracking, "reject"))
        await self._respond(tracking, "impression")
        if reaction.click:
            await self._respond(tracking, "click")
        if reaction.accept or reaction.reject:
            await self._respond(tracking, "accept" if reaction.accept else "reject")
        self.stats.note_impression(accepted=reaction.accept, rejected=reaction.reject)
        if eligible:
            worth = [chance * self.offers[name].value for chance, name in zip(chances, [offer, *eligible], strict=True)]
            self.stats.truths.append(TrueWorth(offered=worth[0], random_eligible=float(np.mean(worth[1:]))))
        product = self.offers[offer].product if reaction.accept else None
        return None if product is None else _opened(visit, product, tracking)

    async def _eligible(self, decision_id: str) -> list[str]:
        """On a share of the visits the offers that were eligible, from the decision's record; otherwise none."""
        if draw_fraction(decision_id, "truth") >= TRUTH_SHARE:
            return []
        response = await self.client.get(f"/v1/decisions/{decision_id}")
        if response.status_code != httpx.codes.OK:
            return []
        return [name for name in eligible_offers(cast("JsonObject", response.json())) if name in self.truth.index]

    def _chances(self, visit: Visit, names: Sequence[str]) -> list[float]:
        """The true chance that the customer accepts each of these offers, shown here and now."""
        counts = [self.exposures.count(f"{visit.customer}", name, visit.at_ms) for name in names]
        moment = Moment(channel=visit.channel, hour=hour_of(visit.at_ms, self.zone), page=visit.page)
        traits, offers = self.people.traits[visit.customer], [self.truth.index[name] for name in names]
        return [float(chance) for chance in self.truth.probabilities(traits, moment, offers, counts)]

    async def _respond(self, tracking: str, outcome: str) -> None:
        body = {"response_id": f"{tracking}-{outcome}", "tracking_id": tracking, "outcome": outcome}
        response = await self.client.post("/v1/responses", json=body)
        response.raise_for_status()

    def _note(self, visit: Visit, asked: Asked, answer: JsonObject, took_ms: float) -> None:
        placement = cast("Sequence[JsonObject]", answer["placements"])[0]
        options = cast("Sequence[JsonObject]", placement.get("options") or ())
        first: JsonObject = options[0] if options else {}
        models = cast("Mapping[str, str]", answer.get("models") or {})
        if models:
            self.stats.models = dict(models)
        reasons = cast("Sequence[Mapping[str, str]]", first.get("reasons") or ())
        propensity = first.get("propensity")
        seen = SeenDecision(
            at_ms=visit.at_ms,
            customer_id=f"retail:{visit.customer + 1}",
            channel=asked.channel,
            placement=asked.placement,
            outcome=str(first.get("offer") or placement.get("fallback_cause") or "fallback"),
            offered=bool(options),
            reasons=tuple(reason["code"] for reason in reasons),
            propensity=float(propensity) if isinstance(propensity, int | float) else None,
            took_ms=took_ms,
        )
        self.stats.note_decision(seen, degraded=bool(answer.get("degraded")))


def eligible_offers(record: JsonObject) -> list[str]:
    """The offers of a decision record that passed every gate, each once, in order."""
    body = record.get("data", record)
    candidates = cast("Sequence[JsonObject]", cast("JsonObject", body).get("candidates") or ())
    return list(dict.fromkeys(str(c["offer"]) for c in candidates if c.get("outcome") in ELIGIBLE_OUTCOMES))


def _opened(visit: Visit, product: str, tracking: str) -> OutgoingEvent:
    head = EventHead(
        id=f"opened-{tracking}",
        type="bank.product.opened",
        source="bank",
        subject=f"retail:{visit.customer + 1}",
        at_ms=visit.at_ms + 60_000,
    )
    return cloud_event(head, {"product": product}).event
