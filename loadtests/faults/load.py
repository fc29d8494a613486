"""A steady, seeded, bounded load: events, decisions and responses, as a bank and its channels make them.

A channel that gets no answer asks the other node, with the same request id; one whose response was not taken sends it
again. What was answered and what was acknowledged is kept for the judge.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx

from loadtests.faults.reconciliation import Answered
from loadtests.faults.system import System, decision_body
from services.ports import OutgoingEvent

OUTCOMES = ("impression", "impression", "impression", "click", "accept", "reject", "dismiss", "convert")
WINDOW = 60
"""Customers active at once; a few are replaced with every fault, so that caps bite and never bite everybody."""
REQUEST_S = 10.0
MAX_OPTIONS = 400
ATTEMPTS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How much a second."""

    events: float = 20.0
    decisions: float = 10.0
    responses: float = 6.0


@dataclass(slots=True)
class Load:
    """The load on one system. `during` names the fault under way, for the table of statuses."""

    system: System
    draw: random.Random
    rates: Rates = field(default_factory=Rates)
    during: str = "none"
    answers: dict[str, Answered] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    """Responses that the product refused by name: their option is unknown."""
    statuses: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(asked for, status or failure, fault under way)."""
    events: int = 0
    degraded: int = 0
    longest_s: float = 0.0
    """Of a decision that was answered."""
    unjudged: list[Answered] = field(default_factory=list)
    customers: deque[str] = field(default_factory=lambda: deque(maxlen=WINDOW))
    touched: set[str] = field(default_factory=set)
    """Customers with news since they were last judged."""
    _options: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=MAX_OPTIONS))
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: set["asyncio.Task[None]"] = field(default_factory=set)
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    """What time the bank has; in a soak it runs faster than the wall's."""
    _last_ms: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Loads while the context lasts."""
        await self.renew(WINDOW)
        self._open.set()
        lanes = (
            (self.rates.events, self._event),
            (self.rates.decisions, self._decide),
            (self.rates.responses, self._respond),
        )
        pacing = [asyncio.create_task(self._pace(rate, act)) for rate, act in lanes]
        try:
            yield self
        finally:
            for task in [*pacing, *self._under_way]:
                task.cancel()
            for task in [*pacing, *self._under_way]:
                with suppress(asyncio.CancelledError):
                    await task

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Nothing is sent and nothing is under way while the context lasts."""
        self._open.clear()
        while self._under_way:
            await asyncio.wait(set(self._under_way))
        try:
            yield
        finally:
            self._open.set()

    async def renew(self, number: int) -> None:
        """New customers take the place of the oldest."""
        for _ in range(number):
            customer = f"retail:{self.system.number()}"
            self.customers.append(customer)
            await self.send(self.system.transaction(customer), self.system.note(customer, 0))

    async def send(self, *events: OutgoingEvent) -> None:
        """Events of the bank's own, counted."""
        self.touched.update(event.key for event in events)
        self.events += len(events)
        await self.system.post(events)

    def now_ms(self) -> int:
        """A moment no other event has."""
        self._last_ms = max(self._last_ms + 1, self.clock_ms())
        return self._last_ms

    async def decide(
        self, customer: str, node: str, request_id: str | None = None, placement: str = "banner", count: int = 2
    ) -> httpx.Response | None:
        """Asks one node; None when it does not answer. The answer is kept for the judge."""
        named = {} if request_id is None else {"request_id": request_id}
        body = decision_body(customer, placement=placement, count=count, **named)
        began = time.monotonic()
        answer = await self.ask("decision", f"{self.system.urls[node]}/v1/decisions", body)
        if answer is not None and answer.status_code == httpx.codes.OK:
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            self.note_answer(answer)
        return answer

    def note_answer(self, answer: httpx.Response) -> Answered:
        """Keeps a decision's answer for the judge, and its options to be responded to."""
        told = answer.json()
        options = tuple((o["offer"], o["tracking_id"]) for p in told["placements"] for o in p.get("options", ()))
        answered = Answered(told["decision_id"], told["customer_id"], options)
        if told["decision_id"] not in self.answers:
            self.degraded += told["degraded"]
            self.unjudged.append(answered)
            self._options.extend((tracking, told["customer_id"]) for _, tracking in options)
        self.answers[told["decision_id"]] = answered
        self.touched.add(told["customer_id"])
        return answered

    async def respond(self, tracking: str, outcome: str, node: str, response_id: str | None = None) -> bool:
        """Tells one node; whether it was taken or refused by name, so that nobody need send it again."""
        response = response_id or f"{tracking}-{outcome}"
        body = {"response_id": response, "tracking_id": tracking, "outcome": outcome, "channel": "mobile"}
        answer = await self.ask("response", f"{self.system.urls[node]}/v1/responses", body)
        if answer is None or answer.status_code != httpx.codes.ACCEPTED:
            return False
        (self.refused if answer.json()["rejected"] else self.acknowledged).add(response)
        return True

    async def ask(self, what: str, url: str, body: object) -> httpx.Response | None:
        """One request, its status counted."""
        try:
            answer = await self.system.http.post(url, json=body, timeout=REQUEST_S)
        except httpx.HTTPError as error:
            self.statuses[what, type(error).__name__, self.during] += 1
            return None
        status = str(answer.status_code)
        if answer.status_code in (429, 503):
            status += " Retry-After" if "retry-after" in answer.headers else " without Retry-After"
        self.statuses[what, status, self.during] += 1
        return answer

    async def _pace(self, rate: float, act: Callable[[], "asyncio.Task[None]"]) -> None:
        """So many a second whatever becomes of them, but for the bound on what is under way."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + 1 / rate, loop.time() - 1.0)
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._open.wait()
            if len(self._under_way) < 200:
                task = act()
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)

    def _event(self) -> "asyncio.Task[None]":
        draw, customer = self.draw, self.draw.choice(self.customers)
        at_ms = self.now_ms() - draw.choice((0, 0, 0, 2_000, 60_000))  # some come late
        chance = draw.random()
        if chance < 0.75:
            event = self.system.transaction(customer, draw.randrange(1, 5_000), at_ms)
        elif chance < 0.9:
            event = self.system.note(customer, draw.randrange(1_000_000), at_ms)
        else:
            event = self.system.consent(customer, draw.random() < 0.7, at_ms)
        events = [event, event] if draw.random() < 0.02 else [event]
        return asyncio.create_task(self.send(*events))

    def _decide(self) -> "asyncio.Task[None]":
        customer, draw = self.draw.choice(self.customers), self.draw
        nodes = draw.sample(self.system.nodes, k=min(2, len(self.system.nodes)))
        return asyncio.create_task(self._decided(customer, nodes, f"q{self.system.number()}", draw.randrange(1, 4)))

    async def _decided(self, customer: str, nodes: list[str], request_id: str, count: int) -> None:
        for node in nodes:
            answer = await self.decide(customer, node, request_id, count=count)
            if answer is not None and answer.status_code == httpx.codes.OK:
                return

    def _respond(self) -> "asyncio.Task[None]":
        if not self._options:
            return asyncio.create_task(asyncio.sleep(0))
        tracking, customer = self._options[self.draw.randrange(len(self._options))]
        self.touched.add(customer)
        return asyncio.create_task(self._responded(tracking, self.draw.choice(OUTCOMES)))

    async def _responded(self, tracking: str, outcome: str) -> None:
        for attempt in range(ATTEMPTS):
            node = self.system.nodes[attempt % len(self.system.nodes)]
            if await self.respond(tracking, outcome, node):
                return
            await asyncio.sleep(0.25)
