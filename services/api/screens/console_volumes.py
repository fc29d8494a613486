"""How the bank's volumes stand, and how often the contact policy holds something back."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from decision_engine.strategy import Strategy
from services.api.authentication import ApiScope
from services.api.screens.console_frame import Console
from services.api.screens.console_results_asked import DAYS, asked_of
from services.api.screens.console_results_parts import answered, names_of
from services.api.screens.desk import Desk
from services.api.screens.formats import localized
from services.api.screens.visits import Visit
from services.use_cases.observing.results_desk import ResultsDesk
from services.use_cases.observing.volumes import VolumeDesk, VolumeNow, cap_use


def volume_routes(desk: Desk, console: Console, results: ResultsDesk, volumes: VolumeDesk) -> APIRouter:
    """The page; volumes are asked of the store each time, caps of the archive."""
    router = desk.router("/console/volumes")
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("")
    async def page(visit: Annotated[Visit, reader]) -> Response:
        return console.page(visit, "console/volumes.html", "volumes", **await _now(desk, visit, volumes), periods=DAYS)

    @router.get("/now")
    async def now(visit: Annotated[Visit, reader]) -> Response:
        return console.fragment(visit, "console/volumes_now.html", **await _now(desk, visit, volumes))

    @router.get("/caps")
    async def caps(visit: Annotated[Visit, reader]) -> Response:
        asked, strategy = asked_of(desk, visit), desk.runtime.live().prepared.strategy

        async def read() -> Response:
            found = await results.funnel_log(asked.period, strategy.version)
            return console.fragment(
                visit,
                "console/volumes_caps.html",
                uses=cap_use(found.found, asked.part),
                log=found.found,
                as_of=found.at_ms,
                said=_said(strategy, visit.locale),
            )

        return await answered(console, visit, read)

    return router


async def _now(desk: Desk, visit: Visit, volumes: VolumeDesk) -> dict[str, Any]:
    prepared, now_ms = desk.runtime.live().prepared, desk.runtime.clock.now_ms()
    found = await volumes.now(prepared, now_ms)
    return {
        "found": found,
        "bars": {each.volume.id: _bar(each) for each in found.volumes},
        "names": names_of(prepared.strategy, visit.locale),
        "now_ms": now_ms,
    }


def _bar(now: VolumeNow) -> dict[str, float]:
    """Parts of a hundred: gone, held beside it, and where the pace is to be."""
    amount = max(1, now.volume.amount)
    gone = now.used if now.gone is None else now.gone
    allowed = None if now.pace is None else now.pace.allowed
    return {
        "gone": round(100 * min(1.0, gone / amount), 1),
        "held": round(100 * min(1.0, (now.held or 0) / amount), 1),
        "allowed": -1.0 if allowed is None else round(100 * min(1.0, allowed / amount), 1),
        "elapsed": -1.0 if now.pace is None or now.pace.elapsed is None else round(100 * now.pace.elapsed, 1),
    }


def _said(strategy: Strategy, locale: str) -> dict[str, str]:
    """What each limit of the contact policy says to people, by its id."""
    return {limit.id: localized(limit.text, locale, limit.id) for limit in strategy.contact_limits}
