"""Evidence fact by fact: steps of age, forgetting, late and repeated facts, and how it is written down."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.online import OnlineLearning
from models.online.book import Book, pending_by_state
from models.online.evidence import CellKey, merged
from models.online.stored import read_book, written_changes

TERMS = OnlineLearning(half_life_seconds=86_400, window_seconds=3_600, steps=(60, 600, 3_600))
CELL = CellKey("m1", "gold.mobile.main", "")
T0 = 1_795_254_600_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def book_of(accepted_after: int | None = None) -> Book:
    book = Book(TERMS)
    book.decided("d.0", CELL, 0.25, T0 - 5_000)
    book.seen("d.0", T0)
    if accepted_after is not None:
        book.accepted("d.0", T0 + accepted_after)
    return book


def sums(book: Book) -> tuple[list[float], list[float]]:
    cell = book.cells.get(CELL)
    return ([0.0] * 3, [0.0] * 3) if cell is None else (cell.accepted, cell.exposed)


def test_an_impression_is_no_failure_before_its_steps() -> None:
    book = book_of()
    for age, exposed in ((59_999, [0, 0, 0]), (MINUTE, [0.25, 0, 0]), (600_000, [0.25, 0.25, 0]), (HOUR, [0.25] * 3)):
        book.advance(T0 + age)
        assert sums(book) == ([0.0, 0.0, 0.0], exposed)
    assert not book.options, "its window is over"


def test_an_acceptance_counts_with_those_who_did_not_accept_by_then() -> None:
    book = book_of(accepted_after=5 * MINUTE)
    book.advance(T0 + 5 * MINUTE)
    assert sums(book) == ([0.0, 0.0, 0.0], [0.25, 0.0, 0.0]), "it came between the first step and the second"
    book.advance(T0 + 10 * MINUTE)
    assert sums(book) == ([0.0, 1.0, 0.0], [0.25, 0.25, 0.0])


def test_what_comes_after_the_window_does_not_count() -> None:
    book = book_of(accepted_after=HOUR + 1)
    book.advance(T0 + 3 * HOUR)
    assert sums(book) == ([0.0, 0.0, 0.0], [0.25, 0.25, 0.25])


def test_what_nobody_saw_does_not_count_and_is_let_go_of() -> None:
    book = Book(TERMS)
    book.decided("d.0", CELL, 0.25, T0)
    book.accepted("d.0", T0 + MINUTE)
    book.advance(T0 + 20 * HOUR)
    assert pending_by_state(book) == {"seen": 0, "unseen": 1}
    book.advance(T0 + 26 * HOUR)
    assert not book.cells
    assert not book.options


def test_any_order_and_repetition_of_the_facts_gives_the_same() -> None:
    def enter(book: Book, fact: str) -> None:
        if fact == "decided":
            book.decided("d.0", CELL, 0.25, T0 - 5_000)
        elif fact == "seen":
            book.seen("d.0", T0)
        else:
            book.accepted("d.0", T0 + 2 * MINUTE)

    for order in permutations(["decided", "seen", "accepted", "seen", "decided"]):
        for pause in (0, 20 * MINUTE):
            book = Book(TERMS)
            for fact in order:
                enter(book, fact)
                book.advance(T0 + pause)
            book.advance(T0 + HOUR)
            assert sums(book) == ([0.0, 1.0, 0.0], [0.25, 0.25, 0.25]), (order, pause)


def test_an_earlier_impression_that_comes_to_light_moves_everything() -> None:
    book = book_of(accepted_after=5 * MINUTE)
    book.advance(T0 + 20 * MINUTE)
    book.seen("d.0", T0 - 10 * MINUTE)
    book.advance(T0 + HOUR)
    accepted, exposed = sums(book)
    kept = 2.0 ** (-10 * MINUTE / DAY)
    assert accepted == pytest.approx([0.0, 0.0, kept], abs=1e-12)
    assert exposed == pytest.approx([0.25 * kept] * 3)


def test_half_is_left_after_a_half_life_whatever_the_delay() -> None:
    book = book_of(accepted_after=50 * MINUTE)
    book.advance(T0 + HOUR)
    later = merged([book.cells[CELL]], T0 + DAY, float(DAY))
    assert later is not None
    assert later.accepted == pytest.approx([0.0, 0.0, 0.5])
    assert later.exposed == pytest.approx([0.125] * 3)
    book.decided("e.0", CELL, 0.25, T0 + DAY)
    book.seen("e.0", T0 + DAY)
    book.advance(T0 + DAY + HOUR)
    assert book.cells[CELL].exposed == pytest.approx([0.375] * 3)
    assert book.cells[CELL].accepted == pytest.approx([0.0, 0.0, 0.5])


def test_cells_of_long_ago_are_forgotten() -> None:
    book = book_of()
    book.advance(T0 + HOUR)
    book.saved()
    book.advance(T0 + 60 * DAY)
    assert not book.cells
    assert written_changes(book)[0] == {"m1\x1fgold.mobile.main\x1f": None}


@given(
    facts=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["decided", "seen", "accepted", "pass"]), st.integers(0, 90)),
        max_size=40,
    ),
    cut=st.integers(0, 40),
)
@settings(max_examples=80, deadline=None)
def test_a_book_written_down_and_read_again_goes_on_as_if_nothing_had_happened(
    facts: list[tuple[int, str, int]], cut: int
) -> None:
    def take(book: Book, fact: tuple[int, str, int], now: int) -> int:
        option, what, minutes = fact
        at = now + minutes * MINUTE
        if what == "decided":
            book.decided(f"d.{option}", CellKey("m1", f"t{option % 2}.mobile.x", ""), 0.1 * (1 + option), at)
        elif what == "seen":
            book.seen(f"d.{option}", at)
        elif what == "accepted":
            book.accepted(f"d.{option}", at)
        book.advance(at)
        return at

    straight, broken = Book(TERMS), Book(TERMS)
    cells: dict[str, bytes] = {}
    options: dict[str, bytes] = {}
    first = second = T0
    for place, fact in enumerate(facts):
        first = take(straight, fact, first)
        second = take(broken, fact, second)
        if place == cut or place % 7 == 0:
            for kept, changed in zip((cells, options), written_changes(broken), strict=True):
                kept.update({name: value for name, value in changed.items() if value is not None})
                for name in [name for name, value in changed.items() if value is None]:
                    kept.pop(name, None)
            broken = read_book(TERMS, cells, options)
    for book in (straight, broken):
        book.advance(first + 30 * HOUR)
    assert straight.cells == broken.cells
    assert straight.options == broken.options
