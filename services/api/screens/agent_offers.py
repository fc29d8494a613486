"""What an agent may offer: decisions of the service in the agent's channel and language, and the answers to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import orjson

from decision_engine.decision import PlacementRequest
from decision_engine.identifiers import CustomerId, PlacementId
from decision_engine.outcomes import Outcome
from services.api.authentication import Client
from services.api.customer_guard import CustomerGuard
from services.api.errors import FORBIDDEN, INVALID, ApiError
from services.api.runtime import ApiRuntime
from services.api.use_case_wiring import decision_maker, response_recorder
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.record_response import ResponseCommand, ResponsesTaken, Sees

DESKS: Mapping[str, str] = {"contact_centre": "agent_panel", "branch": "branch_tablet"}
"""Channels an agent works in, each with the placement that is theirs."""
MOST_OFFERS = 3
SECONDS_TO_DECIDE = 0.5
"""An agent waits for that long rather than going without offers."""
ANSWERS: Mapping[str, Outcome] = {"accept": Outcome.ACCEPT, "reject": Outcome.REJECT, "later": Outcome.DISMISS}
"""`later` is a dismissal: the offer is put away and not refused, so that it may come again."""
_FORBIDDING = ("availability", "consent", "eligibility", "applicability", "suitability")
"""Stages that say that an offer must not be made; caps are about making it once more, which it is not."""
REJECT_REASONS = ("not_needed", "too_expensive", "has_elsewhere", "no_trust", "bad_moment", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferCard:
    """One option as the agent sees it."""

    tracking_id: str
    offer: str
    title: str
    body: str
    script: str | None
    disclosure: str | None
    reasons: tuple[str, ...]
    mandatory: bool
    attributes: Mapping[str, str]
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A decision as the agent sees it. Without cards `fallback` is what is shown instead."""

    decision_id: str
    cards: tuple[OfferCard, ...]
    fallback: Mapping[str, str] | None
    cause: str | None
    degraded_causes: tuple[str, ...]
    personalised: bool
    arm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the customer said of an option."""

    tracking_id: str
    outcome: str
    """A key of `ANSWERS`."""
    reason: str = ""

    @property
    def response_id(self) -> str:
        """The same whenever this answer is sent again, so that it counts once."""
        return f"{self.tracking_id}-{self.outcome}"


@dataclass(frozen=True, slots=True)
class Beside:
    """What a place that became free stands beside: the answer that made it so, and the offers kept on the screen."""

    answer: Answer
    kept: Sequence[str]


class AgentOffers:
    """Decides and records for agents, through the use cases behind the HTTP interface."""

    def __init__(self, runtime: ApiRuntime) -> None:
        self._runtime = runtime
        self._decide = decision_maker(runtime)
        self._record = response_recorder(runtime)
        self._guard = CustomerGuard.of(runtime)

    def channels(self, client: Client) -> tuple[str, ...]:
        """Those of the person's channels that the strategy has an agent's placement in."""
        placements = self._runtime.live().prepared.strategy.placements
        return tuple(
            channel
            for channel, placement in DESKS.items()
            if client.speaks_for(channel) and PlacementId(placement) in placements
        )

    async def offers(
        self, client: Client, customer_id: str, channel: str, locale: str
    ) -> Offered:  # fmt: skip
        """A new decision. Raises ApiError where the person does not work in the channel."""
        command = self._command(client, customer_id, channel, locale, MOST_OFFERS)
        return self._offered(orjson.loads(await self._decide(command)))

    async def next_best(
        self, client: Client, customer_id: str, channel: str, locale: str, beside: Beside
    ) -> Offered:  # fmt: skip
        """A decision about the one place that an answer made free. What is kept on the screen is reserved, and counted,
        already; an answer sent again has the same decision. Raises ApiError as `offers`."""
        asked = self._command(client, customer_id, channel, locale, 1)
        command = replace(asked, shown=tuple(beside.kept), request_id=f"{beside.answer.response_id}-next")
        return self._offered(orjson.loads(await self._decide(command)))

    async def ruled_out(self, client: Client, customer_id: str, channel: str, kept: Sequence[str]) -> dict[str, str]:
        """Those offers still on the screen that the customer may not have any more after what was said, with the
        reason code: what was fine a minute ago may not be now. Leaves no trace."""
        if not kept:
            return {}
        command = replace(self._command(client, customer_id, channel, "", 1), dry_run=True)
        trace = orjson.loads(await self._decide(command))["trace"]
        fates: dict[str, list[Mapping[str, Any]]] = {}
        for candidate in trace:
            fates.setdefault(candidate["offer"], []).append(candidate)
        return {
            offer: str(fates[offer][0]["reason"])
            for offer in kept
            if offer in fates and all(candidate.get("stage") in _FORBIDDING for candidate in fates[offer])
        }

    def _command(self, client: Client, customer_id: str, channel: str, locale: str, most: int) -> DecisionCommand:
        if channel not in self.channels(client):
            raise ApiError(FORBIDDEN, "You do not work in this channel.")
        live_for = self._runtime.live_for
        live = self._runtime.live() if live_for is None else live_for(CustomerId(customer_id))
        placement = live.prepared.strategy.placements[PlacementId(DESKS[channel])]
        return DecisionCommand(
            client=client.name,
            customer_id=CustomerId(customer_id),
            channel=channel,
            placements=(PlacementRequest(id=placement.id, count=min(most, placement.max_count)),),
            locale=live.wording.locale(locale or None),
            started_s=perf_counter(),
            timeout_ms=max(self._runtime.decision_timeout_ms, int(SECONDS_TO_DECIDE * 1000)),
        )

    async def shown(self, client: Client, tracking_ids: Sequence[str]) -> ResponsesTaken:
        """These stood on the agent's screen. Raises BusUnavailable, StoreUnavailable."""
        commands = [
            ResponseCommand(
                client=client.name,
                response_id=f"{tracking_id}-impression",
                tracking_id=tracking_id,
                outcome=Outcome.IMPRESSION,
            )
            for tracking_id in tracking_ids
        ]
        return await self._record(commands, client.channels, self._sees(client))

    async def answer(self, client: Client, answer: Answer) -> ResponsesTaken:
        """Records the answer; given again it counts once. Raises ApiError, BusUnavailable, StoreUnavailable."""
        if answer.outcome not in ANSWERS:
            raise ApiError(INVALID, f"The outcome is one of {', '.join(ANSWERS)}.")
        if answer.outcome == "reject" and answer.reason not in REJECT_REASONS:
            raise ApiError(INVALID, f"The reason is one of {', '.join(REJECT_REASONS)}.")
        detail = {"by": "agent"} | ({"reason": answer.reason} if answer.reason else {})
        if answer.outcome == "later":
            detail["reason"] = "later"
        command = ResponseCommand(
            client=client.name,
            response_id=answer.response_id,
            tracking_id=answer.tracking_id,
            outcome=ANSWERS[answer.outcome],
            detail=detail,
        )
        taken = await self._record([command], client.channels, self._sees(client))
        if taken.rejected:
            raise ApiError(INVALID, taken.rejected[0][1])
        return taken

    def _sees(self, client: Client) -> Sees | None:
        """Whose offers the person may answer; None: everybody's."""
        return None if client.customers is None else lambda customer_id: self._guard.sees(client, customer_id)

    def _offered(self, decision: Mapping[str, Any]) -> Offered:
        (placement,) = decision["placements"]
        fallback = placement.get("fallback")
        return Offered(
            decision_id=decision["decision_id"],
            cards=tuple(self._card(option) for option in placement.get("options", ())),
            fallback=None if fallback is None else fallback["content"],
            cause=placement.get("fallback_cause"),
            degraded_causes=tuple(decision["degraded_causes"]),
            personalised=decision["personalised"],
            arm=decision["arm"],
        )

    def _card(self, option: Mapping[str, Any]) -> OfferCard:
        content = option["content"]
        offer, _ = self._runtime.live().wording.treatments.get(option["treatment"], (None, None))
        return OfferCard(
            tracking_id=option["tracking_id"],
            offer=option["offer"],
            title=content.get("title", option["offer"]),
            body=content.get("body", ""),
            script=option["script"],
            disclosure=option.get("disclosure"),
            reasons=tuple(reason["text"] for reason in option["reasons"]),
            mandatory=option["mandatory"],
            attributes=option["attributes"],
            group="" if offer is None else offer.group,
        )
