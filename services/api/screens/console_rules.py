"""What the rule editor fetches while somebody writes: completion, check, and who matches now."""

from collections.abc import Mapping
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
from services.use_cases.authoring.rule_editing import RuleEditing, all_of
from services.use_cases.authoring.trigger_editing import matching_event


def rule_routes(desk: Desk, console: Console) -> APIRouter:
    """Answers about conditions, in the words of a work's strategy."""
    router = desk.router("/console/in/{where}/rules")
    reader = Depends(desk.visitor(ApiScope.READ))
    runtime = desk.runtime
    ask = AskMatches(live=runtime.live, sample=console.works.tools.sample, clock=runtime.clock)
    _answers(router, desk, console, ask)

    @router.get("/complete")
    async def complete(where: str, visit: Annotated[Visit, reader]) -> Response:
        work = await console.works.open(where)
        query = visit.request.query_params
        text, at = query.get("_text", ""), query.get("_at", "")
        editing = _editing(console.works.editing(work.strategy), query)
        found = editing.complete(text, int(at) if at.isdecimal() else len(text), visit.locale)
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


def _written(query: Mapping[str, str]) -> str:
    """The condition of the box that asks: `_field` names it among the fields of its form."""
    return query.get(query.get("_field", "when"), "")


def _editing(rules: RuleEditing, query: Mapping[str, str]) -> RuleEditing:
    """Who knows the names that a box may use: `_names` says whose they are, and the form which event is meant."""
    names, field = query.get("_names", "rule"), query.get("_field", "")
    if names == "event":
        return rules.about_event(query.get(f"{field.rpartition('.')[0]}.event", ""))
    return rules.about_guard(matching_event(query)) if names == "guard" else rules


def _answers(router: APIRouter, desk: Desk, console: Console, ask: AskMatches) -> None:
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("/check")
    async def check(where: str, visit: Annotated[Visit, reader]) -> Response:
        work = await console.works.open(where)
        query = visit.request.query_params
        when = _written(query)
        checked = _editing(console.works.editing(work.strategy), query).check(when)
        return desk.fragment(visit, "console/rule_check.html", when=when, checked=checked)

    @router.get("/matches")
    async def matches(where: str, visit: Annotated[Visit, reader]) -> Response:
        work = await console.works.open(where)
        query = visit.request.query_params
        editing = _editing(console.works.editing(work.strategy), query)
        when = _written(query)
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
