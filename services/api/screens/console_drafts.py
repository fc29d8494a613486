"""Drafts: begun, looked through, checked, compared with what is active, simulated, handed in or thrown away."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from services.api.authentication import ApiScope
from services.api.errors import NOT_FOUND, ApiError
from services.api.screens.console_changes import changes_between
from services.api.screens.console_frame import Console, go
from services.api.screens.console_simulate import newest_simulation
from services.api.screens.console_work import ACTIVE, Work
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit, local_path
from services.use_cases.governance.state import Draft


def draft_routes(desk: Desk, console: Console) -> APIRouter:
    """Pages and acts of drafts."""
    router = desk.router("/console/drafts")
    _reading(router, desk, console)
    _acting(router, desk, console)
    return router


def _reading(router: APIRouter, desk: Desk, console: Console) -> None:
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("")
    async def drafts(visit: Annotated[Visit, reader]) -> Response:
        state = console.governance.state()
        found = sorted(state.drafts.values(), key=lambda draft: draft.at, reverse=True)
        return console.page(visit, "console/drafts.html", "drafts", drafts=found, active=console.works.active_version())

    @router.get("/{draft}")
    async def draft(draft: str, visit: Annotated[Visit, reader]) -> Response:
        work = await _opened(console, draft)
        active = console.works.active_version()
        version = None if work.checked.strategy is None else work.checked.strategy.version
        return console.page(
            visit,
            "console/draft.html",
            "drafts",
            work,
            draft=work.draft,
            changes=await changes_between(console.governance, await console.governance.files(active), work.files),
            version=version,
            active=active,
            simulation=await newest_simulation(console, version),
        )

    @router.get("/{draft}/check")
    async def check(draft: str, visit: Annotated[Visit, reader]) -> Response:
        work = await _opened(console, draft)
        checked = await console.works.thoroughly(work.files)
        return console.fragment(
            visit, "console/check.html", work, checked=checked, links=[link_of(work, r.path) for r in checked.remarks]
        )


def _acting(router: APIRouter, desk: Desk, console: Console) -> None:
    author = Depends(desk.visitor(ApiScope.AUTHOR))

    @router.post("")
    async def begin(visit: Annotated[Visit, author]) -> Response:
        form = await visit.form()
        base = console.works.active_version()
        files = await console.governance.files(base)
        title = form.one("title") or desk.words.text("console.draft_by", visit.locale, name=visit.client.name)
        draft_id = desk.runtime.ids.new_id().lower()
        refusal = await console.attempt(
            lambda: console.governance.save_draft(
                files, draft_id=draft_id, title=title[:120], base_version=base, actor=visit.client.name
            )
        )
        if refusal is not None:
            return console.refused(visit, refusal.text)
        onward = local_path(form.one("next", f"/console/in/{ACTIVE}/offers"))
        return go(onward.replace(f"/console/in/{ACTIVE}/", f"/console/in/{draft_id}/", 1))

    @router.post("/{draft}/rename")
    async def rename(draft: str, visit: Annotated[Visit, author]) -> Response:
        title = (await visit.form()).need("title")[:120]

        async def act(found: Draft) -> None:
            await console.governance.save_draft(
                await console.governance.draft_files(draft),
                draft_id=draft,
                title=title,
                base_version=found.base_version,
                actor=visit.client.name,
                revision=found.revision,
            )

        return await _done(console, visit, draft, act, f"/console/drafts/{draft}")

    @router.post("/{draft}/submit")
    async def submit(draft: str, visit: Annotated[Visit, author]) -> Response:
        comment = (await visit.form()).one("comment") or None
        version: list[str] = []

        async def act(_: Draft) -> None:
            record = await console.governance.submit_draft(draft, actor=visit.client.name, comment=comment)
            version.append(record.version)

        found = _draft(console, draft)
        refusal = await console.attempt(lambda: act(found))
        return go(f"/console/versions/{version[0]}") if refusal is None else console.refused(visit, refusal.text)

    @router.post("/{draft}/discard")
    async def discard(draft: str, visit: Annotated[Visit, author]) -> Response:
        async def act(_: Draft) -> None:
            await console.governance.discard_draft(draft, actor=visit.client.name)

        return await _done(console, visit, draft, act, "/console/drafts")


async def _done(
    console: Console, visit: Visit, draft: str, act: Callable[[Draft], Awaitable[None]], onward: str
) -> Response:  # fmt: skip
    found = _draft(console, draft)
    refusal = await console.attempt(lambda: act(found))
    return go(onward) if refusal is None else console.refused(visit, refusal.text)


def _draft(console: Console, draft: str) -> Draft:
    found = console.governance.state().drafts.get(draft)
    if found is None:
        raise ApiError(NOT_FOUND, "There is no such draft: it was submitted or thrown away.")
    return found


async def _opened(console: Console, draft: str) -> Work:
    _draft(console, draft)
    return await console.works.open(draft)


def link_of(work: Work, path: str) -> str:
    """The page on which what a remark is about can be changed; empty for what only files say."""
    section, bracket, rest = path.partition("[")
    label = rest.partition("]")[0]
    if section == "offers" and bracket:
        return f"{work.path}/offers/{label}"
    if section in ("contact_policy.limits", "volumes"):
        return f"{work.path}/caps"
    if section in ("levers", "groups"):
        return f"{work.path}/levers"
    if section in ("experiments", "holdouts", "experiment"):
        return f"{work.path}/experiments"
    return ""
