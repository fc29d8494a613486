"""`/inbox`: leads and arrivals for relationship managers, live (docs/screens.md)."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.responses import Response

from decision_engine.identifiers import CustomerId
from services.api.authentication import ApiScope, Client
from services.api.callers import access_holds
from services.api.errors import FORBIDDEN, INVALID, NOT_FOUND, TAKEN, UNAVAILABLE, ApiError
from services.api.runtime import LeadPorts
from services.api.screens.desk import Desk
from services.api.screens.inbox_board import LeadBoard, Standing
from services.api.screens.inbox_stream import InboxStream
from services.api.screens.inbox_views import LeadView, balances, called, lead_view, offer_title, plain_name
from services.api.screens.opening import note_opened
from services.api.screens.visits import Visit
from services.api.stream_cursor import Cursor
from services.api.stream_feed import OutboundFeed
from services.api.stream_replay import LogReplay
from services.api.stream_response import EventStreamResponse, StreamAdmission
from services.api.stream_routes import cursor_of
from services.api.stream_session import Audience, StreamSession
from services.use_cases.leads.lead import CHANNEL, Lead, lead_of
from services.use_cases.leads.work import LeadHeld, Person, Reason, Talk, WorkLeads, read_closed
from services.use_cases.record_response import RecordResponse, ResponsesTaken
from services.use_cases.suitability_rematch import SuitabilityRematch
from services.use_cases.view_customer import ViewCustomer

LeadId = Annotated[str, Path(pattern=r"^[0-9A-Za-z._:-]{1,128}$")]
Whose = Annotated[str, Query(pattern="^(mine|all|arrivals)$")]
Sort = Annotated[str, Query(pattern="^(grade|time)$")]
_CURSOR = Query(max_length=8_192)
_Word = TypeVar("_Word", bound=StrEnum)


class Inbox:
    """What the routes share: the board of this node, the acts, and how things are shown."""

    def __init__(self, desk: Desk, feed: OutboundFeed, leads: LeadPorts, board: LeadBoard) -> None:
        runtime = desk.runtime
        self.desk = desk
        self.feed = feed
        self.marks = leads.marks
        self.board = board
        self.replay = LogReplay(feed)
        self.admission = StreamAdmission(runtime.stream_limits, runtime.metrics)
        self.customer = ViewCustomer(live=runtime.live, store=runtime.store, clock=runtime.clock)
        respond = RecordResponse(
            store=runtime.store,
            ledger=runtime.ledger,
            publisher=runtime.publisher,
            clock=runtime.clock,
            metrics=runtime.metrics,
            rematch=SuitabilityRematch(live=runtime.live, store=runtime.store),
        )
        self.work = WorkLeads(marks=leads.marks, respond=respond, clock=runtime.clock)

    def lead(self, visit: Visit, lead_id: str) -> Lead:
        """The lead. Raises ApiError where it is cancelled, expired, unknown, or of a customer whom the person does not
        see."""
        lead = self.board.lead(lead_id)
        if lead is None or not may_see(visit.client, lead):
            raise ApiError(NOT_FOUND, "The lead is not open any more.")
        return lead

    def view(self, standing: Standing, locale: str) -> LeadView:
        """How the lead is shown."""
        return lead_view(standing, self.desk.runtime.live(), locale)

    def open(self, visit: Visit, whose: str, sort: str) -> list[LeadView]:
        """The open leads of a filter, in order."""
        standings = self.board.open(recipient_of(visit, whose))
        views = [self.view(each, visit.locale) for each in standings if may_see(visit.client, each.lead)]
        if whose == "arrivals":
            views = [view for view in views if view.arrival]
        return sorted(views, key=lambda view: -view.lead.at_ms) if sort == "time" else views

    def row(self, visit: Visit, view: LeadView) -> str:
        """The lead's line in the list."""
        return self.desk.render(visit, "inbox/row.html", view=view, me=visit.client.name)

    async def detail(self, visit: Visit, lead: Lead, taken: ResponsesTaken | None = None) -> Response:
        """The lead, whole, with the customer's portrait."""
        note_opened(visit.client, lead.customer_id, "lead", "inbox")
        customer = await self.customer(CustomerId(lead.customer_id))
        strategy = self.desk.runtime.live().prepared.strategy
        return self.desk.fragment(
            visit,
            "inbox/detail.html",
            view=self.view(self.board.standing(lead), visit.locale),
            customer=customer,
            balances=balances(customer, strategy),
            called=lambda name: called(strategy, name, visit.locale),
            plain_name=plain_name,
            me=visit.client.name,
            taken=taken,
            talks=tuple(Talk),
            reasons=tuple(Reason),
            offer_title=lambda name: offer_title(self.desk.runtime.live(), name, visit.locale),
        )


def may_see(client: Client, lead: Lead) -> bool:
    """Whether the lead's customer is in the person's scope: by the id, or because the lead was put to them by name."""
    scope = client.customers
    return scope is None or scope.has_id(lead.customer_id) or lead.recipient == client.addressed_as


def recipient_of(visit: Visit, whose: str) -> str | None:
    """Whose leads a filter shows: the person's own and those for nobody in particular, or everybody's. Arrivals are
    everybody's business: whoever is in the branch greets the customer."""
    return visit.client.addressed_as if whose == "mine" else None


def inbox_routes(desk: Desk, feed: OutboundFeed, leads: LeadPorts, board: LeadBoard) -> APIRouter:
    """The inbox over the board of this node."""
    router, inbox = desk.router("/inbox"), Inbox(desk, feed, leads, board)
    visitor = Depends(_manager(desk))
    _add_pages(router, inbox, visitor)
    _add_acts(router, inbox, visitor)
    _add_stream(router, inbox, visitor)
    return router


def _manager(desk: Desk) -> Callable[[Visit], Awaitable[Visit]]:
    """A dependency: a person who may serve customers in the inbox's channel."""
    visit_of = desk.visitor(ApiScope.SERVE)

    async def manager(visit: Annotated[Visit, Depends(visit_of)]) -> Visit:
        if not visit.client.speaks_for(CHANNEL):
            raise ApiError(FORBIDDEN, f"You do not serve the channel {CHANNEL}.")
        return visit

    return manager


def _add_pages(router: APIRouter, inbox: Inbox, visitor: Any) -> None:
    @router.get("")
    async def page(
        visit: Annotated[Visit, visitor], show: Whose = "mine", sort: Sort = "grade", lead: str = ""
    ) -> Response:
        await inbox.board.ready()
        # List and place are of one moment: the stream goes on exactly behind what the list has.
        cursor, views = Cursor(dict(inbox.feed.reached)), inbox.open(visit, show, sort)
        return inbox.desk.page(
            visit,
            "inbox/inbox.html",
            rows=[inbox.row(visit, view) for view in views],
            show=show,
            sort=sort,
            cursor=cursor.text(),
            selected=lead,
            me=visit.client.name,
        )

    @router.get("/leads/{lead_id}")
    async def detail(visit: Annotated[Visit, visitor], lead_id: LeadId) -> Response:
        await inbox.board.look()
        return await inbox.detail(visit, inbox.lead(visit, lead_id))

    @router.get("/closed")
    async def closed(visit: Annotated[Visit, visitor]) -> Response:
        found = [read_closed(value) for value in await inbox.marks.noted(visit.client.name)]
        live = inbox.desk.runtime.live()
        titles = {trigger.name: trigger.title for trigger in live.prepared.strategy.triggers}
        entries = [(entry, titles.get(entry.trigger), inbox.board.earned(entry.decision_id)) for entry in found]
        return inbox.desk.fragment(
            visit,
            "inbox/closed.html",
            entries=entries,
            offer_title=lambda name: offer_title(live, name, visit.locale),
        )


def _add_acts(router: APIRouter, inbox: Inbox, visitor: Any) -> None:
    @router.post("/leads/{lead_id}/take")
    async def take(visit: Annotated[Visit, visitor], lead_id: LeadId) -> Response:
        lead = inbox.lead(visit, lead_id)
        with _held_said():
            await inbox.work.take(lead, _person(visit))
        return await _after(inbox, visit, lead)

    @router.post("/leads/{lead_id}/give-back")
    async def give_back(visit: Annotated[Visit, visitor], lead_id: LeadId) -> Response:
        lead = inbox.lead(visit, lead_id)
        with _held_said():
            await inbox.work.give_back(lead, _person(visit))
        return await _after(inbox, visit, lead)

    @router.post("/leads/{lead_id}/done")
    async def done(visit: Annotated[Visit, visitor], lead_id: LeadId) -> Response:
        lead, form = inbox.lead(visit, lead_id), await visit.form()
        talk, tracking_id = _one_of(Talk, form.need("talk"), "talk"), form.need("tracking_id")
        if all(option.tracking_id != tracking_id for option in lead.options):
            raise ApiError(INVALID, "The lead has no such offer.")
        with _held_said():
            taken = await inbox.work.done(lead, _person(visit), talk, tracking_id)
        return await _after(inbox, visit, lead, taken)

    @router.post("/leads/{lead_id}/not-now")
    async def not_now(visit: Annotated[Visit, visitor], lead_id: LeadId) -> Response:
        lead, form = inbox.lead(visit, lead_id), await visit.form()
        reason = _one_of(Reason, form.need("reason"), "reason")
        with _held_said():
            taken = await inbox.work.not_now(lead, _person(visit), reason)
        return await _after(inbox, visit, lead, taken)


def _add_stream(router: APIRouter, inbox: Inbox, visitor: Any) -> None:
    @router.get("/stream")
    async def stream(
        visit: Annotated[Visit, visitor],
        show: Whose = "mine",
        since: Annotated[str | None, _CURSOR] = None,
        last_event_id: Annotated[str | None, Header(max_length=8_192)] = None,
    ) -> Response:
        runtime = inbox.desk.runtime
        if inbox.feed.ending.is_set():
            raise ApiError(UNAVAILABLE, "This node is about to stop.")
        cursor = cursor_of(last_event_id or since)
        give_back = inbox.admission.admit(visit.client)
        recipient, limits = recipient_of(visit, show), runtime.stream_limits

        def shown(name: str, data: bytes) -> bytes:
            return _shown(inbox, visit, show, name, data)

        session = StreamSession(
            inbox.feed, inbox.replay, Audience(channel=CHANNEL, recipient=recipient), cursor, limits.heartbeat_s,
            shown=shown,
        )  # fmt: skip
        live = InboxStream(session, inbox.board, recipient, lambda standing: _stands(visit, standing))
        holds = access_holds(lambda: inbox.desk.sessions.client(visit.request))
        return EventStreamResponse(live.frames(), limits, runtime.metrics, give_back, holds)


def _shown(inbox: Inbox, visit: Visit, show: str, name: str, data: bytes) -> bytes:
    """An offered lead as a line of the list; without one where it is not to be shown. Notices are as they are."""
    if name != "offered":
        return data
    lead = lead_of(orjson.loads(data))
    inbox.board.admit(lead)
    if inbox.board.is_closed(lead.id) or not may_see(visit.client, lead):
        return orjson.dumps({"outbound_id": lead.id, "html": ""})
    view = inbox.view(inbox.board.standing(lead), visit.locale)
    html = "" if show == "arrivals" and not view.arrival else inbox.row(visit, view)
    return orjson.dumps({"outbound_id": lead.id, "html": html, "urgent": lead.urgent, "title": view.title})


def _stands(visit: Visit, standing: Standing) -> dict[str, object]:
    mark = standing.mark
    return {
        "by": None if mark is None else mark.by,
        "mine": mark is not None and mark.by == visit.client.name,
        "results": len(standing.credits),
    }


async def _after(inbox: Inbox, visit: Visit, lead: Lead, taken: ResponsesTaken | None = None) -> Response:
    """The lead as it stands after the act; everybody else is told at once."""
    await inbox.board.look()
    return await inbox.detail(visit, lead, taken)


def _person(visit: Visit) -> Person:
    return Person(name=visit.client.name, channels=visit.client.channels)


@contextmanager
def _held_said() -> Iterator[None]:
    """Says who was faster."""
    try:
        yield
    except LeadHeld as held:
        raise ApiError(TAKEN, held.mark.by) from held


def _one_of(kind: type[_Word], text: str, field: str) -> _Word:
    try:
        return kind(text)
    except ValueError as error:
        raise ApiError(INVALID, f"The field {field} is none of {', '.join(kind)}.") from error
