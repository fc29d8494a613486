"""Open impressions are no failures, and quick acceptances do not run ahead: at any moment the estimate is right."""

import numpy as np
import pytest

from decision_engine.online import OnlineLearning
from models.online.book import Book
from models.online.evidence import CellKey, merged
from models.online.posterior import delay_shares

HOUR = 3_600_000
TERMS = OnlineLearning(half_life_seconds=10**9, window_seconds=7 * 86_400, steps=(600, 6 * 3_600, 86_400, 7 * 86_400))
CELL = CellKey("m1", "gold.mobile.main", "")
TRUE, BASE = 1.6, 0.1


def parts_of_the_truth(now_ms: int, seed: int, delay_hours: float) -> tuple[float, float, float]:
    """Steady impressions, accepted with TRUE x BASE after an exponential delay: the estimate at `now_ms`, that which
    takes open impressions for failures, and that which counts acceptances at once, each over the multiplier that will
    have come out once every window is closed."""
    draws = np.random.default_rng(seed)
    seen = np.sort(draws.uniform(0, now_ms, 2_000)).astype(np.int64)
    accepts = draws.random(len(seen)) < TRUE * BASE
    delays = np.minimum(draws.exponential(delay_hours * HOUR, len(seen)), 7 * 24 * HOUR - 1).astype(np.int64)
    book = Book(TERMS)
    for number, (at, accepted, delay) in enumerate(zip(seen.tolist(), accepts.tolist(), delays.tolist(), strict=True)):
        book.decided(f"d.{number}", CELL, BASE, at)
        book.seen(f"d.{number}", at)
        if accepted and at + delay <= now_ms:
            book.accepted(f"d.{number}", at + delay)
    book.advance(now_ms)
    cell = merged([book.cells[CELL]], now_ms, 1000.0 * TERMS.half_life_seconds)
    assert cell is not None
    shares = delay_shares(np.array(cell.accepted), np.array(cell.exposed))
    known = int((accepts & (seen + delays <= now_ms)).sum())
    closed = int((seen + 7 * 24 * HOUR <= now_ms).sum())
    estimate = sum(cell.accepted) / float(shares @ np.array(cell.exposed))
    final = float(accepts.mean()) / BASE
    return estimate / final, known / (BASE * len(seen)) / final, known / (BASE * (closed + known)) / final


@pytest.mark.parametrize("delay_hours", [0.2, 8.0, 40.0])
@pytest.mark.parametrize("days", [9, 20])
def test_the_multiplier_is_right_however_much_is_pending(delay_hours: float, days: int) -> None:
    found = np.array([parts_of_the_truth(days * 24 * HOUR, seed, delay_hours)[0] for seed in range(6)])
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - 1.0) < max(4 * error, 0.04)
    assert error < 0.06


def test_the_simple_ways_of_counting_are_biased_where_this_one_is_not() -> None:
    found = np.array([parts_of_the_truth(9 * 24 * HOUR, seed, 40.0) for seed in range(6)]).mean(axis=0)
    right, as_failures, at_once = found.tolist()
    assert abs(right - 1.0) < 0.12
    assert as_failures < 0.88
    assert at_once > 1.6
