"""A circuit breaker: what hangs or fails is not asked for a while, so that nobody waits for nothing.

After Hystrix (open at 20 results of which more than half failed), with a shorter memory: Hystrix looks at ten seconds,
in which a dependency that has just begun to hang stands well for five more. Here the results since the first failure
count, for a second at the most; and since few results come of a dependency that hangs under little load, five failures
in a row over a fifth of a second open it, too. While it is open one request at a time is let through, after a pause
that grows by half each time up to a second; the first that succeeds closes the circuit.

Pure: `now_s` is an argument, from a clock that only moves forward.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

WINDOW_S = 1.0
LEAST_RESULTS = 20
FAILED_SHARE = 0.5
IN_A_ROW = 5
ROW_S = 0.2
FIRST_PAUSE_S = 0.2
MOST_PAUSE_S = 1.0
_GROWTH = 1.5
PROBE_S = 2.0
"""A probe nobody heard of again is taken for failed."""


class Way(Enum):
    """How a request may go."""

    CLOSED = "closed"
    """As always."""
    PROBE = "probe"
    """It is the one that finds out."""
    OPEN = "open"
    """Not at all."""


@dataclass(slots=True)
class CircuitBreaker:
    """The state of one dependency. `on_change` hears whether the circuit is open now."""

    on_change: Callable[[bool], None] = lambda _: None
    is_open: bool = field(default=False, init=False)
    _since_s: float = field(default=float("-inf"), init=False)
    _good: int = field(default=0, init=False)
    _bad: int = field(default=0, init=False)
    _row: int = field(default=0, init=False)
    """Failures since the last success."""
    _row_since_s: float = field(default=0.0, init=False)
    _pause_s: float = field(default=FIRST_PAUSE_S, init=False)
    _probe_at_s: float = field(default=0.0, init=False)

    def way(self, now_s: float) -> Way:
        """How a request may go now; whoever is told PROBE has to say what came of it."""
        if not self.is_open:
            return Way.CLOSED
        if now_s < self._probe_at_s:
            return Way.OPEN
        self._probe_at_s = now_s + PROBE_S
        return Way.PROBE

    def succeeded(self, way: Way) -> None:
        """An answer came, whatever it said. What was asked before the circuit opened does not close it: its caller may
        have had more time than others have."""
        if way is Way.PROBE and self.is_open:
            self._close()
        self._good += 1
        self._row = 0

    def failed(self, way: Way, now_s: float) -> None:
        """No answer came in time, or none that is the dependency's own."""
        if self.is_open:
            if way is Way.PROBE:
                self._pause_s = min(MOST_PAUSE_S, self._pause_s * _GROWTH)
                self._probe_at_s = now_s + self._pause_s
            return
        if now_s - self._since_s > WINDOW_S:
            self._since_s, self._good, self._bad = now_s, 0, 0
        if not self._row:
            self._row_since_s = now_s
        self._bad += 1
        self._row += 1
        results = self._good + self._bad
        often = results >= LEAST_RESULTS and self._bad > FAILED_SHARE * results
        if often or (self._row >= IN_A_ROW and now_s - self._row_since_s >= ROW_S):
            self.trip(now_s)

    def trip(self, now_s: float) -> None:
        """Opens the circuit: whoever asks knows better than to wait for failures."""
        if self.is_open:
            return
        self.is_open, self._pause_s = True, FIRST_PAUSE_S
        self._probe_at_s = now_s + self._pause_s
        self.on_change(True)  # noqa: FBT003 - the answer to one question

    def _close(self) -> None:
        self.is_open = False
        self._since_s, self._row = float("-inf"), 0
        self.on_change(False)  # noqa: FBT003 - the answer to one question
