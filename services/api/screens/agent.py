"""`/agent`: find a customer, see who they are, make the next best offer and take the answer."""

import asyncio
import logging
import re
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from fastapi.responses import RedirectResponse, Response

from decision_engine.identifiers import CustomerId, DecisionId
from services.api.authentication import ApiScope
from services.api.customer_guard import CustomerUnknown
from services.api.errors import INVALID, NOT_FOUND, ApiError
from services.api.screens.agent_arrivals import arrivals_of
from services.api.screens.agent_offers import (
    ANSWERS,
    MOST_OFFERS,
    REJECT_REASONS,
    AgentOffers,
    Answer,
    Beside,
    Offered,
)
from services.api.screens.agent_portrait import Portrait, portrait_of, unreadable_portrait
from services.api.screens.agent_why import fates_of
from services.api.screens.desk import Desk
from services.api.screens.formats import localized
from services.api.screens.inbox import may_see
from services.api.screens.inbox_board import LeadBoard
from services.api.screens.opening import REASONS, Opening, ReasonNeeded, note_opened
from services.api.screens.visits import Form, Visit
from services.ports import StoreUnavailable, StrategyUnknown
from services.use_cases.decision_record import record_data
from services.use_cases.explain_decision import DecidingStrategies, DecisionUnknown, ExplainDecision
from services.use_cases.view_courses import ViewCourses
from services.use_cases.view_customer import ViewCustomer

_CUSTOMER = re.compile(r"(?:(retail|corp):)?([A-Za-z0-9_-]{1,64})")
_DECISION = re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}")
_MOST_KEPT = 5
_log = logging.getLogger(__name__)


def agent_routes(desk: Desk, board: LeadBoard | None = None) -> APIRouter:
    """The desktop's pages and fragments; `board` has the leads among which arrivals are, None where there are none."""
    router = desk.router("/agent")
    offers = AgentOffers(desk.runtime)
    _add_finding(router, desk, arrivals=board is not None)
    opening = Opening(desk.runtime)
    _add_reasons(router, desk, opening)
    if board is not None:
        _add_arrivals(router, desk, board, offers)
    _add_customer(router, desk, offers, opening)
    _add_offers(router, desk, offers, opening)
    _add_why(router, desk, opening)
    return router


def customer_id_of(typed: str) -> CustomerId:
    """The customer of what an agent typed: a number alone is a retail customer's. Raises ApiError (invalid)."""
    found = _CUSTOMER.fullmatch(typed.strip())
    if found is None:
        raise ApiError(INVALID, "A customer number has letters, digits, _ and -, such as 1787 or corp:12.")
    return CustomerId(f"{found[1] or 'retail'}:{found[2]}")


def _add_finding(router: APIRouter, desk: Desk, *, arrivals: bool) -> None:
    agent = Depends(desk.visitor(ApiScope.SERVE))
    runtime = desk.runtime

    @router.get("")
    async def start(visit: Annotated[Visit, agent], wanted: str = "") -> Response:
        problem = None
        if wanted:
            try:
                return RedirectResponse(f"/agent/{customer_id_of(wanted)}", 303)
            except ApiError:
                problem = "not_an_id"
        recent: list[tuple[str, int]] = []
        if runtime.recent is not None:
            try:
                recent = await runtime.recent.recent(visit.client.name)
            except StoreUnavailable as error:
                _log.warning("recent customers could not be read: %s", type(error).__name__)
        return desk.page(
            visit, "agent/start.html", recent=recent, wanted=wanted, problem=problem, arrivals=arrivals
        )  # fmt: skip


def _add_arrivals(router: APIRouter, desk: Desk, board: LeadBoard, offers: AgentOffers) -> None:
    agent = Depends(desk.visitor(ApiScope.SERVE))

    @router.get("/arrivals")
    async def arrivals(visit: Annotated[Visit, agent]) -> Response:
        await board.ready()
        seen = [standing for standing in board.open(None) if may_see(visit.client, standing.lead)]
        found = arrivals_of(seen, desk.runtime.live(), offers.channels(visit.client), visit.locale)
        return desk.fragment(visit, "agent/arrivals.html", arrivals=found)


def _add_reasons(router: APIRouter, desk: Desk, opening: Opening) -> None:
    agent = Depends(desk.visitor(ApiScope.SERVE))

    @router.post("/{customer}/reason")
    async def reason(visit: Annotated[Visit, agent], customer: str) -> Response:
        customer_id, form = customer_id_of(customer), await visit.form()
        await opening.give(visit.client, customer_id, form.need("reason"))
        channel = form.one("channel")
        return RedirectResponse(
            f"/agent/{customer_id}" + (f"?{urlencode({'channel': channel})}" if channel else ""), 303
        )


def _add_customer(router: APIRouter, desk: Desk, offers: AgentOffers, opening: Opening) -> None:
    agent = Depends(desk.visitor(ApiScope.SERVE))
    runtime = desk.runtime
    view = ViewCustomer(live=runtime.live, store=runtime.store, clock=runtime.clock)
    courses = ViewCourses(live=runtime.live, store=runtime.store, clock=runtime.clock)

    @router.get("/{customer}")
    async def customer(visit: Annotated[Visit, agent], customer: str, channel: str = "") -> Response:
        customer_id = customer_id_of(customer)
        try:
            why = await opening.require(visit.client, customer_id)
        except ReasonNeeded:
            return desk.page(visit, "agent/reason.html", customer_id=customer_id, channel=channel, reasons=REASONS)
        note_opened(visit.client, customer_id, why, "agent")
        channels = offers.channels(visit.client)
        channel = channel if channel in channels else next(iter(channels), "")

        strategy = runtime.live().prepared.strategy

        async def decided() -> Offered | None:
            return await offers.offers(visit.client, customer_id, channel, visit.locale) if channel else None

        async def known() -> Portrait:
            try:
                found, drawn = await asyncio.gather(view(customer_id), courses(customer_id))
                if runtime.recent is not None and found.known:
                    await runtime.recent.opened(visit.client.name, customer_id, runtime.clock.now_ms())
            except StoreUnavailable:
                return unreadable_portrait(customer_id, strategy, runtime.clock.now_ms())
            return portrait_of(found, strategy, drawn, visit.locale)

        portrait, offered = await asyncio.gather(known(), decided())
        return desk.page(
            visit,
            "agent/customer.html",
            portrait=portrait,
            channels=channels,
            channel=channel,
            offered=offered,
            slots=range(1, MOST_OFFERS + 1),
            reject_reasons=REJECT_REASONS,
            consent_texts={name: purpose.text for name, purpose in strategy.consents.items()},
        )

    @router.get("/{customer}/contacts")
    async def contacts(visit: Annotated[Visit, agent], customer: str) -> Response:
        customer_id = customer_id_of(customer)
        await opening.require(visit.client, customer_id)
        found = await view(customer_id)
        strategy = runtime.live().prepared.strategy
        portrait = portrait_of(found, strategy, (), visit.locale)
        return desk.fragment(visit, "agent/contacts.html", portrait=portrait)


def _add_offers(router: APIRouter, desk: Desk, offers: AgentOffers, opening: Opening) -> None:
    agent = Depends(desk.visitor(ApiScope.SERVE))

    @router.post("/shown", status_code=204)
    async def shown(visit: Annotated[Visit, agent]) -> Response:
        tracking_ids = (await visit.form()).all("tracking_id")[:MOST_OFFERS]
        if tracking_ids:
            await offers.shown(visit.client, tracking_ids)
        return Response(status_code=204)

    @router.post("/answers")
    async def answer(visit: Annotated[Visit, agent]) -> Response:
        form = await visit.form()
        customer_id, kept = customer_id_of(form.need("customer_id")), form.all("kept")[:_MOST_KEPT]
        await opening.require(visit.client, customer_id)
        given = _answer(form)
        taken = await offers.answer(visit.client, given)
        channel = form.need("channel")
        offered, gone = await asyncio.gather(
            offers.next_best(visit.client, customer_id, channel, visit.locale, Beside(given, kept)),
            offers.ruled_out(visit.client, customer_id, channel, kept),
        )
        texts = desk.runtime.live().prepared.strategy.texts
        return desk.fragment(
            visit,
            "agent/replacement.html",
            card=next(iter(offered.cards), None),
            offered=offered,
            slot=_slot(form),
            answered=given,
            answered_title=form.one("title"),
            unsuitable=_unsuitable(desk, taken.unsuitable),
            gone=[
                {"offer": offer, "why": localized(texts.get(code), visit.locale, code)} for offer, code in gone.items()
            ],
        )


def _answer(form: Form) -> Answer:
    outcome = form.need("outcome")
    if outcome not in ANSWERS:
        raise ApiError(INVALID, f"The outcome is one of {', '.join(ANSWERS)}.")
    return Answer(tracking_id=form.need("tracking_id"), outcome=outcome, reason=form.one("reason"))


def _slot(form: Form) -> int:
    slot = form.need("slot")
    if not slot.isdecimal() or not 1 <= int(slot) <= MOST_OFFERS:
        raise ApiError(INVALID, f"The slot is 1 to {MOST_OFFERS}.")
    return int(slot)


def _unsuitable(desk: Desk, found: tuple[tuple[int, str], ...]) -> dict[str, str] | None:
    """Why an acceptance must not be carried out, in every language; None where it may."""
    if not found:
        return None
    code = found[0][1]
    return dict(desk.runtime.live().prepared.strategy.texts.get(code, {"en": code}))


def _add_why(router: APIRouter, desk: Desk, opening: Opening) -> None:
    agent = Depends(desk.visitor(ApiScope.SERVE))
    runtime = desk.runtime
    decided_by = DecidingStrategies(at_hand=lambda: runtime.live().prepared, kept=runtime.strategies)
    explain = ExplainDecision(store=runtime.store, strategies=decided_by, archive=runtime.archive)

    @router.get("/decisions/{decision_id}/candidates")
    async def why(visit: Annotated[Visit, agent], decision_id: str) -> Response:
        if not _DECISION.fullmatch(decision_id):
            raise ApiError(NOT_FOUND, "No record of this decision is kept.")
        try:
            record = await explain.record(DecisionId(decision_id))
            data = record_data(record)
            if not visit.client.speaks_for(str(data["channel"])):
                raise DecisionUnknown
            await opening.require(visit.client, str(data["customer_id"]))
            explanation = await explain.explained(record)
        except (DecisionUnknown, StrategyUnknown, CustomerUnknown) as error:
            raise ApiError(NOT_FOUND, "No record of this decision is kept.") from error
        return desk.fragment(
            visit, "agent/why.html", fates=fates_of(explanation, visit.locale), decision=explanation.data
        )
