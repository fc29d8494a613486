"""What the rule editor fetches while somebody writes: completion, check, and who matches now."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from decision_engine.conditions.errors import ConditionError
from services.api.authentication import ApiScope
from services.api.screens.console_frame import Console
from services.api.screens.console_offer_view import conditions_of
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.use_cases.authoring.ask_matches import AskMatches
from services.use_cases.authoring.rule_editing import all_of


def rule_routes(desk: Desk, console: Console) -> APIRouter:
    """Answers about conditions, in the words of a work's strategy."""
    router = desk.router("/console/work/{where}/rules")
    reader = Depends(desk.visitor(ApiScope.READ))
    runtime = desk.runtime
    ask = AskMatches(live=runtime.live, sample=console.works.tools.sample, clock=runtime.clock)
    _answers(router, desk, console, ask)

    @router.get("/complete")
    async def complete(where: str, visit: Annotated[Visit, reader]) -> Response:
        work = await console.works.open(where)
        query = visit.request.query_params
        text, at = query.get("when", ""), query.get("at", "")
        found = console.works.editing(work.strategy).complete(
            text, int(at) if at.isdecimal() else len(text), visit.locale
        )
        rows = [
            {
                "insert": each.insert,
                "start": each.start,
                "back": each.back,
                "type": each.type,
                "said": each.said,
                "group": desk.words.text(f"console.theme_{each.group}", visit.locale)
                if desk.words.has(f"console.theme_{each.group}")
                else each.group,
                "values": list(each.values),
            }
            for each in found
        ]
        return Response(orjson.dumps(rows), media_type="application/json")

    return router


def _answers(router: APIRouter, desk: Desk, console: Console, ask: AskMatches) -> None:
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("/check")
    async def check(where: str, visit: Annotated[Visit, reader]) -> Response:
        work = await console.works.open(where)
        query = visit.request.query_params
        when = query.get("when") or query.get("rule.when") or ""
        checked = console.works.editing(work.strategy).check(when)
        return desk.fragment(visit, "console/rule_check.html", when=when, checked=checked)

    @router.get("/matches")
    async def matches(where: str, visit: Annotated[Visit, reader]) -> Response:
        work = await console.works.open(where)
        query = visit.request.query_params
        editing = console.works.editing(work.strategy)
        when = query.get("when") or query.get("rule.when") or ""
        offer = next((o for o in work.strategy.offers if o.name == query.get("offer")), None)
        if not when and offer is not None:
            when = all_of(conditions_of(offer)) or "true"
        try:
            found = await ask(editing.checked(when))
        except ConditionError as error:
            return console.refused(visit, str(error))
        dictionary = work.strategy.dictionary
        shown = [name for name in found.names if not (name in dictionary and dictionary[name].sensitive)]
        return desk.fragment(
            visit, "console/matches.html", matches=found, said=editing.said(when, visit.locale), shown=shown[:6],
            dictionary=dictionary,
        )  # fmt: skip
