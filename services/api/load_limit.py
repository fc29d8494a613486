"""How much a node works on at once: as much as keeps the turns of its loop short.

On one event loop whatever is ready waits for its turn behind all else that is, and what the kernel holds for us waits
as long again. That delay, the length of a turn, is what is controlled. The latency of whole requests would mislead:
it grows, too, because a store is slow, when the loop is idle and more may be under way, not less.

With `n` requests under way on a saturated loop a turn is as long as `n` steps of their work, so Little's law gives the
step of Netflix's concurrency limits (Gradient2): limit' = limit x target / delay, here damped by its square root and
bounded to a factor of two a window. The delay is judged as CoDel does (RFC 8289): a queue is no fault, one that stands
is, hence a window's turns, each weighted by its time as requests meet them, against a target that is a small part of
what callers wait: a decision needs some six turns. The limit rises only while it binds, so that a quiet hour does not
raise it (Gradient2 again), but in a calm loop twice the limit is open at once: a store that hangs must not make a node
with nothing to do refuse anybody.

Pure: delays and `now_s` are arguments.
"""

from dataclasses import dataclass, field

WINDOW_S = 0.05
STALE_S = 1.0
"""A window that began so long ago says nothing of now."""
_MOST_STEP = 2.0
_HOLD = 0.8
"""What a window leaves of a long turn for the next."""
_LONG = 0.125
"""Of the target."""
_CALM = 0.5
"""Of the target: below it the loop has time to spare."""
SPREAD_MOST_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTerms:
    """`target_s` is the length of a turn that is held. The limit begins at `first` and stays within `least` and
    `most`."""

    target_s: float = 0.0075
    least: int = 16
    """So many keep reads and writes together, and are soon done even where a decision takes three milliseconds."""
    first: int = 48
    most: int = 256


@dataclass(slots=True)
class LoadLimit:
    """The limit, and what this window has seen."""

    terms: LoadTerms = field(default_factory=LoadTerms)
    limit: float = field(init=False)
    delay_s: float = field(default=0.0, init=False)
    """The turn that a request met in the last window."""
    open_places: int = field(init=False)
    """What may be under way now."""
    spread_s: int = field(default=1, init=False)
    """Refused callers are asked to come back within 1 to so many seconds: at three times the load within three, so that
    those refused in one second are no second peak in another."""
    _begun: int = field(default=0, init=False)
    _peak: int = field(default=0, init=False)
    _refused: int = field(default=0, init=False)
    _delays_s: float = field(default=0.0, init=False)
    _squares: float = field(default=0.0, init=False)
    _held_s: float = field(default=0.0, init=False)
    _since_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.limit = float(min(self.terms.first, self.terms.most))
        self.open_places = self._opened()

    def begun(self, under_way: int) -> None:
        """A request's work begins, so many being under way with it."""
        self._begun += 1
        self._peak = max(self._peak, under_way)

    def refused(self) -> None:
        """A request was refused."""
        self._refused += 1

    def turned(self, delay_s: float, now_s: float) -> bool:
        """A turn of the loop took so long; whether the limit was looked at again with it."""
        if now_s - self._since_s > STALE_S:
            self._restart(now_s)
        self._delays_s += delay_s
        self._squares += delay_s * delay_s
        if now_s - self._since_s < WINDOW_S:
            return False
        self.delay_s = self._squares / max(self._delays_s, 1e-9)
        self._follow()
        self.spread_s = min(SPREAD_MOST_S, 1 + round(self._refused / max(1, self._begun)))
        self._restart(now_s)
        return True

    def is_long(self, delay_s: float) -> bool:
        """Whether a turn of this length is worth watching the next."""
        return delay_s > _LONG * self.terms.target_s

    def _restart(self, now_s: float) -> None:
        self._since_s = now_s
        self._begun = self._peak = self._refused = 0
        self._delays_s = self._squares = 0.0

    def _follow(self) -> None:
        terms = self.terms
        self._held_s = max(self.delay_s, _HOLD * self._held_s)
        # Down by what this window saw, up only by what the last few did: those taken together are ready together, so
        # that a long turn is followed by short ones, and a limit that believed those would be filled at once.
        delay_s = self.delay_s if self.delay_s > terms.target_s else self._held_s
        ratio = min(_MOST_STEP, terms.target_s / max(delay_s, 1e-9))
        if self.delay_s > terms.target_s or (ratio > 1 and (self._refused or self._peak >= self.limit)):
            wanted = self.limit * max(1 / _MOST_STEP, ratio) ** 0.5
            self.limit = min(float(terms.most), max(float(min(terms.least, terms.most)), wanted))
        self.open_places = self._opened()

    def _opened(self) -> int:
        calm = self._held_s < _CALM * self.terms.target_s
        return int(min(self.terms.most, self.limit * 2 if calm else self.limit))
