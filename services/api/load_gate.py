"""The gate before the hot routes: who is let in while a node has less room than is asked for.

Each class of requests has a share of the room that it may fill (`SHARES`): the rest is for those above it, so that
batches are refused first and agents last. Most refusals happen in `api.guarded_protocol` on the bytes of a request,
before it is parsed and before a task is made for it: one costs some five microseconds besides receiving and sending, a
decision several hundred, and only so does a node do its full work at ten times its load. What such a glance cannot
tell is refused by the routes.
"""

import asyncio
import re
from collections.abc import Mapping
from itertools import count
from time import perf_counter
from types import MappingProxyType

from services.api.authentication import Client
from services.api.bodies import Scope
from services.api.errors import OVERLOADED_NODE, PROBLEM_JSON, ApiError, problem_of
from services.api.load_limit import LoadLimit, LoadTerms
from services.api.priorities import ChannelPriorities, Priority, lowered, lowered_in
from services.api.rate_limits import Room
from services.ports import Metrics

SHARES: Mapping[Priority, float] = MappingProxyType(
    {Priority.BATCH: 0.4, Priority.INTERACTIVE: 0.7, Priority.AGENT: 1.0}
)
"""Of the room, up to which each class is let in."""
ARRIVED = "kairos.arrived_s"
"""In a request's scope: when its last byte was taken from the connection, on the performance counter."""
QUEUED = "kairos.queued"
"""In a request's scope while its work has not begun: it is counted as under way already."""
HOT_PATHS = ("/v1/decisions", "/v1/responses")
"""The routes that the gate stands before; both are asked by POST."""
_HOT_LINES = tuple([f"POST {path} HTTP/1.1\r\n".encode() for path in HOT_PATHS])
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,6})[ \t]*(?:\r\n|$)")
_MOST_HEAD_BYTES = 16 * 1024
_TEXT = "More is under way than this node can do in time; come back after the pause, or ask another."


class LoadGate:
    """Counts what is under way and refuses what would come too late."""

    def __init__(self, terms: LoadTerms, channels: ChannelPriorities, metrics: Metrics) -> None:
        self.limit = LoadLimit(terms)
        self.room = Room(self.limit.open_places)
        self.queued = 0
        """Requests handed to a task whose work has not begun."""
        self._channels = channels
        self._metrics = metrics
        self._refusals = count()
        self._open = [0] * len(Priority)
        self._measuring = False
        self._turn_began_s = 0.0
        self._resize()

    @property
    def under_way(self) -> int:
        """Requests that are worked on, or soon will be."""
        return self.queued + self.room.taken

    @property
    def is_crowded(self) -> bool:
        """Whether anybody would be refused now."""
        return self.queued + self.room.taken >= self._open[Priority.BATCH]

    def admits(self, priority: Priority) -> bool:
        """Whether one more of the class is let in."""
        return self.queued + self.room.taken < self._open[priority]

    def refusal(self, data: bytes) -> bytes | None:
        """The answer to bytes that are one whole request to a hot route and that is to be refused; None for whatever
        else they are, which then goes the usual way."""
        if not data.startswith(_HOT_LINES):
            return None
        end = data.find(b"\r\n\r\n", 0, _MOST_HEAD_BYTES)
        head = data[: end + 2].lower()
        length = _LENGTH.search(head)
        if end < 0 or length is None or int(length[1]) != len(data) - end - 4:
            return None
        if (
            head.count(b"\r\ncontent-length:") > 1
            or b"\r\ntransfer-encoding:" in head
            or b"\r\nconnection: close" in head
        ):
            return None
        priority = lowered_in(self._channels.claimed(data, end)[1], head)
        if self.admits(priority):
            return None
        self._count("overload", priority)
        return _ANSWERS[self._pause_s() - 1]

    def enqueue(self, scope: Scope) -> None:
        """A request's task is made, which will call `begin`."""
        scope[QUEUED] = True
        self.queued += 1

    def begin(self, scope: Scope) -> float:
        """The first step of a hot request's work: how many seconds it has waited for that."""
        if scope.pop(QUEUED, False):
            self.queued -= 1
        self.limit.begun(self.queued + self.room.taken + 1)
        now_s = perf_counter()
        if not self._measuring:
            self._measuring = True
            asyncio.get_running_loop().call_soon(self._turn_begins)
        arrived_s: float = scope.get(ARRIVED, now_s)  # without the mark the body is still to come
        return max(0.0, now_s - arrived_s)

    def check(self, raw: bytes, scope: Scope, client: Client) -> None:
        """Lets the request in, or raises ApiError that says when to come back."""
        priority = self._priority(raw, scope, client)
        if not self.admits(priority):
            raise self._refused("overload", priority, _TEXT)

    def check_deadline(self, waited_s: float, timeout_ms: int, raw: bytes, scope: Scope, client: Client) -> None:
        """Raises ApiError for what has waited in the queue for as long as its caller waits at all."""
        if waited_s * 1000 >= timeout_ms:
            text = "Its time was over before its turn came."
            raise self._refused("expired", self._priority(raw, scope, client), text)

    def _priority(self, raw: bytes, scope: Scope, client: Client) -> Priority:
        channel, priority = self._channels.claimed(raw)
        if client.priority is not None:
            priority = min(priority, client.priority)
        if channel and client.channels is not None and channel.decode(errors="replace") not in client.channels:
            priority = Priority.BATCH  # it will be told so when there is time to
        return lowered(priority, scope["headers"])

    def _refused(self, reason: str, priority: Priority, text: str) -> ApiError:
        self._count(reason, priority)
        return ApiError(OVERLOADED_NODE, text, retry_after_s=self._pause_s())

    def _turn_begins(self) -> None:
        """From one callback to the one it puts down is a whole turn of the loop: all that was ready, and all that came
        in. From the work that began to a callback would be a part: new work comes last, behind whatever was waiting."""
        self._turn_began_s = perf_counter()
        asyncio.get_running_loop().call_soon(self._turned)

    def _turned(self) -> None:
        """What was to be done soon is done. While turns are long every one counts: what began together comes back
        together, and is most of the work when nobody begins."""
        now_s = perf_counter()
        turn_s = now_s - self._turn_began_s
        if self.limit.turned(turn_s, now_s):
            self._resize()
        self._measuring = self.limit.is_long(turn_s)
        if self._measuring:
            self._turn_began_s = now_s
            asyncio.get_running_loop().call_soon(self._turned)

    def _count(self, reason: str, priority: Priority) -> None:
        self.limit.refused()
        self._metrics.count("shed_total", reason=reason, priority=priority.label)

    def _pause_s(self) -> int:
        """In turn 1, 2, … seconds: spread without a draw."""
        return 1 + next(self._refusals) % self.limit.spread_s

    def _resize(self) -> None:
        places = self.limit.open_places
        self.room.places = places
        self._open = [max(1, round(places * SHARES[priority])) for priority in Priority]
        self._metrics.gauge("concurrency_limit", places)
        self._metrics.gauge("loop_turn_seconds", self.limit.delay_s)


def _answer(pause_s: int) -> bytes:
    problem = problem_of(ApiError(OVERLOADED_NODE, _TEXT, retry_after_s=pause_s))
    head = (
        b"HTTP/1.1 %d Service Unavailable\r\ncontent-type: %s\r\nx-content-type-options: nosniff\r\n"
        b"cache-control: no-store\r\nretry-after: %d\r\ncontent-length: %d\r\n\r\n"
    )
    return head % (problem.status, PROBLEM_JSON, pause_s, len(problem.body)) + problem.body


_ANSWERS = tuple(_answer(pause_s) for pause_s in range(1, 11))
"""By the pause they ask for."""
