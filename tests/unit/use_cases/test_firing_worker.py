"""What waits for its firing, what is dropped, and that nobody holds up the others; and what is noted with a firing."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_engine.identifiers import CustomerId
from decision_engine.triggers.firing import Overtaken
from services.ports import StoreUnavailable
from services.use_cases.firing_cases import Watched
from services.use_cases.firing_notes import Held, Note, Sending, decode_note, encode_note
from services.workers.firing_worker import FiringWorker


def customer(number: int, partition: int = 0) -> Watched:
    return Watched(CustomerId(f"retail:{number}"), partition)


class Fired:
    """Remembers who was fired for; fails for some, and can be held up."""

    def __init__(self, failing: set[CustomerId] | None = None) -> None:
        self.lots: list[list[CustomerId]] = []
        self.failing = failing or set()
        self.error: Exception = ValueError("a memory nobody can read")
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.begun = asyncio.Event()

    async def __call__(self, customers: Sequence[Watched]) -> None:
        self.begun.set()
        await self.go_on.wait()
        ids = [one.customer_id for one in customers]
        if self.failing & set(ids):
            raise self.error
        self.lots.append(ids)

    async def until(self, number: int) -> None:
        async with asyncio.timeout(5):
            while sum(map(len, self.lots)) < number:
                await asyncio.sleep(0.005)


async def nothing_to_withdraw(_: CustomerId, __: Sequence[Overtaken]) -> None:
    return None


async def test_customers_are_worked_on_together_each_once() -> None:
    fired = Fired()
    worker = FiringWorker(fired, nothing_to_withdraw, lot=4, side_by_side=1)
    for number in (1, 2, 3, 1, 4, 5):
        worker.submit(customer(number))
    async with worker.running(1.0):
        await fired.until(5)
    assert [len(lot) for lot in fired.lots] == [4, 1]
    assert len({name for lot in fired.lots for name in lot}) == 5


async def test_a_firing_that_fails_does_not_hold_up_the_others() -> None:
    fired = Fired(failing={CustomerId("retail:2")})
    worker = FiringWorker(fired, nothing_to_withdraw)
    for number in (1, 2, 3):
        worker.submit(customer(number))
    async with worker.running(1.0):
        await fired.until(2)
    assert fired.lots == [["retail:1"], ["retail:3"]]


async def test_a_customer_at_fault_is_left_alone_while_the_others_go_on_at_once() -> None:
    fired = Fired(failing={CustomerId("retail:2")})
    worker = FiringWorker(fired, nothing_to_withdraw, side_by_side=1)
    async with worker.running(1.0):
        for number in range(10, 60):  # a pause after every failure would take minutes by now
            worker.submit(customer(2))
            worker.submit(customer(number))
            await fired.until(number - 9)
        assert worker.is_busy(CustomerId("retail:2"))


async def test_what_the_store_does_not_let_through_is_left_to_the_due_index() -> None:
    fired = Fired(failing={CustomerId("retail:1")})
    fired.error = StoreUnavailable("away")
    worker = FiringWorker(fired, nothing_to_withdraw)
    worker.submit(customer(1))
    async with worker.running(1.0):
        async with asyncio.timeout(5):
            await fired.begun.wait()
            while worker.is_busy(CustomerId("retail:1")):
                await asyncio.sleep(0.005)
        assert fired.lots == []


async def test_partitions_given_up_begin_nothing_and_finish_what_is_under_way() -> None:
    fired = Fired()
    fired.go_on.clear()
    worker = FiringWorker(fired, nothing_to_withdraw, lot=1, side_by_side=1)
    worker.submit(customer(1, partition=0))
    async with worker.running(1.0):
        await fired.begun.wait()
        for number, partition in ((2, 0), (3, 1)):
            worker.submit(customer(number, partition))
        giving_up = asyncio.create_task(worker.revoked({0}, 5.0))
        await asyncio.sleep(0)
        assert not giving_up.done(), "waits for what is under way"
        fired.go_on.set()
        await giving_up
        await fired.until(2)
    assert fired.lots == [["retail:1"], ["retail:3"]]


async def test_one_customer_is_never_worked_on_twice_at_once() -> None:
    fired = Fired()
    fired.go_on.clear()
    worker = FiringWorker(fired, nothing_to_withdraw)
    worker.submit(customer(1))
    async with worker.running(1.0):
        await fired.begun.wait()
        fired.begun.clear()
        worker.submit(customer(1))
        worker.submit(customer(2))
        await fired.begun.wait()
        assert fired.lots == []
        fired.go_on.set()
        await fired.until(3)
    assert sorted(fired.lots) == [["retail:1"], ["retail:1"], ["retail:2"]]


async def test_a_full_queue_drops_what_is_due_in_any_case() -> None:
    fired = Fired()
    worker = FiringWorker(fired, nothing_to_withdraw, most_waiting=2)
    for number in range(5):
        worker.submit(customer(number))
    assert [worker.is_busy(CustomerId(f"retail:{n}")) for n in range(5)] == [True, True, False, False, False]


numbers = st.integers(0, 2**63 - 1)


@given(st.one_of(numbers.map(Sending), numbers.map(Held)))
def test_a_note_is_read_as_it_was_written(note: Note) -> None:
    assert decode_note(encode_note(note)) == note


@pytest.mark.parametrize("garbage", [b"", b"S", b"X" + bytes(8), bytes(20)])
def test_a_note_that_makes_no_sense_says_that_publishing_may_have_begun(garbage: bytes) -> None:
    assert decode_note(garbage) == Sending(0)
