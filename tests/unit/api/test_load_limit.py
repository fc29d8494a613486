"""The limit on what is under way, on a simulated event loop: at any load the node does the work it can do, in time.

The loop is simulated turn by turn with its own clock: what has come meanwhile is taken or refused, then every step that
is ready runs, then the store answers. Times are those of one processor; nothing here depends on the machine.
"""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from services.api.load_gate import SHARES
from services.api.load_limit import LoadLimit, LoadTerms
from services.api.priorities import Priority

STEPS_S = (0.00020, 0.00055, 0.00035, 0.00012)
"""Parse and read, decide and reserve, keep, answer: between them the store answers."""
TAKE_S, REFUSE_S, STORE_S = 0.00005, 0.00004, 0.0004
"""Taking a request and refusing one, what the kernel does for it included; the store's round trip."""
CAPACITY = 1 / (sum(STEPS_S) + TAKE_S)
DEADLINE_S = 0.1
BATCH, INTERACTIVE, AGENT = Priority
EVERYBODY_AT_A_SCREEN = (0.0, 1.0, 0.0)


@dataclass(slots=True)
class Request:
    came_s: float
    priority: Priority
    steps: int = 0
    left_s: float = 0.0
    taken: bool = True

    @property
    def latency_s(self) -> float:
        return self.left_s - self.came_s

    @property
    def in_time(self) -> bool:
        return self.taken and self.latency_s <= DEADLINE_S


@dataclass(slots=True)
class Loop:
    """One node's event loop under open load of a rate that may change, and what became of every request."""

    rate: Callable[[float], float]
    mix: Sequence[float] = EVERYBODY_AT_A_SCREEN
    limit: LoadLimit = field(default_factory=LoadLimit)
    store_s: Callable[[float], float] = lambda _: STORE_S
    draw: random.Random = field(default_factory=lambda: random.Random(7))
    now_s: float = 0.0
    next_s: float = 0.0
    under_way: int = 0
    done: list[Request] = field(default_factory=list)
    _ready: list[Request] = field(default_factory=list)
    _replies: list[tuple[float, int, Request]] = field(default_factory=list)
    _measured: bool = False
    """Work began in the last turn, so the next is timed, from its first callback to that of the turn after it."""
    _turn_began_s: float | None = None

    def run(self, until_s: float) -> "Loop":
        while self.now_s < until_s:
            if not self._ready:
                self.now_s = max(self.now_s, min([self.next_s, *(self._replies[0][:1] if self._replies else ())]))
            self._poll(self.now_s)
            if self._turn_began_s is not None:
                turn_s = self.now_s - self._turn_began_s
                self.limit.turned(turn_s, self.now_s)
                self._measured = self.limit.is_long(turn_s)
            self._turn_began_s = self.now_s if self._measured else None
            self._work()
        return self

    def _poll(self, polled_s: float) -> None:
        while self.next_s <= polled_s:
            request = Request(self.next_s, self.draw.choices(tuple(Priority), self.mix)[0])
            self.next_s += self.draw.expovariate(self.rate(self.next_s))
            if self.under_way < max(1, round(self.limit.open_places * SHARES[request.priority])):
                self.now_s += TAKE_S
                self.under_way += 1
                self._ready.append(request)
            else:
                self.now_s += REFUSE_S
                self.limit.refused()
                request.taken, request.left_s = False, self.now_s
                self.done.append(request)
        while self._replies and self._replies[0][0] <= polled_s:
            self._ready.append(heapq.heappop(self._replies)[2])

    def _work(self) -> None:
        ready, self._ready, asking = self._ready, [], []
        for request in ready:
            if not request.steps:
                self.limit.begun(self.under_way)
                self._measured = True
            self.now_s += STEPS_S[request.steps]
            request.steps += 1
            if request.steps < len(STEPS_S):
                asking.append(request)
            else:
                self.under_way -= 1
                request.left_s = self.now_s
                self.done.append(request)
        for request in asking:
            heapq.heappush(self._replies, (self.now_s + self.store_s(self.now_s), id(request), request))

    def between(self, begin_s: float, end_s: float) -> list[Request]:
        return [request for request in self.done if begin_s <= request.left_s < end_s]


def times(load: float) -> Callable[[float], float]:
    return lambda _: load * CAPACITY


def goodput(requests: Sequence[Request], seconds: float) -> float:
    return sum(request.in_time for request in requests) / seconds / CAPACITY


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


@pytest.mark.parametrize(("load", "least"), [(0.8, 0.78), (1.0, 0.93), (1.5, 0.93), (3.0, 0.90), (10.0, 0.70)])
def test_goodput_stays_near_capacity_at_any_load(load: float, least: float) -> None:
    requests = Loop(times(load)).run(5.0).between(1.0, 5.0)
    assert goodput(requests, 4.0) >= least
    taken = [request.latency_s for request in requests if request.taken]
    assert percentile(taken, 0.99) <= DEADLINE_S
    refusals = [request.latency_s for request in requests if not request.taken]
    assert not refusals or percentile(refusals, 0.99) <= 0.02


def test_below_capacity_nobody_is_refused() -> None:
    assert all(request.taken for request in Loop(times(0.7)).run(5.0).done)


def test_without_the_limit_nothing_would_come_in_time() -> None:
    """What the limit is for: as many as come are taken, and all are late."""
    unbounded = LoadLimit(LoadTerms(least=100_000, first=100_000, most=100_000))
    assert goodput(Loop(times(1.5), limit=unbounded).run(3.0).between(1.0, 3.0), 2.0) < 0.05


def test_the_full_rate_is_back_as_soon_as_the_overload_is_over() -> None:
    loop = Loop(lambda at_s: (10 if at_s < 3 else 0.8) * CAPACITY).run(6.0)
    after = loop.between(3.5, 6.0)
    assert all(request.taken for request in after)
    assert percentile([request.latency_s for request in after], 0.99) <= DEADLINE_S / 4


def test_those_with_a_customer_before_them_are_answered_while_batches_are_refused() -> None:
    """Three times the load: agents and screens together could be served; batches make the rest."""
    requests = Loop(times(3.0), mix=(2.2 / 3, 0.6 / 3, 0.2 / 3)).run(6.0).between(1.0, 6.0)
    by_class = {priority: [r for r in requests if r.priority is priority] for priority in Priority}
    served = {priority: sum(r.in_time for r in of) / len(of) for priority, of in by_class.items()}
    assert served[AGENT] >= 0.999
    assert served[INTERACTIVE] >= 0.99
    assert served[BATCH] < 0.2
    assert goodput(requests, 5.0) >= 0.9


def test_agents_are_answered_when_screens_alone_ask_for_ten_times_too_much() -> None:
    requests = Loop(times(10.0), mix=(0.0, 0.97, 0.03)).run(4.0).between(1.0, 4.0)
    agents = [request for request in requests if request.priority is AGENT]
    assert sum(request.in_time for request in agents) / len(agents) >= 0.99


def test_a_store_that_answers_late_makes_no_node_refuse_that_has_nothing_to_do() -> None:
    """Half the load, and from the third second on each answer of the store takes 30 ms: ten times as many are under
    way, and the loop is as idle as before."""
    loop = Loop(times(0.5), store_s=lambda at_s: 0.03 if at_s > 3 else STORE_S).run(6.0)
    assert sum(not request.taken for request in loop.done) <= 0.001 * len(loop.done)


def test_who_is_refused_is_spread_over_the_more_seconds_the_more_there_are() -> None:
    spreads = []
    for load in (1.0, 3.0, 10.0):
        loop = Loop(times(load)).run(3.0)
        spreads.append(loop.limit.spread_s)
    assert spreads[0] <= 2
    assert 2 <= spreads[1] <= 4
    assert spreads[2] == 10


def test_a_thousand_clients_that_come_back_at_once_do_not_bring_the_node_down_again() -> None:
    """After an outage of five seconds everybody asks again, and whoever is refused comes when told to."""
    loop = Loop(times(0.5))
    loop.next_s = 5.0
    herd = _Herd(loop, 1_000)
    herd.run(16.0)
    assert goodput([r for r in loop.done if 15.0 <= r.left_s < 16.0], 1.0) >= 0.45, "all that is asked for"
    assert herd.answered_s[-1] <= 5.0 + 10.0
    assert len(herd.answered_s) == 1_000


class _Herd:
    """So many clients ask at the fifth second beside the usual load; each comes back after the pause it was told and up
    to half of it more, as callers are asked to (docs/overload.md)."""

    def __init__(self, loop: Loop, clients: int) -> None:
        self.loop, self.told, self.draw = loop, 0, random.Random(11)
        self.waiting = [(5.0, number) for number in range(clients)]
        self.answered_s: list[float] = []
        self.asking: dict[int, int] = {}

    def run(self, until_s: float) -> None:
        loop = self.loop
        loop.now_s = 5.0
        while loop.now_s < until_s:
            self._put_in()
            seen = len(loop.done)
            loop.run(loop.now_s + 0.001)
            for request in loop.done[seen:]:
                number = self.asking.pop(id(request), None)
                if number is None:
                    continue
                self.answered_s.append(request.left_s)

    def _put_in(self) -> None:
        loop, later = self.loop, []
        for due_s, number in self.waiting:
            if due_s > loop.now_s:
                later.append((due_s, number))
            elif loop.under_way < round(loop.limit.open_places * SHARES[INTERACTIVE]):
                request = Request(loop.now_s, INTERACTIVE)
                self.asking[id(request)] = number
                loop.now_s += TAKE_S
                loop.under_way += 1
                loop._ready.append(request)
            else:
                loop.now_s += REFUSE_S
                loop.limit.refused()
                pause_s = 1 + self.told % loop.limit.spread_s
                later.append((loop.now_s + pause_s * self.draw.uniform(1.0, 1.5), number))
                self.told += 1
        self.waiting = later
