"""All screens, as one router."""

from fastapi import APIRouter

from services.api.runtime import ApiRuntime
from services.api.screens.agent import agent_routes
from services.api.screens.console import console_routes
from services.api.screens.desk import Desk
from services.api.screens.entrance import entrance_routes
from services.api.screens.inbox import inbox_routes
from services.api.screens.map import map_routes
from services.api.screens.static_files import static_routes
from services.ports import SessionStore


def screen_routes(runtime: ApiRuntime, store: SessionStore) -> APIRouter:
    """The screens for people, on one desk. `store` holds the sessions."""
    desk = Desk(runtime, store)
    router = APIRouter(include_in_schema=False)
    for routes in (static_routes(), entrance_routes(desk), agent_routes(desk), console_routes(desk)):
        router.include_router(routes)
    if runtime.outbound is not None and runtime.leads is not None:
        router.include_router(inbox_routes(desk, runtime.outbound, runtime.leads))
    if runtime.snapshots is not None:
        router.include_router(map_routes(desk, runtime.snapshots))
    return router
