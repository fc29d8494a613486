"""Options under way in columns: what a dictionary holds, in an eighth of its memory."""

import gc
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.online import OnlineLearning
from models.online.book import Book
from models.online.evidence import CellKey
from models.online.impressions import Counted, Pending, accepted_step
from models.online.pending_options import DueRows, PendingOptions

STEPS = (60_000, 600_000)
NAMES = [*(f"01JD7ZK3V8Q4X9T2M5R6W7Y{n:03}.0" for n in range(40)), "", "x" * 32, "x" * 33, "y" * 90, "nul\0", "礼" * 11]
MOMENTS = st.none() | st.integers(0, 2_000_000)
CELLS = st.none() | st.sampled_from([CellKey("m1", "gold.mobile.main", ""), CellKey("m2", "gold.mobile.main", "young")])


def step(seen_ms: int, accepted_ms: int | None) -> int | None:
    return accepted_step(seen_ms, accepted_ms, STEPS)


@st.composite
def pendings(draw: st.DrawFn) -> Pending:
    seen, accepted = draw(MOMENTS), draw(MOMENTS)
    steps = draw(st.none() | st.integers(0, 2))
    counted = None if steps is None or seen is None else Counted(seen, steps, step(seen, accepted))
    return Pending(
        noted_ms=draw(st.integers(0, 2_000_000)), cell=draw(CELLS), exposure=draw(st.floats(0, 1)), seen_ms=seen,
        accepted_ms=accepted, counted=counted,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.none() | pendings()), max_size=120))
def test_it_holds_what_a_dictionary_holds(acts: list[tuple[str, Pending | None]]) -> None:
    kept, plain = PendingOptions(step), dict[str, Pending]()
    for name, option in acts:
        if option is not None:
            kept[name] = plain[name] = option
        else:
            assert kept.pop(name, None) == plain.pop(name, None)
        assert len(kept) == len(plain) and (name in kept) == (name in plain)
    assert dict(kept) == plain and sorted(kept) == sorted(plain)
    assert kept.seen_count() == sum(option.seen_ms is not None for option in plain.values())


def test_thousands_come_and_go_in_the_rows_of_those_before() -> None:
    kept = PendingOptions(step)
    for number in range(20_000):
        kept[f"D{number}"] = Pending(noted_ms=number)
        if number >= 500:
            del kept[f"D{number - 500}"]
    assert sorted(kept) == sorted(f"D{number}" for number in range(19_500, 20_000))
    assert len(kept._steps) <= 501


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 60_000), max_size=80), st.integers(0, 70_000))
def test_every_row_due_by_then_is_taken(due: list[int], now_ms: int) -> None:
    rows = DueRows()
    for row, at_ms in enumerate(due):
        rows.add(row, at_ms)
    taken = list(rows.take(now_ms))
    assert set(taken) >= {row for row, at_ms in enumerate(due) if at_ms <= now_ms}
    assert set(taken) == {row for row, at_ms in enumerate(due) if rows.is_taken(at_ms, now_ms)}


def test_an_option_under_way_takes_less_than_a_quarter_of_what_objects_took() -> None:
    """750 bytes were measured of the same options as objects in dictionaries."""
    book = Book(OnlineLearning(half_life_seconds=86_400, window_seconds=604_800, steps=(60, 3_600, 604_800)))
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(10_000):
            name, at_ms = f"01JD7ZK3V8Q4X9T2M5R6{number:06}.0", 100 * number
            book.decided(name, CellKey("m1", f"offer{number % 40}.mobile.main", "young"), 1e-6 * number, at_ms)
            if number % 2:
                book.seen(name, at_ms + 2_000)
            if number % 500 == 0:
                book.advance(at_ms)
                book.saved()
        book.saved()
        gc.collect()
        each = tracemalloc.get_traced_memory()[0] / len(book.options)
    finally:
        tracemalloc.stop()
    assert len(book.options) == 10_000
    assert each < 750 / 4
