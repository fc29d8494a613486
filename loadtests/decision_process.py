"""One API process without sockets, to be measured from inside: requests are fed to the server's own HTTP protocol.

Parsing, the front door, the use case, the store, the ledger and the bus are the deployed ones, on uvloop; only the
kernel's part in carrying a request is missing. A process of its own, driven by lines of JSON on its standard input
(`loadtests.decision_stages` is the driver), so that two versions of the code can be measured in turn:

    {"do": "run", "decisions": 2000, "concurrent": 16}        CPU per decision, in microseconds
    {"do": "sample", "decisions": 20000, "concurrent": 16}    which code the processor was in, sampled
    {"do": "profile", "decisions": 2000, "concurrent": 16}    the same by cProfile, which distorts but counts calls

Each answers one line of JSON.
"""

import asyncio
import cProfile
import io
import json
import os
import pstats
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import uvloop
from uvicorn.server import ServerState

from services.api.app import create_app
from services.api.guarded_protocol import GuardedProtocol
from services.api.server import ServerLimits, _calm_collector, _config
from services.bootstrap import open_api
from services.settings import read_settings

SAMPLE_SECONDS = 0.001
MAX_FRAMES = 40
SHOWN_FUNCTIONS = 80
MOST_REFUSED = 0.01
"""Of the answers: a machine busy with other things may have some come too late."""


class _Pipe(asyncio.Transport):
    """What the protocol writes to: an answer is whole when its body is, and the next request is fed."""

    def __init__(self, source: "_Source", protocol: GuardedProtocol) -> None:
        super().__init__()
        self._source = source
        self._protocol = protocol
        self._pending = b""
        self._gone = False
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        self._pending += bytes(data)
        head = self._pending.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._pending.find(b"content-length: ") + 16
        length = int(self._pending[at : self._pending.index(b"\r\n", at)])
        if len(self._pending) < head + 4 + length:
            return
        answer, self._pending = self._pending, b""
        self._source.answered(self, answer)

    def feed(self, request: bytes) -> None:
        """The next request, as if it had come over the network."""
        self._protocol.data_received(request)

    def hang_up(self) -> None:
        """The client goes."""
        self._gone = True
        self._protocol.connection_lost(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        if not self._gone:
            raise RuntimeError("the server closed a connection")

    def abort(self) -> None:
        raise RuntimeError("the server aborted a connection")

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


class _Source:
    """So many connections, each asking again as soon as it is answered."""

    def __init__(self, body: str, customers: int, make: Callable[[], GuardedProtocol]) -> None:
        self._body, self._customers, self._make = body, customers, make
        self._asked = os.getpid() * 1_000_000  # two processes under one driver must not share request ids
        self._left = 0
        self._open = 0
        self.refused = 0
        """Answers that were not 200 since this was last set to 0; `refusal` is the latest."""
        self.refusal = ""
        self._done: asyncio.Future[None] | None = None

    async def run(self, decisions: int, concurrent: int) -> None:
        """Returns when so many requests have been answered."""
        loop = asyncio.get_running_loop()
        self._done, self._left, self._open = loop.create_future(), decisions, concurrent
        pipes = [_Pipe(self, self._make()) for _ in range(concurrent)]
        for pipe in pipes:
            pipe.feed(self._request())
        await self._done
        for pipe in pipes:
            pipe.hang_up()

    def answered(self, pipe: _Pipe, answer: bytes) -> None:
        if not answer.startswith(b"HTTP/1.1 200"):
            self.refused += 1
            self.refusal = answer.decode(errors="replace")
        if self._left > 0:
            asyncio.get_running_loop().call_soon(pipe.feed, self._request())
            return
        self._open -= 1
        if not self._open and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _request(self) -> bytes:
        self._left -= 1
        self._asked += 1
        body = (self._body % (self._asked, 1 + self._asked * 7919 % self._customers)).encode()
        return (
            b"POST /v1/decisions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )


class _Sampler:
    """Counts the stacks the process' CPU time is spent in, innermost frame first."""

    def __init__(self) -> None:
        self.stacks: Counter[tuple[str, ...]] = Counter()

    def __enter__(self) -> Self:
        signal.signal(signal.SIGPROF, self._take)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_SECONDS, SAMPLE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _take(self, _: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None and len(stack) < MAX_FRAMES:
            code = frame.f_code
            stack.append(f"{code.co_filename.rpartition('/')[2]}:{code.co_qualname}")
            frame = frame.f_back
        self.stacks[tuple(stack)] += 1


async def _measure(source: _Source, task: dict[str, Any]) -> dict[str, object]:
    decisions, concurrent = int(task["decisions"]), int(task["concurrent"])
    source.refused = 0
    if task["do"] == "profile":
        profiler = cProfile.Profile()
        profiler.enable()
        await source.run(decisions, concurrent)
        profiler.disable()
        text = io.StringIO()
        pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(SHOWN_FUNCTIONS)
        return {"profile": text.getvalue()}
    with _Sampler() if task["do"] == "sample" else _Nothing() as sampler:
        started, at = time.process_time(), time.perf_counter()
        await source.run(decisions, concurrent)
        cpu, wall = time.process_time() - started, time.perf_counter() - at
    if source.refused > decisions * MOST_REFUSED:
        raise RuntimeError(f"{source.refused} of {decisions} answers were not 200: {source.refusal}")
    found: dict[str, object] = {"cpu_us": cpu * 1e6 / decisions, "wall_us": wall * 1e6 / decisions}
    if isinstance(sampler, _Sampler):
        found["stacks"] = [[list(stack), count] for stack, count in sampler.stacks.most_common()]
    return found


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


async def _serve(given: dict[str, Any]) -> None:
    settings = read_settings(given["environment"])
    async with open_api(settings) as runtime:
        config = _config(create_app(runtime), ServerLimits())
        config.load()
        state = ServerState()

        gate = getattr(runtime, "gate", None)  # of which earlier versions of the code know nothing
        options: dict[str, Any] = {} if gate is None else {"gate": gate}

        def protocol() -> GuardedProtocol:
            return GuardedProtocol(config=config, server_state=state, app_state={}, **options)

        source = _Source(given["body"], given["customers"], protocol)
        await source.run(200, 4)
        await _until_compiled(runtime)
        await source.run(500, 16)
        _calm_collector()
        print(json.dumps({"ready": True}), flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await _measure(source, json.loads(line))), flush=True)


async def _until_compiled(runtime: Any) -> None:
    """Returns when the model's trees are walked by their fastest form."""
    for _ in range(1200):
        page, _ = runtime.exposition()
        if b'form="compiled"' in page:
            return
        await asyncio.sleep(0.1)


def main() -> int:
    """Serves the driver until its input ends."""
    given = json.loads(sys.argv[1])
    os.sched_setaffinity(0, given["cpus"])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
