"""What ratios, trends, shares, tops and streaks are of the amounts of their windows, wherever these are kept."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from decision_engine.features.calendar_units import DAYS, HOURS, MINUTES, WEEKS
from decision_engine.features.definitions import Aggregate, RollUp, Value, Window

WEIGHT_BITS = 20
"""Weights of decay are whole multiples of 2^-20."""
_DAYS_OF = {MINUTES: 1 / 1_440, HOURS: 1 / 24, DAYS: 1.0, WEEKS: 7.0}
_MONTH_DAYS = 365.25 / 12


def days_of(window: Window) -> float:
    """How many days a window counts as when a mean per day is taken; a month is a twelfth of 365.25."""
    if window.unit in (DAYS, WEEKS):
        return window.length * _DAYS_OF[window.unit]
    if window.unit == HOURS:
        return window.length / 24
    return window.length / 1_440 if window.unit == MINUTES else window.length * _MONTH_DAYS


def ratio_of(short: int, long: int, days: tuple[float, float], *, apart: bool) -> float | None:
    """Mean per day of the short window over that of the long one, or of what the long one has before the short."""
    short_days, long_days = days
    below, below_days = (long - short, long_days - short_days) if apart else (long, long_days)
    return (short / short_days) / (below / below_days) if below else None


def trend_of(current: int, both: int) -> float | None:
    """The window less the one before it, over the one before it."""
    before = both - current
    return (current - before) / before if before else None


def share_of(part: int, whole: int) -> float | None:
    """The part over all."""
    return part / whole if whole else None


def top_of(amounts: Iterable[tuple[Value, int]], aggregate: Aggregate) -> Value | None:
    """The value with the largest amount, of equals the smallest; or its share of all. Only values that occurred are
    given; None when there are none, or when a share has no divisor."""
    found = list(amounts)
    if not found:
        return None
    value, amount = min(found, key=lambda entry: (-entry[1], str(entry[0]) if isinstance(entry[0], str) else entry[0]))
    return value if aggregate is not Aggregate.TOP_SHARE else share_of(amount, sum(other for _, other in found))


def run_of(active: int, aggregate: Aggregate) -> int:
    """`active`, `streak` or `longest_streak` of a set of ages as bits: bit 0 is the current unit."""
    if aggregate is Aggregate.ACTIVE:
        return active.bit_count()
    if aggregate is Aggregate.STREAK:
        # An empty current unit is not over yet.
        return _trailing_ones(active if active & 1 else active >> 1)
    longest = 0
    while active:
        active &= active >> 1
        longest += 1
    return longest


def _trailing_ones(bits: int) -> int:
    return (~bits & (bits + 1)).bit_length() - 1


@lru_cache(maxsize=256)
def decay_weights(half_life: int, horizon: int) -> tuple[int, ...]:
    """The weight of every age from 0 on, in units of 2^-20."""
    return tuple(round(2.0 ** (WEIGHT_BITS - age / half_life)) for age in range(horizon))


def rolled_up(values: Sequence[int | float], over: RollUp, at_least: int | None) -> Value | None:
    """One value of those of the accounts; None when no account has one that is large enough."""
    counted = values if at_least is None else [value for value in values if value >= at_least]
    if not counted:
        return None
    match over:
        case RollUp.MAX:
            return max(counted)
        case RollUp.MIN:
            return min(counted)
        case RollUp.SUM:
            return sum(sorted(counted))
        case RollUp.MEAN:
            return sum(sorted(counted)) / len(counted)
        case RollUp.COUNT:
            return len(counted)
