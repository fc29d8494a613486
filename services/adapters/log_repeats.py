"""What a library says again and again, written now and then: with how often it was left out since.

While a broker refuses connections, the Kafka client writes more than a hundred lines a second in every process, for as
long as that lasts.
"""

import logging
from collections.abc import Callable, Sequence
from time import monotonic

SECONDS = 10.0
Place = tuple[str, int]
"""A line of source code: the sentences of a library are bounded by it, what fills their gaps is not."""


class FewRepeats(logging.Filter):
    """Of what the loggers of these libraries, and those below them, write at one place of their code, one line in so
    many seconds. For a handler: on a logger it would not see those below. Other loggers' lines all pass."""

    def __init__(
        self, libraries: Sequence[str], seconds: float = SECONDS, now: Callable[[], float] = monotonic
    ) -> None:
        super().__init__()
        self._libraries = frozenset(libraries)
        self._seconds = seconds
        self._now = now
        self._written_s: dict[Place, float] = {}
        self._left_out: dict[Place, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; one that stands for others says for how many."""
        if record.name.partition(".")[0] not in self._libraries:
            return True
        place, now_s = (record.pathname, record.lineno), self._now()
        written_s = self._written_s.get(place)
        if written_s is not None and now_s - written_s < self._seconds:
            self._left_out[place] = self._left_out.get(place, 0) + 1
            return False
        self._written_s[place] = now_s
        left_out = self._left_out.pop(place, 0)
        if left_out:
            by_place = record.args if isinstance(record.args, tuple) else ()
            sentence = str(record.msg) if by_place else record.getMessage().replace("%", "%%")
            record.msg, record.args = f"{sentence} (%d more like it left out)", (*by_place, left_out)
        return True
