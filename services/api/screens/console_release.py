"""What happens to a version: approved or declined by a second person, active for a share or for all, rolled back; and
the kill switches."""

from datetime import UTC, datetime
from typing import Annotated, cast, get_args
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from services.api.authentication import ApiScope
from services.api.errors import INVALID, NOT_FOUND, ApiError
from services.api.screens.console_changes import changes_between
from services.api.screens.console_fields import choices_in_words
from services.api.screens.console_frame import Console, Refusal, go
from services.api.screens.console_simulate import newest_simulation
from services.api.screens.console_work import ACTIVE
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.use_cases.governance.state import Status, StrategyRecord, SwitchKind
from services.use_cases.governance.writer import ActRefused

_ORDER = {"submitted": 0, "approved": 1, "canary": 2, "active": 3, "declined": 4, "retired": 5}


def release_routes(desk: Desk, console: Console) -> APIRouter:
    """Pages and acts of versions and switches."""
    router = desk.router("/console")
    _reading(router, desk, console)
    _answering(router, desk, console)
    _activating(router, desk, console)
    _switching(router, desk, console)
    return router


def _reading(router: APIRouter, desk: Desk, console: Console) -> None:
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("/approvals")
    async def approvals(visit: Annotated[Visit, reader]) -> Response:
        state = console.governance.state()
        found = sorted(state.versions.values(), key=lambda record: record.changed_at, reverse=True)
        found.sort(key=lambda record: _ORDER.get(record.status, 9))
        return console.page(
            visit,
            "console/approvals.html",
            "approvals",
            versions=found,
            state=state,
            active=console.works.active_version(),
            pending=desk.runtime.pending(),
        )

    @router.get("/versions/{version}")
    async def version(version: str, visit: Annotated[Visit, reader]) -> Response:
        record, active = _record(console, version), console.works.active_version()
        against = visit.request.query_params.get("against") or _beside(record, active)
        before, after = await console.governance.files(against), await console.governance.files(version)
        state = console.governance.state()
        return console.page(
            visit,
            "console/version.html",
            "approvals",
            record=record,
            active=active,
            against=against,
            changes=await changes_between(console.governance, before, after),
            others=[name for name in state.versions if name != version],
            simulation=await newest_simulation(console, version),
            simulations=tuple(reversed(state.simulations.get(version, ()))),
            history=[line for line in state.history if line.about == version],
            refusal=console.said(visit, console.governance.approval_refusal(version, visit.client.name) or ""),
            is_canary=state.canary is not None and state.canary.version == version,
            is_scheduled=state.scheduled is not None and state.scheduled.version == version,
            share=None if state.canary is None else state.canary.share,
            previous=state.previous,
            state=state,
            live=desk.runtime.live().prepared.strategy.version,
            pending=desk.runtime.pending(),
        )


def _answering(router: APIRouter, desk: Desk, console: Console) -> None:
    approver = Depends(desk.visitor(ApiScope.APPROVE))

    @router.post("/versions/{version}/approve")
    async def approve(version: str, visit: Annotated[Visit, approver]) -> Response:
        comment = (await visit.form()).one("comment") or None
        refusal = await console.attempt(
            lambda: console.governance.approve(version, actor=visit.client.name, comment=comment)
        )
        return _onward(console, visit, version, refusal)

    @router.post("/versions/{version}/decline")
    async def decline(version: str, visit: Annotated[Visit, approver]) -> Response:
        comment = (await visit.form()).one("comment")
        if not comment:
            return console.refused(visit, desk.words.text("console.reason_needed", visit.locale))
        refusal = await console.attempt(
            lambda: console.governance.decline(version, actor=visit.client.name, comment=comment)
        )
        return _onward(console, visit, version, refusal)


def _activating(router: APIRouter, desk: Desk, console: Console) -> None:
    approver = Depends(desk.visitor(ApiScope.APPROVE))

    @router.post("/versions/{version}/activate")
    async def activate(version: str, visit: Annotated[Visit, approver]) -> Response:
        form = await visit.form()
        try:
            share = _share(form.one("share", "100"))
            at = _moment(form.one("at"), ZoneInfo(str(desk.runtime.live().prepared.zone)))
        except _FieldWrong as wrong:
            return console.refused(visit, desk.words.text(f"console_release.{wrong}", visit.locale))
        refusal = await console.attempt(
            lambda: console.governance.activate(
                version, actor=visit.client.name, share=share, effective_at=at, comment=form.one("comment") or None
            )
        )
        return _onward(console, visit, version, refusal)

    @router.post("/rollback")
    async def rollback(visit: Annotated[Visit, approver]) -> Response:
        form = await visit.form()
        refusal = await console.attempt(
            lambda: console.governance.rollback(
                actor=visit.client.name, comment=form.one("comment") or None, version=form.one("version") or None
            )
        )
        return go("/console/approvals") if refusal is None else console.refused(visit, refusal.text)

    _retiring(router, desk, console)


def _retiring(router: APIRouter, desk: Desk, console: Console) -> None:
    """Whoever writes may take a submission back; what was approved is for approvers."""
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.post("/versions/{version}/retire")
    async def retire(version: str, visit: Annotated[Visit, reader]) -> Response:
        if not (_record(console, version).status is Status.SUBMITTED and ApiScope.AUTHOR in visit.client.scopes):
            visit.client.require(ApiScope.APPROVE)
        comment = (await visit.form()).one("comment") or None
        refusal = await console.attempt(
            lambda: console.governance.retire(version, actor=visit.client.name, comment=comment)
        )
        return _onward(console, visit, version, refusal)


def _switching(router: APIRouter, desk: Desk, console: Console) -> None:
    reader, stopper = Depends(desk.visitor(ApiScope.READ)), Depends(desk.visitor(ApiScope.STOP))

    @router.get("/switches")
    async def switches(visit: Annotated[Visit, reader]) -> Response:
        work = await console.works.open(ACTIVE)
        state = console.governance.state()
        query = visit.request.query_params
        found = sorted(state.kill_switches.values(), key=lambda s: (not s.engaged, -s.at.timestamp()))
        return console.page(
            visit,
            "console/switches.html",
            "switches",
            switches=found,
            choices=choices_in_words(work, visit.locale),
            kinds=get_args(SwitchKind),
            kind=query.get("kind", "offer"),
            name=query.get("name", ""),
            versions=[record.version for record in state.versions.values()],
        )

    @router.post("/switches")
    async def switch(visit: Annotated[Visit, stopper]) -> Response:
        form = await visit.form()
        kind, name, comment = form.need("kind"), form.one("name"), form.one("comment")
        if kind not in get_args(SwitchKind):
            raise ApiError(INVALID, f"There is no kill switch of kind {kind}.")
        if not name or not comment:
            return console.refused(visit, desk.words.text("console.reason_needed", visit.locale))
        act = console.governance.release if form.one("act") == "release" else console.governance.stop

        async def done() -> None:
            if form.one("act") != "release":
                _require_known(console, kind, name)
            await act(cast("SwitchKind", kind), name, actor=visit.client.name, comment=comment)

        refusal = await console.attempt(done)
        return go("/console/switches") if refusal is None else console.refused(visit, refusal.text)


def _require_known(console: Console, kind: str, name: str) -> None:
    """A switch on nothing would calm whoever threw it. Raises ActRefused."""
    strategy = console.works.runtime.live().prepared.strategy
    known = {
        "offer": {str(offer.name) for offer in strategy.offers},
        "group": {offer.group for offer in strategy.offers},
        "model": set(strategy.models),
        "channel": {placement.channel for placement in strategy.placements.values()},
    }.get(kind)
    if known is not None and name not in known:
        raise ActRefused(f"{kind} {name}: what is active has no such {kind}")


def _beside(record: StrategyRecord, active: str) -> str:
    """What a version is shown against: what decides; what decides, against what it began with."""
    return active if active != record.version else record.base_version or active


def _record(console: Console, version: str) -> StrategyRecord:
    found = console.governance.state().versions.get(version)
    if found is None:
        raise ApiError(NOT_FOUND, "No version of this name was ever submitted.")
    return found


def _onward(console: Console, visit: Visit, version: str, refusal: Refusal | None) -> Response:
    return go(f"/console/versions/{version}") if refusal is None else console.refused(visit, refusal.text)


class _FieldWrong(Exception):
    """A field that cannot be taken; the text is the key of the words that say why."""


def _share(text: str) -> float | None:
    """Per cent to a share; None is everybody, 100. Raises _FieldWrong."""
    try:
        percent = float(text.strip().rstrip("%"))
    except ValueError:
        percent = -1.0
    if not 0 < percent <= 100:
        raise _FieldWrong("share_wrong")
    return None if percent == 100 else percent / 100


def _moment(text: str, zone: ZoneInfo) -> datetime | None:
    """A local moment of the bank that is still to come; None is at once. Raises _FieldWrong."""
    try:
        at = datetime.fromisoformat(text).replace(tzinfo=zone) if text else None
    except ValueError as error:
        raise _FieldWrong("moment_wrong") from error
    if at is not None and at <= datetime.now(UTC):
        raise _FieldWrong("moment_past")
    return at
