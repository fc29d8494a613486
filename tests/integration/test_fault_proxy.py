"""The fault campaign's proxy carries, spoils, cuts and turns as it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from loadtests.faults.proxy import SOUND, Condition, ProxyProcess

WAIT_S = 20.0


@asynccontextmanager
async def echoing(mark: bytes) -> AsyncIterator[int]:
    """A server that says its mark before each line it repeats."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(mark + line)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
async def proxy() -> AsyncIterator[ProxyProcess]:
    async with ProxyProcess.start() as started:
        yield started


async def asked(port: int, line: bytes = b"x\n") -> bytes:
    """One line there and back; nothing when the connection was ended."""
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(line)
            return await reader.readline()
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()


@pytest.mark.parametrize(
    "condition",
    [
        SOUND,
        Condition(latency_s=0.02),
        Condition(jitter_s=0.02),
        Condition(bytes_per_s=4096),
    ],
)
async def test_whatever_is_slow_arrives_whole(proxy: ProxyProcess, condition: Condition) -> None:
    async with echoing(b"a:") as target:
        port = await proxy.open(target)
        await proxy.spoil(port, condition)
        line = b"y" * 900 + b"\n"
        assert await asked(port, line) == b"a:" + line


async def test_a_black_hole_holds_what_comes_until_it_closes(proxy: ProxyProcess) -> None:
    async with echoing(b"a:") as target:
        port = await proxy.open(target)
        await proxy.spoil(port, Condition(black_hole=True))
        asking = asyncio.create_task(asked(port))
        await proxy.spoil(port, Condition(black_hole=True))  # answered: the proxy has seen to what came before
        assert not asking.done()
        await proxy.spoil(port, SOUND)
        assert await asking == b"a:x\n"


async def test_answers_are_held_once_the_text_awaited_has_passed(proxy: ProxyProcess) -> None:
    async with echoing(b"a:") as target:
        port = await proxy.open(target)
        assert not await proxy.hold_after(port, "x", 0.01), "nothing came"
        waiting = asyncio.create_task(proxy.hold_after(port, "x", WAIT_S))
        assert await asked(port, b"y\n") == b"a:y\n", "another text holds nothing"
        asking = asyncio.create_task(asked(port))
        assert await waiting
        assert await asked(port) == b"a:x\n", "nor is another connection held"
        assert not asking.done()
        await proxy.cut(port)
        assert await asking == b""


async def test_connections_are_refused_and_let_in_again(proxy: ProxyProcess) -> None:
    async with echoing(b"a:") as target:
        port = await proxy.open(target)
        await proxy.spoil(port, Condition(refuse=True))
        assert await asked(port) == b""
        await proxy.spoil(port, SOUND)
        assert await asked(port) == b"a:x\n"


async def test_a_cut_ends_what_stands_and_a_turn_leads_elsewhere(proxy: ProxyProcess) -> None:
    async with echoing(b"a:") as first, echoing(b"b:") as second:
        port = await proxy.open(first)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x\n")
        assert await reader.readline() == b"a:x\n"
        await proxy.cut(port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            async with asyncio.timeout(WAIT_S):
                await reader.readexactly(1)
        writer.transport.abort()
        await proxy.retarget(port, second)
        assert await asked(port) == b"b:x\n"
