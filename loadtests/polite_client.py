"""How a caller behaves so that an outage ends when its cause does: an example to copy into one's own client.

Three rules, each from Google's book on site reliability (chapters "Handling Overload" and "Addressing Cascading
Failures"): come back when told to (`Retry-After`), with a jitter of one's own; retry at most a tenth of one's
requests; and when most are refused, do not even send: with probability
max(0, (requests - K x accepts) / (requests + 1)) over the last two minutes, K = 2, but nine in ten at the most, so that
one in ten finds out when it is over. Pure: time and chance are arguments.
"""

from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 120.0
K = 2.0
MOST_UNSENT = 0.9
RETRY_SHARE = 0.1
TRIES = 3
JITTER = 0.5
"""Of the pause asked for, added on top."""
_LEAST_RETRIES = 3.0
"""A client that asks seldom may retry, too."""


@dataclass(slots=True)
class PoliteClient:
    """What one client remembers of its last two minutes."""

    _asked: deque[float] = field(default_factory=deque, init=False)
    _accepted: deque[float] = field(default_factory=deque, init=False)
    _retried: deque[float] = field(default_factory=deque, init=False)

    def may_send(self, now_s: float, chance: float) -> bool:
        """Whether to send a request at all; `chance` is drawn evenly from 0 to 1. One that is not sent is answered with
        the page's own default, and counts as asked: so the client looks again by itself."""
        self._forget(now_s)
        asked, accepted = len(self._asked), len(self._accepted)
        self._asked.append(now_s)
        return chance >= min(MOST_UNSENT, (asked - K * accepted) / (asked + 1))

    def answered(self, now_s: float) -> None:
        """The request was answered, with whatever but 429 or 503."""
        self._accepted.append(now_s)

    def retry_in_s(self, now_s: float, tries: int, retry_after_s: float, chance: float) -> float | None:
        """After the `tries`th refusal of one request: when to send it again, or None to give it up."""
        self._forget(now_s)
        if tries >= TRIES or len(self._retried) >= max(_LEAST_RETRIES, RETRY_SHARE * len(self._asked)):
            return None
        self._retried.append(now_s)
        return retry_after_s * (1 + JITTER * chance)

    def _forget(self, now_s: float) -> None:
        for kept in (self._asked, self._accepted, self._retried):
            while kept and kept[0] < now_s - WINDOW_S:
                kept.popleft()
