"""One node that serves in several processes: they share its port, replace each other's dead, and stop as one."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from services.adapters.embedded_servers import EmbeddedServers, free_port
from services.commands import topics
from services.settings import read_settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several processes on one port need Linux")
ROOT = Path(__file__).parents[2]
PROCESSES = 2
PATIENCE_S = 60.0
Found = TypeVar("Found")
BODY = {
    "customer_id": "retail:1",
    "channel": "mobile",
    "placements": [{"id": "home_banner", "count": 1}],
    "timeout_ms": 1000,
}


@dataclass
class Node:
    """The group: the process that watches over the others, the URL they share, and the pages of each."""

    process: asyncio.subprocess.Process
    url: str
    pages: list[str]
    log: Path

    async def pids(self) -> list[int]:
        """Of those that serve now."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    async def decide(self, name: str) -> int:
        """The status of one decision over a connection of its own."""
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            answer = await client.post(f"{self.url}/v1/decisions", json={**BODY, "request_id": name})
        return answer.status_code

    async def decisions_by_page(self) -> list[float]:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            pages = [(await client.get(page)).text for page in self.pages]
        return [sum(float(line.split()[-1]) for line in page.splitlines() if told(line)) for page in pages]


def told(line: str) -> bool:
    return line.startswith("kairos_decisions_total{")


async def test_processes_share_the_port_replace_their_dead_and_stop_as_one(tmp_path: Path) -> None:
    async with node(tmp_path) as served:
        first = await served.pids()
        assert len(first) == PROCESSES
        assert [await served.decide(f"a-{number}") for number in range(40)] == [200] * 40
        by_page = await served.decisions_by_page()
        assert sum(by_page) == 40
        assert all(by_page), by_page

        # A request id means the same to all of them.
        assert await asyncio.gather(*[served.decide("same") for _ in range(24)]) == [200] * 24
        assert 41 <= sum(await served.decisions_by_page()) < 64

        os.kill(first[0], signal.SIGKILL)
        await until(served.pids, lambda pids: len(pids) == PROCESSES and first[0] not in pids)
        await ready(served)
        assert [await served.decide(f"b-{number}") for number in range(10)] == [200] * 10

        pids = await served.pids()
        served.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(served.process.wait(), 20) == 0
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_what_cannot_start_ends_the_group_with_a_reason(tmp_path: Path) -> None:
    environment = {
        "KAIROS_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "KAIROS_API_PROCESSES": "2",
        "KAIROS_PORT": str(free_port()),
        "KAIROS_STRATEGY_PATH": str(ROOT / "deploy/strategies/demo_bank"),
        "KAIROS_STRATEGY_ARCHIVE": str(tmp_path / "strategies"),
    }
    process = await started(environment, tmp_path / "api.log")
    assert await asyncio.wait_for(process.wait(), 30) == 1
    assert "store at" in (tmp_path / "api.log").read_text()


@asynccontextmanager
async def node(folder: Path) -> AsyncIterator[Node]:
    async with EmbeddedServers.start(folder / "servers") as servers:
        metrics = ports_in_a_row(PROCESSES)
        environment = {
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "KAIROS_KAFKA_IDEMPOTENCE": "false",
            "KAIROS_KAFKA_PARTITIONS": "2",
            "KAIROS_REDIS_URL": servers.redis_url,
            "KAIROS_STRATEGY_PATH": str(ROOT / "deploy/strategies/demo_bank"),
            "KAIROS_MODEL_PATH": str(folder / "models"),
            "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
            "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
            "KAIROS_PORT": str(free_port()),
            "KAIROS_METRICS_PORT": str(metrics),
            "KAIROS_API_PROCESSES": str(PROCESSES),
        }
        settings = read_settings(environment)
        await topics.create(settings)
        log = folder / "api.log"
        process = await started(environment, log)
        pages = [f"http://127.0.0.1:{metrics + number}/metrics" for number in range(PROCESSES)]
        served = Node(process=process, url=f"http://127.0.0.1:{settings.port}", pages=pages, log=log)
        try:
            await ready(served)
            yield served
        finally:
            if process.returncode is None:
                process.terminate()
                await asyncio.wait_for(process.wait(), 20)


async def started(environment: dict[str, str], log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services", "api"),
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
        )


def ports_in_a_row(count: int) -> int:
    """The first of so many ports that were free a moment ago."""
    for _ in range(100):
        first = free_port()
        with ExitStack() as held, suppress(OSError, OverflowError):
            for number in range(count):
                held.enter_context(socket.socket()).bind(("127.0.0.1", first + number))
            return first
    raise AssertionError("no free ports")


async def ready(served: Node) -> None:
    """When every process shows its page, which each does as it begins to serve, and one of them is ready."""
    asked = [*served.pages, f"{served.url}/readyz"]

    async def answering() -> int:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            answers = await asyncio.gather(*[client.get(url) for url in asked], return_exceptions=True)
        return sum(isinstance(answer, httpx.Response) and answer.status_code == 200 for answer in answers)

    await until(answering, lambda number: number == len(asked), served)


async def until(
    look: Callable[[], Awaitable[Found]], holds: Callable[[Found], bool], served: Node | None = None
) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not holds(found := await look()):
        if served is not None and served.process.returncode is not None:
            raise AssertionError(served.log.read_text()[-3000:])
        assert asyncio.get_running_loop().time() < deadline, found
        await asyncio.sleep(0.05)
