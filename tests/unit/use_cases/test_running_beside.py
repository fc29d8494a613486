"""Work beside other work: it ends with it, and when it fails nothing goes on as if it still ran."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.commands import state_builder
from services.settings import Settings
from services.use_cases.running_beside import running_beside


class Broken(Exception):
    """What the work fails with."""


async def for_ever() -> None:
    await asyncio.Event().wait()


async def failing(when: asyncio.Event) -> None:
    await when.wait()
    raise Broken


async def test_the_work_ends_with_what_it_runs_beside() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await for_ever()
        finally:
            ended.set()

    async with running_beside(work(), "work"):
        await began.wait()
    assert ended.is_set()


async def test_a_failure_ends_what_it_runs_beside_and_is_raised() -> None:
    now, cleaned = asyncio.Event(), False
    with pytest.raises(Broken):
        async with asyncio.timeout(5), running_beside(failing(now), "work"):
            now.set()
            try:
                await for_ever()
            finally:
                cleaned = True
    assert cleaned
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_work_that_just_ends_is_missed_by_nobody() -> None:
    async def work() -> None:
        return

    async with running_beside(work(), "work"):
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_whoever_is_cancelled_from_outside_is_cancelled_even_if_the_work_fails_then() -> None:
    now, entered = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with running_beside(failing(now), "work"):
            entered.set()
            await for_ever()

    task = asyncio.create_task(holder())
    await entered.wait()
    task.cancel()
    now.set()
    with pytest.raises((asyncio.CancelledError, Broken)):
        await task
    assert task.done()


async def test_of_two_that_fail_together_the_outer_context_ends_too() -> None:
    now = asyncio.Event()
    with pytest.raises(Broken):
        async with asyncio.timeout(5), running_beside(failing(now), "outer"), running_beside(failing(now), "inner"):
            now.set()
            await for_ever()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_builder_whose_erasures_fail_ends_rather_than_erase_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor starts it again; going on it would fold events and leave erased people in the store."""

    @asynccontextmanager
    async def active(*_: object, **__: object) -> AsyncIterator[Any]:
        yield None

    async def waiting(*_: object) -> None:
        await for_ever()

    async def breaking(*_: object) -> None:
        raise Broken

    monkeypatch.setattr(state_builder, "active_strategy", active)
    monkeypatch.setattr(state_builder, "calm_collector", lambda: None)
    monkeypatch.setattr(state_builder, "work_for_active", waiting)
    monkeypatch.setattr(state_builder, "build_beside", waiting)
    monkeypatch.setattr(state_builder, "erase_from_store", breaking)
    with pytest.raises(Broken):
        async with asyncio.timeout(5):
            await state_builder.build_for_active(Settings(), None, asyncio.Event())  # type: ignore[arg-type]
