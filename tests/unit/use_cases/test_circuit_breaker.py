"""A dependency that hangs is found out within a second, asked one call at a time, and taken back when it answers."""

from hypothesis import given, settings
from hypothesis import strategies as st

from services.use_cases.circuit_breaker import FIRST_PAUSE_S, MOST_PAUSE_S, PROBE_S, CircuitBreaker, Way


class Dependency:
    """One that is asked `rate` times a second, and whose callers give up after `patience_s`."""

    def __init__(self, rate: float, patience_s: float = 0.06) -> None:
        self.heard: list[bool] = []
        self.breaker = CircuitBreaker(self.heard.append)
        self.rate, self.patience_s, self.now_s = rate, patience_s, 0.0
        self.asked = self.waited = 0
        self.pending: list[tuple[float, Way]] = []

    def run(self, seconds: float, *, sound: bool) -> None:
        """Callers come for so long; an unsound one answers nobody."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += 1 / self.rate
            while self.pending and self.pending[0][0] <= self.now_s:
                self.breaker.failed(self.pending[0][1], self.pending.pop(0)[0])
            way = self.breaker.way(self.now_s)
            if way is Way.OPEN:
                continue
            self.asked += 1
            if sound:
                self.breaker.succeeded(way)
            else:
                self.waited += 1
                self.pending.append((self.now_s + self.patience_s, way))


def test_one_that_hangs_under_load_is_left_alone_within_a_tenth_of_a_second() -> None:
    store = Dependency(rate=3_000)
    store.run(30, sound=True)
    store.run(0.1, sound=False)
    assert store.heard == [True]


def test_one_that_hangs_under_little_load_is_left_alone_within_a_second() -> None:
    store = Dependency(rate=10)
    store.run(30, sound=True)
    store.run(1.0, sound=False)
    assert store.heard == [True]


def test_while_it_hangs_hardly_anybody_waits() -> None:
    store = Dependency(rate=1_000)
    store.run(10, sound=True)
    store.run(0.2, sound=False)
    store.waited = 0
    store.run(60, sound=False)
    assert store.waited <= 62, "one probe a second"


def test_it_is_asked_again_within_five_seconds_of_its_recovery() -> None:
    store = Dependency(rate=1_000)
    store.run(10, sound=True)
    store.run(60, sound=False)
    before_s = store.now_s
    while store.breaker.is_open:
        store.run(0.01, sound=True)
    assert store.now_s - before_s <= MOST_PAUSE_S + 0.1
    assert store.heard == [True, False]
    store.asked = 0
    store.run(1, sound=True)
    assert store.asked >= 999


def test_a_dependency_that_fails_now_and_then_is_always_asked() -> None:
    breaker = CircuitBreaker()
    for number in range(10_000):
        now_s = number / 100
        assert breaker.way(now_s) is Way.CLOSED
        if number % 3 == 0:
            breaker.failed(Way.CLOSED, now_s)
        else:
            breaker.succeeded(Way.CLOSED)


def test_what_was_asked_before_does_not_close_it() -> None:
    breaker = CircuitBreaker()
    breaker.trip(0.0)
    breaker.succeeded(Way.CLOSED)
    assert breaker.is_open
    assert breaker.way(FIRST_PAUSE_S) is Way.PROBE
    assert breaker.way(FIRST_PAUSE_S) is Way.OPEN, "one at a time"
    breaker.succeeded(Way.PROBE)
    assert not breaker.is_open


def test_a_probe_nobody_heard_of_again_makes_room_for_another() -> None:
    breaker = CircuitBreaker()
    breaker.trip(0.0)
    assert breaker.way(FIRST_PAUSE_S) is Way.PROBE
    assert breaker.way(FIRST_PAUSE_S + PROBE_S - 0.01) is Way.OPEN
    assert breaker.way(FIRST_PAUSE_S + PROBE_S) is Way.PROBE


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0.0005, 0.5)), max_size=200))
def test_it_is_never_shut_for_good(calls: list[tuple[bool, float]]) -> None:
    """Whatever has happened, a dependency that answers is asked as always within the longest pause."""
    breaker, now_s = CircuitBreaker(), 0.0
    for answers, step_s in calls:
        now_s += step_s
        way = breaker.way(now_s)
        if way is not Way.OPEN:
            breaker.succeeded(way) if answers else breaker.failed(way, now_s)
    way = breaker.way(now_s + max(MOST_PAUSE_S, PROBE_S))
    assert way is not Way.OPEN
    breaker.succeeded(way)
    assert breaker.way(now_s) is Way.CLOSED
