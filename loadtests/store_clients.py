"""What a read of the store costs by client: this product's beside redis.asyncio, 1, 16 and 64 callers at once."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import redis.asyncio

from services.adapters.embedded_servers import embedded_valkey
from services.adapters.redis_client import RedisClient


async def compare_clients() -> None:
    """Reads of 2 KB: this client, redis.asyncio one call each, and its pipeline of 64 at once."""
    with tempfile.TemporaryDirectory() as folder:
        async with embedded_valkey(Path(folder)) as server:
            url = f"redis://127.0.0.1:{server.port}/0"
            peer = redis.asyncio.Redis.from_url(url)
            async with RedisClient.open(url) as ours:
                await ours.execute("SET", "k", b"x" * 2_000)
                for callers in (1, 16, 64):
                    await timed_reads("redis.asyncio", callers, lambda: peer.get("k"))
                    await timed_reads("RedisClient", callers, lambda: ours.execute("GET", "k"))

                async def pipelined() -> None:
                    pipeline = peer.pipeline(transaction=False)
                    for _ in range(64):
                        pipeline.get("k")
                    await pipeline.execute()

                await timed_reads("redis.asyncio pipeline", 1, pipelined, reads_a_call=64)
            await peer.aclose()


async def timed_reads(name: str, callers: int, read: Callable[[], Awaitable[object]], *, reads_a_call: int = 1) -> None:
    """Prints reads a second and processor time a read."""
    calls = 4_000 // (callers * reads_a_call) + 1 if callers == 1 else 20_000 // callers

    async def caller() -> None:
        for _ in range(calls):
            await read()

    began, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    reads = calls * callers * reads_a_call
    wall, spent = time.perf_counter() - began, time.process_time() - processor
    print(f"{name:24s} {callers:3d} callers {reads / wall:9,.0f} reads/s {spent / reads * 1e6:7.1f} us a read")
