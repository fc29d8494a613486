"""The marketing console: everything a marketer and an approver do with a strategy."""

from fastapi import APIRouter

from services.api.screens.console_catalogue import catalogue_routes
from services.api.screens.console_decisions import decision_routes
from services.api.screens.console_drafts import draft_routes
from services.api.screens.console_frame import Console
from services.api.screens.console_history import history_routes
from services.api.screens.console_lists import list_routes
from services.api.screens.console_rebase import rebase_routes
from services.api.screens.console_release import release_routes
from services.api.screens.console_results import observing_routes
from services.api.screens.console_rules import rule_routes
from services.api.screens.console_simulate import simulate_routes
from services.api.screens.console_triggers import trigger_routes
from services.api.screens.console_work import Works
from services.api.screens.desk import Desk


def console_routes(desk: Desk) -> APIRouter:
    """All of its pages; none where nobody can act or no customers can be asked."""
    router = APIRouter(include_in_schema=False)
    tools, governance = desk.runtime.authoring, desk.runtime.governance
    if tools is None or governance is None:
        return router
    works = Works(desk.runtime, tools, governance)
    console = Console(desk, works)
    desk.before_use(works.warm)
    parts = (
        catalogue_routes,
        rule_routes,
        list_routes,
        trigger_routes,
        draft_routes,
        rebase_routes,
        simulate_routes,
        release_routes,
        decision_routes,
        history_routes,
        observing_routes,
    )
    for routes in parts:
        router.include_router(routes(desk, console))
    return router
