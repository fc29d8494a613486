"""Models under watch: one that takes more than its share of a decision's time is named, and left out for a while when
it does so again and again.

A model is called in the middle of a decision and cannot be stopped there, so the decision that meets a slow one is late
by that much and says so. What can be done is to spare the next ones: after `STRIKES` slow calls in a row the model is
set aside for `REST_SECONDS`, base rates stand in, and then a single decision tries it again.
"""

from collections.abc import Callable, Collection, Container, Mapping
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import FeatureSchema, Matrix, Scorer, Scorers

MODEL_SHARE = 0.25
"""Of the budget, for one model."""
STRIKES = 3
REST_SECONDS = 30.0


class _TimedScorer:
    """A scorer that remembers how long it took."""

    __slots__ = ("_now", "_scorer", "seconds")

    def __init__(self, scorer: Scorer, now: Callable[[], float]) -> None:
        self._scorer = scorer
        self._now = now
        self.seconds: float | None = None

    @property
    def version(self) -> str:
        return self._scorer.version

    @property
    def schema(self) -> FeatureSchema:
        return self._scorer.schema

    def score(self, matrix: Matrix) -> NDArray[np.float64]:
        started = self._now()
        try:
            return self._scorer.score(matrix)
        finally:
            self.seconds = self._now() - started

    def __getattr__(self, name: str) -> object:
        """What a scorer has beyond the protocol, such as the counts of one that learns online."""
        return getattr(self._scorer, name)


class WatchedCall:
    """The models of one decision: those that may be called, and afterwards whether time was short because of one."""

    __slots__ = ("_resting", "_watch", "scorers")

    def __init__(self, watch: "ScorerWatch", scorers: Mapping[str, _TimedScorer], resting: Collection[str]) -> None:
        self._watch = watch
        self._resting = resting
        self.scorers = scorers

    @property
    def seconds(self) -> float:
        """How long the models have taken."""
        return sum([scorer.seconds for scorer in self.scorers.values() if scorer.seconds is not None])

    def was_slow(self, budget_s: float, wanted: Container[str]) -> bool:
        """Whether a model took more than its share just now, or one of those wanted was left out because it does.
        Counts towards resting; to be asked once."""
        slow = any(name in wanted for name in self._resting)
        for name, scorer in self.scorers.items():
            if scorer.seconds is not None:
                slow |= self._watch.note(name, scorer.version, late=scorer.seconds > budget_s * MODEL_SHARE)
        return slow


class ScorerWatch:
    """Which models rest. `now` is seconds of a clock that never goes back."""

    def __init__(self, now: Callable[[], float] = perf_counter) -> None:
        self._now = now
        self._strikes: dict[tuple[str, str], int] = {}
        self._rest_until: dict[tuple[str, str], float] = {}

    def call(self, scorers: Scorers) -> WatchedCall:
        """The scorers for one decision, without those that rest."""
        timed = {
            name: _TimedScorer(scorer, self._now)
            for name, scorer in scorers.items()
            if not self._rest_until or not self._rests(name, scorer.version)
        }
        return WatchedCall(self, timed, [name for name in scorers if name not in timed])

    def note(self, name: str, version: str, *, late: bool) -> bool:
        """Takes down how a call went, and answers whether it was late."""
        key = (name, version)
        if not late:
            if self._strikes:
                self._strikes.pop(key, None)
                self._rest_until.pop(key, None)
            return False
        self._strikes[key] = self._strikes.get(key, 0) + 1
        if self._strikes[key] >= STRIKES:
            self._rest_until[key] = self._now() + REST_SECONDS
        return True

    def _rests(self, name: str, version: str) -> bool:
        key = (name, version)
        until = self._rest_until.get(key)
        if until is None:
            return False
        if self._now() < until:
            return True
        # The next decision tries it; the others go on without until that has gone well or its rest begins anew.
        self._rest_until[key] = self._now() + REST_SECONDS
        self._strikes[key] = STRIKES - 1
        return False
