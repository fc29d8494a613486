"""Others are served while some harm: 500 clients that never finish a request, or one that asks twice as often as
it may.

Rounds with and without the harm take turns, so that what else runs on the machine touches both alike; what is compared
are the medians over rounds of the 99th percentile of who asks as usual. `python -m loadtests.slow_clients [--greedy]`
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

from loadtests.hostile_server import LIMIT, answered, question, served_apart

CLIENTS = 500
CLOSED_S = 10.0
SLOW_MAY_COST = 1.2
GREEDY_MAY_COST = 1.1
EXACT = 0.02
ROUNDS, ROUND_S, RATE = 6, 8.0, 20
PIECES = (
    b"POST /v1/decisions HTTP/1.1\r\nhost: a\r\n",
    b"POST /v1/decisions HTTP/1.1\r\nhost: a\r\nx-api-key: open\r\ncontent-type: application/json\r\n"
    b"content-length: 5000\r\n\r\n{",
    b"P",
    b"",
)
"""Half of the headers, a body that never ends, one byte, nothing at all."""
Harm = Callable[[int], AbstractAsyncContextManager[None]]


@dataclass(slots=True)
class Closings:
    """How long the node kept connections that never finished a request, from their opening on."""

    seconds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Greed:
    """What became of the requests of who asks too often."""

    asked: int = 0
    accepted: int = 0
    refused: int = 0
    allowed: float = 0.0
    ended_s: float = float("-inf")

    @property
    def beyond(self) -> float:
        """Accepted beyond what was allowed, as a share; negative below it."""
        return self.accepted / self.allowed - 1


async def latencies(port: int, seconds: float) -> list[float]:
    """Of who asks as usual: an open loop at a fixed rate over a few connections, from when a request was due."""
    found: list[float] = []
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)

    async def ask(due_s: float) -> None:
        reader, writer = await free.get()
        writer.write(question("other"))
        status, _, _ = await answered(reader)
        found.append(perf_counter() - due_s if status == 200 else float("inf"))
        free.put_nowait((reader, writer))

    began_s = perf_counter()
    async with asyncio.TaskGroup() as asking:
        for number in range(int(seconds * RATE)):
            due_s = began_s + number / RATE
            await asyncio.sleep(max(0.0, due_s - perf_counter()))
            asking.create_task(ask(due_s))
    for _, writer in connections:
        writer.close()
    return found


def slow(closings: Closings) -> Harm:
    """Half a request each, and then nothing; from another process, so that who measures is not busy with them."""

    @asynccontextmanager
    async def harm(port: int) -> AsyncIterator[None]:
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loadtests.slow_clients", "--hold", str(port), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        if holder.stdout is None or not await holder.stdout.readline():
            raise RuntimeError("the slow clients did not start")
        yield
        closings.seconds += json.loads(await holder.stdout.readline())
        await holder.wait()

    return harm


async def hold(port: int) -> None:
    """Opens the connections, says so, and then how long the node kept each."""
    opened = await asyncio.gather(*(_half(port, number) for number in range(CLIENTS)))
    print("open", flush=True)
    print(json.dumps(await asyncio.gather(*(_kept(*each) for each in opened))), flush=True)


async def _half(port: int, number: int) -> tuple[float, asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    opened_s = perf_counter()
    writer.write(PIECES[number % len(PIECES)])
    return opened_s, reader, writer


async def _kept(opened_s: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
    async with asyncio.timeout(60):
        while await reader.read(65_536):
            pass
    writer.close()
    return perf_counter() - opened_s


def greedy(greed: Greed) -> Harm:
    """Twice as many requests a second as it may send, at a fixed rate."""

    async def ask(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(question("limited"))
        status, head, _ = await answered(reader)
        greed.accepted += status == 200
        greed.refused += status == 429 and b"retry-after" in head
        writer.close()

    async def ask_on(port: int, until: asyncio.Event) -> None:
        began_s = perf_counter()
        number = 0
        async with asyncio.TaskGroup() as asking:
            while not until.is_set():
                asking.create_task(ask(port))
                number += 1
                await asyncio.sleep(max(0.0, began_s + number / (2 * LIMIT) - perf_counter()))
            greed.asked += number
            saved = min(LIMIT, LIMIT * (began_s - greed.ended_s))  # since the last round, which left nothing
            greed.ended_s = perf_counter()
            greed.allowed += LIMIT * (greed.ended_s - began_s) + saved

    @asynccontextmanager
    async def harm(port: int) -> AsyncIterator[None]:
        until = asyncio.Event()
        asking = asyncio.create_task(ask_on(port, until))
        yield
        until.set()
        await asking

    return harm


async def paired(port: int, harm: Harm, rounds: int) -> tuple[float, float]:
    """The 99th percentile without and with the harm: medians over rounds that take turns."""
    without, amid = list[float](), list[float]()
    for number in range(2 * rounds):
        if number % 2 == (number // 2) % 2:
            without.append(_p99(await latencies(port, ROUND_S)))
            continue
        async with harm(port):
            amid.append(_p99(await latencies(port, ROUND_S)))
    return median(without), median(amid)


async def slow_clients(rounds: int) -> bool:
    """500 that never finish a request; prints what was found."""
    closings = Closings()
    with served_apart() as node:
        await latencies(node.port, 2.0)
        plain, amid = await paired(node.port, slow(closings), rounds)
    print(
        f"{len(closings.seconds)} connections that never finished a request, {CLIENTS} at once: closed within "
        f"{max(closings.seconds):.1f} s; p99 of others {plain * 1000:.1f} ms without them, {amid * 1000:.1f} ms with "
        f"them ({amid / plain - 1:+.0%}); load of the machine {os.getloadavg()[0]:.1f}"
    )
    return max(closings.seconds) <= CLOSED_S and amid <= SLOW_MAY_COST * plain


async def greedy_client(rounds: int) -> bool:
    """One that asks twice as often as it may; prints what was found."""
    greed = Greed()
    with served_apart() as node:
        await latencies(node.port, 2.0)
        plain, amid = await paired(node.port, greedy(greed), rounds)
    print(
        f"{greed.asked} requests at twice the limit of {LIMIT} a second: {greed.accepted} taken, {greed.beyond:+.1%} "
        f"of what is allowed, {greed.refused} refused with Retry-After; p99 of others {plain * 1000:.1f} ms without "
        f"it, {amid * 1000:.1f} ms with it ({amid / plain - 1:+.0%}); load of the machine {os.getloadavg()[0]:.1f}"
    )
    whole = greed.accepted + greed.refused == greed.asked
    return whole and abs(greed.beyond) <= EXACT and amid <= GREEDY_MAY_COST * plain


def _p99(found: Sequence[float]) -> float:
    return sorted(found)[int(0.99 * len(found))]


def main() -> int:
    """The exit status is the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="with and without, each")
    parser.add_argument("--greedy", action="store_true", help="the one that asks too often, not those that are slow")
    parser.add_argument("--hold", type=int, metavar="PORT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.hold is not None:
        asyncio.run(hold(args.hold))
        return 0
    return 0 if asyncio.run((greedy_client if args.greedy else slow_clients)(args.rounds)) else 1


if __name__ == "__main__":
    sys.exit(main())
