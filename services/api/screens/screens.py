"""All screens, as one router."""

from fastapi import APIRouter

from services.api.runtime import ApiRuntime
from services.api.screens.agent import agent_routes
from services.api.screens.console import console_routes
from services.api.screens.desk import Desk
from services.api.screens.entrance import entrance_routes
from services.api.screens.inbox import inbox_routes
from services.api.screens.inbox_board import LeadBoard
from services.api.screens.map import map_routes
from services.api.screens.static_files import static_routes
from services.ports import SessionStore


def screen_routes(runtime: ApiRuntime, store: SessionStore) -> APIRouter:
    """The screens for people, on one desk. `store` holds the sessions."""
    desk = Desk(runtime, store)
    router = APIRouter(include_in_schema=False)
    feed, leads = runtime.outbound, runtime.leads
    board = None if feed is None or leads is None else LeadBoard(feed, leads.marks, leads.results)
    for routes in (static_routes(), entrance_routes(desk), agent_routes(desk, board), console_routes(desk)):
        router.include_router(routes)
    if feed is not None and leads is not None and board is not None:
        router.include_router(inbox_routes(desk, feed, leads, board))
    if runtime.snapshots is not None:
        router.include_router(map_routes(desk, runtime.snapshots))
    return router
