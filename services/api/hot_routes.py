"""The two routes that carry the load, `POST /v1/decisions` and `POST /v1/responses`, without a framework.

Measured on one core, the framework's routing and answer handling cost three times what the rest of a small request
does; so these two are plain functions from scope and body to bytes. The OpenAPI document describes them.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import perf_counter

import orjson
from pydantic import TypeAdapter

from decision_engine.identifiers import CustomerId
from decision_engine.outcomes import Outcome
from event_schemas.envelope import epoch_ms
from services.api.authentication import ApiScope, Client
from services.api.bodies import Receive, Scope, parse_json, read_body
from services.api.callers import calling
from services.api.customer_guard import CustomerGuard
from services.api.decision_request import decision_command
from services.api.errors import INVALID, ApiError, FieldError
from services.api.load_gate import ARRIVED, HOT_PATHS, LoadGate
from services.api.load_limit import LoadTerms
from services.api.priorities import ChannelPriorities
from services.api.runtime import ApiRuntime
from services.api.schemas import MAX_RESPONSES, DecisionBody, ResponseBody
from services.api.use_case_wiring import decision_maker, response_recorder
from services.use_cases.make_decision import Live
from services.use_cases.record_response import ResponseCommand, Sees

_DECISION: TypeAdapter[DecisionBody] = TypeAdapter(DecisionBody)
_RESPONSE: TypeAdapter[ResponseBody] = TypeAdapter(ResponseBody)
_RESPONSES: TypeAdapter[list[ResponseBody]] = TypeAdapter(list[ResponseBody])


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON body."""

    status: int
    body: bytes


HotRoute = Callable[[Scope, Receive], Awaitable[Answer]]


class HotRoutes:
    """Both routes, sharing one bound on the work in flight."""

    def __init__(self, runtime: ApiRuntime) -> None:
        self._runtime = runtime
        self._guard = CustomerGuard.of(runtime)
        terms = LoadTerms(most=runtime.max_in_flight)
        self._gate = runtime.gate or LoadGate(terms, ChannelPriorities(), runtime.metrics)
        self._make_decision = decision_maker(runtime)
        self._record_response = response_recorder(runtime)

    def by_path(self) -> dict[str, HotRoute]:
        """Path to route; both answer POST only."""
        return dict(zip(HOT_PATHS, (self.decide, self.respond), strict=True))

    async def decide(self, scope: Scope, receive: Receive) -> Answer:
        """What to offer. Raises ApiError, ValidationError, and the use case's errors."""
        waited_s = self._gate.begin(scope)
        client = await calling(self._runtime, scope, ApiScope.DECIDE)
        raw = await read_body(scope, receive)
        # A caller who sends slowly has not been kept waiting by us; one whose whole request lay in our queue has.
        started_s = scope.get(ARRIVED) or perf_counter()
        with self._admitted(client, raw, scope):
            body = _DECISION.validate_python(parse_json(raw))
            if client.customers is not None:
                await self._guard.require(client, body.customer_id)
            timeout_ms = self._runtime.decision_timeout_ms
            command = decision_command(body, raw, client, self._live_for(body.customer_id), timeout_ms, started_s)
            self._gate.check_deadline(waited_s, command.timeout_ms, raw, scope, client)
            return Answer(200, await self._make_decision(command))

    async def respond(self, scope: Scope, receive: Receive) -> Answer:
        """What became of an offer. Raises ApiError, ValidationError, BusUnavailable, StoreUnavailable."""
        self._gate.begin(scope)
        client = await calling(self._runtime, scope, ApiScope.RESPOND)
        raw = await read_body(scope, receive)
        with self._admitted(client, raw, scope):
            commands = _response_commands(parse_json(raw), client.name)
            self._runtime.admission.charge(client.name, client.limit, len(commands) - 1)
            taken = await self._record_response(commands, client.channels, self._sees(client))
        answer: dict[str, object] = {
            "accepted": taken.accepted,
            "duplicates": taken.duplicates,
            "rejected": [{"index": index, "error": error} for index, error in taken.rejected],
        }
        if taken.unsuitable:
            answer["unsuitable"] = [{"index": index, "code": code} for index, code in taken.unsuitable]
        return Answer(202, orjson.dumps(answer))

    def _live_for(self, customer_id: str) -> Live:
        """What decides for the customer: it says which placements and context there are."""
        chosen = self._runtime.live_for
        return self._runtime.live() if chosen is None else chosen(CustomerId(customer_id))

    def _sees(self, client: Client) -> Sees | None:
        """Whose options the client may answer; None: everybody's."""
        return None if client.customers is None else lambda customer_id: self._guard.sees(client, customer_id)

    def _admitted(self, client: Client, raw: bytes, scope: Scope) -> AbstractContextManager[None]:
        """Room for one more, or ApiError. Taken after the body has come, so that slow senders hold none, and before
        it is read, so that refusing costs little."""
        self._gate.check(raw, scope, client)
        return self._runtime.admission.working(self._gate.room, client.name, client.limit)


def _response_commands(value: object, client: str) -> list[ResponseCommand]:
    if not isinstance(value, list):
        return [_response_command(_RESPONSE.validate_python(value), client)]
    if not 1 <= len(value) <= MAX_RESPONSES:
        raise ApiError(INVALID, "See errors.", [FieldError("", "length", f"1 to {MAX_RESPONSES} responses")])
    return [_response_command(body, client) for body in _RESPONSES.validate_python(value)]


def _response_command(body: ResponseBody, client: str) -> ResponseCommand:
    return ResponseCommand(
        client=client,
        response_id=body.response_id,
        tracking_id=body.tracking_id,
        outcome=Outcome(body.outcome),
        at_ms=None if body.time is None else epoch_ms(body.time),
        channel=body.channel,
        detail=body.detail,
    )
