"""Bringing a draft up to date: what the active version brings, what both sides changed, and one button."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from services.api.authentication import ApiScope
from services.api.screens.console_changes import changes_between
from services.api.screens.console_frame import Console, go
from services.api.screens.console_work import Work
from services.api.screens.desk import Desk
from services.api.screens.visits import Form, Visit
from services.use_cases.authoring.draft_rebase import Rebased, Side, rebase

_CHOICE = "choice."
_SIDES = ("mine", "theirs")


def rebase_routes(desk: Desk, console: Console) -> APIRouter:
    """The page, and the act."""
    router = desk.router("/console/drafts/{draft}/rebase")
    author = Depends(desk.visitor(ApiScope.AUTHOR))

    @router.get("")
    async def page(draft: str, visit: Annotated[Visit, author]) -> Response:
        work = await console.works.open(draft)
        active = console.works.active_version()
        theirs = await console.governance.files(active)
        found = rebase(console.works.tools.read, work.base, theirs, work.files, {})
        return console.page(
            visit,
            "console/rebase.html",
            "drafts",
            work,
            draft=work.draft,
            active=active,
            found=found,
            coming=await changes_between(console.governance, work.base, theirs),
            staying=await changes_between(console.governance, work.base, work.files),
        )

    @router.post("")
    async def move(draft: str, visit: Annotated[Visit, author]) -> Response:
        form = await visit.form()
        work = await console.works.open(draft, form.one("revision"))
        active = console.works.active_version()
        if active != form.one("active"):
            return console.refused(visit, desk.words.text("console_release.active_changed", visit.locale))
        theirs = await console.governance.files(active)
        found = rebase(console.works.tools.read, work.base, theirs, work.files, _choices(form))
        if found.open:
            text = desk.words.text("console_release.choose_all", visit.locale, n=len(found.open))
            return console.refused(visit, text)
        refusal = await console.attempt(lambda: _saved(console, work, found, active, visit.client.name))
        return go(f"/console/drafts/{draft}") if refusal is None else console.refused(visit, refusal.text)

    return router


async def _saved(console: Console, work: Work, found: Rebased, active: str, actor: str) -> None:
    draft = work.draft
    if draft is not None:
        await console.governance.save_draft(
            found.files,
            draft_id=draft.id,
            title=draft.title,
            base_version=active,
            actor=actor,
            revision=draft.revision,
        )


def _choices(form: Form) -> dict[str, Side]:
    return {
        name.removeprefix(_CHOICE): cast("Side", form.one(name))
        for name in form.fields
        if name.startswith(_CHOICE) and form.one(name) in _SIDES
    }
