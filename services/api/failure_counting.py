"""What the service could not answer, counted: the bad part of the availability promised (docs/operations.md)."""

from services.api.bodies import Message, Receive, Scope, Send
from services.api.front_door import SHED, AsgiApp
from services.ports import Metrics

OTHER = "other"
"""Stands for every path but those counted by themselves: paths hold ids, and are no labels."""


def counting_failures(app: AsgiApp, routes: frozenset[str], metrics: Metrics) -> AsgiApp:
    """The same application, with each answer of status 500 or above counted. What is refused for want of room stands in
    `shed_total`: most of it never gets here."""

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 500 and not scope.get(SHED):
                route = scope["path"] if scope["path"] in routes else OTHER
                metrics.count("requests_failed_total", route=route, status=str(message["status"]))
            await send(message)

        await app(scope, receive, send_counted)

    return counted
