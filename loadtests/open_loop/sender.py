"""Sends a plan's requests when they are due, whatever has become of those before, and tallies what comes of them."""

import asyncio
import itertools
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic

from loadtests.open_loop.connection_pool import ConnectionPool, Exchange, Server
from loadtests.open_loop.histogram import LatencyHistogram
from loadtests.open_loop.http_connection import HttpAnswer, request_bytes
from loadtests.open_loop.plan import Plan, Sending, sendings
from loadtests.open_loop.precise_timer import Timer, open_timer
from loadtests.open_loop.profiles import Step
from loadtests.open_loop.tally import Outcome, Tally

AT_ONCE = 32
"""Requests sent in one go when several are due: in between, answers are read."""
REMEMBERED = 10_000
"""Offers that wait for a response; the oldest are forgotten."""
_DEGRADED = b'"degraded":true'
_TRACKING = b'"tracking_id":"'


@dataclass(slots=True)
class Sent:
    """What a process of the generator found: a tally for each step by its name, and how late it was itself."""

    tallies: dict[str, Tally]
    lag: LatencyHistogram = field(default_factory=LatencyHistogram)
    """From when a request was due to when the generator took it in hand: its own fault, not the server's."""


Begin = Callable[[], Awaitable[float]]
"""Called when everything is ready: the moment of `monotonic` at which a run begins; at once where it has passed."""


async def send(plan: Plan, begin: Begin) -> Sent:
    """Runs the plan; ends when every request has ended. Raises OSError where the server is not there to begin with."""
    return await _Sender(plan).run(begin)


class _Sender:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._steps = plan.steps()
        self._due: list[Sending] = sendings(plan)
        self._next = 0
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in plan.headers.items())
        self._tallies = [Tally(step.deadline_ms / 1000) for step in self._steps]
        self._names = [step.name for step in self._steps]
        answered = {step.answers for step in self._steps if step.answers is not None}
        self._offers: dict[str, deque[str]] = {name: deque(maxlen=REMEMBERED) for name in answered}
        self._lag = LatencyHistogram()
        self._ended = asyncio.Event()
        self._timer: Timer | None = None
        self._begin_at = 0.0
        tls = ssl.create_default_context() if plan.tls else None
        self._pool = ConnectionPool(
            Server(
                host=plan.host,
                port=plan.port,
                tls=tls,
                most_connections=plan.most_connections,
                timeout_s=plan.timeout_s,
            ),
            self._done,
        )

    async def run(self, begin: Begin) -> Sent:
        await self._pool.warm(min(self._plan.connections, self._plan.most_connections))
        self._begin_at = max(await begin(), monotonic())
        self._timer = open_timer(self._wake)
        self._arm()
        try:
            await self._ended.wait()
        finally:
            self._timer.close()
            self._pool.close()
        tallies = dict(zip(self._names, self._tallies, strict=True))
        return Sent(tallies, self._lag)

    def _wake(self) -> None:
        """Sends what is due, and sees to being woken for the next."""
        due = self._due
        for _ in range(AT_ONCE):
            if self._next == len(due):
                self._end_if_over()
                return
            sending = due[self._next]
            intended = self._begin_at + sending.at_s
            now = monotonic()
            if intended > now:
                break
            self._next += 1
            if sending.at_s >= self._plan.warm_up_s:
                self._lag.record(now - intended)
            self._send(sending, intended)
        self._arm()

    def _arm(self) -> None:
        assert self._timer is not None
        if self._next < len(self._due):
            self._timer.wake_at(self._begin_at + self._due[self._next].at_s)
        else:
            self._end_if_over()

    def _send(self, sending: Sending, intended: float) -> None:
        step = self._steps[sending.step]
        named: dict[str, str | int] = {"id": f"{self._plan.run}-{sending.number}", "customer": sending.customer}
        if step.answers is not None:
            offers = self._offers[step.answers]
            if not offers:
                if sending.at_s >= self._plan.warm_up_s:
                    self._tallies[sending.step].unasked += 1
                return
            named["tracking"] = offers.popleft()
        self._pool.send(Exchange(sending.step, sending.at_s, intended, self._request(step, named)))

    def _request(self, step: Step, named: dict[str, str | int]) -> bytes:
        body = None if step.body is None else step.body % named
        host = f"{self._plan.host}:{self._plan.port}"
        return request_bytes("GET" if body is None else "POST", step.path % named, host, self._lines, body)

    def _done(self, exchange: Exchange, answer: HttpAnswer | str) -> None:
        now = monotonic()
        step = self._steps[exchange.step]
        if isinstance(answer, str):
            outcome = Outcome(answer, False, False, False, now - exchange.intended, now - exchange.intended)
        else:
            accepted = answer.status in step.accepts
            if accepted and step.name in self._offers:
                self._offers[step.name].extend(_trackings(answer.body))
            outcome = Outcome(
                result=str(answer.status),
                accepted=accepted,
                degraded=accepted and _DEGRADED in answer.body,
                retry_after=answer.retry_after,
                latency_s=now - exchange.intended,
                service_s=now - exchange.sent_at,
            )
        if exchange.at_s >= self._plan.warm_up_s:
            self._tallies[exchange.step].count(outcome, int(exchange.at_s))
        self._end_if_over()

    def _end_if_over(self) -> None:
        """Called before an exchange's connection is free again, too: none waits behind the last."""
        if self._next == len(self._due):
            asyncio.get_running_loop().call_soon(self._check_end)

    def _check_end(self) -> None:
        if not self._pool.under_way:
            self._ended.set()


def _trackings(body: bytes) -> list[str]:
    """The first offer of the answer, if there is one: one response an answer."""
    begin = body.find(_TRACKING)
    if begin < 0:
        return []
    begin += len(_TRACKING)
    return [body[begin : body.index(b'"', begin)].decode()]


def merged_sent(parts: list[Sent]) -> Sent:
    """What all processes found together."""
    total = Sent({name: Tally(tally.deadline_s) for name, tally in parts[0].tallies.items()})
    for part, name in itertools.product(parts, total.tallies):
        total.tallies[name].merge(part.tallies[name])
    for part in parts:
        total.lag.merge(part.lag)
    return total
