"""Deadlines that share a timer: late work is cancelled, work in time costs nothing more."""

import asyncio
from contextlib import suppress

import pytest

from services.use_cases.deadlines import within


async def test_what_is_late_is_cancelled_and_told() -> None:
    cancelled = asyncio.Event()

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError), within(0.01):
        await for_ever()
    assert cancelled.is_set()
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling(), "the task itself goes on"


async def test_what_is_in_time_is_left_alone() -> None:
    with within(0.01):
        await asyncio.sleep(0)
    await asyncio.sleep(0.03)


async def test_no_time_at_all_lets_only_through_what_need_not_wait() -> None:
    with within(0.0):
        pass
    with pytest.raises(TimeoutError), within(0.0):
        await asyncio.Event().wait()


async def test_an_earlier_deadline_comes_first_whenever_it_was_set() -> None:
    order: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        with suppress(TimeoutError), within(seconds):
            await asyncio.Event().wait()
        order.append(name)

    await asyncio.gather(wait("late", 0.06), wait("early", 0.01), wait("middle", 0.03))
    assert order == ["early", "middle", "late"]


async def test_the_inner_of_two_deadlines_does_not_hide_the_outer() -> None:
    with pytest.raises(TimeoutError), within(0.01), within(10.0):
        await asyncio.Event().wait()


async def test_who_is_cancelled_by_others_stays_cancelled() -> None:
    async def guarded() -> None:
        with within(10.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(guarded())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_inside_is_passed_on_as_it_is() -> None:
    with pytest.raises(ValueError, match="of its own"), within(10.0):
        raise ValueError("of its own")


async def test_thousands_that_were_met_do_not_keep_one_from_expiring() -> None:
    for _ in range(5_000):
        with within(60.0):
            pass
    with pytest.raises(TimeoutError), within(0.01):
        await asyncio.Event().wait()


def test_a_new_loop_has_a_timer_of_its_own() -> None:
    async def late() -> bool:
        try:
            with within(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return True
        return False

    assert asyncio.run(late())
    assert asyncio.run(late())
