"""When a new version of a strategy is taken back by itself: what is compared, and how much worse it may be."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How much worse a new version may be in one measure: its share may be `by` higher (lower for acceptance), or
    `times` as high (as low), than that of the version before. Beyond both, beyond doubt, it is taken back."""

    by: float
    times: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardTerms:
    """A canary is watched as long as it lasts, a version for everybody for `watch_seconds`. Compared are the first
    decisions of customers within `window_seconds`, of at least `least` customers on either side; an offer counts as
    accepted or not once it has waited `answer_seconds`. `false_alarms` is the greatest chance, a window, that a
    version as good as the one before is taken back."""

    enabled: bool = True
    window_seconds: int = 1_800
    watch_seconds: int = 3_600
    answer_seconds: int = 600
    least: int = 200
    degraded: Tolerance = Tolerance(by=0.02, times=1.5)
    fallback: Tolerance = Tolerance(by=0.05, times=1.25)
    acceptance: Tolerance = Tolerance(by=0.005, times=1.25)
    false_alarms: float = 0.01
