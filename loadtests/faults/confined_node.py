"""One more API node that the system gives hardly anything to: 64 handles and 512 MB.

The memory is bounded by RLIMIT_DATA, which counts what is private and can be written to (heap, stacks, anonymous
memory). RLIMIT_AS counts addresses as well: libraries mapped from files, and the tens of megabytes that the allocator
sets aside for each thread and never touches, so that it would refuse a node that uses little.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from loadtests.faults.battle import Battle
from loadtests.faults.role import write_skew
from loadtests.faults.system import decision_body
from loadtests.server_processes import processor_seconds
from services.adapters.embedded_servers import free_port

LIMITS = {"RLIMIT_NOFILE": 64, "RLIMIT_DATA": 512 * 2**20}
START_S = 30.0
DRAIN_S = 15.0
_POLL_S = 0.1


@dataclass(slots=True, kw_only=True)
class ConfinedNode:
    """The node while it lives."""

    battle: Battle
    url: str
    pid: int
    end: "asyncio.Future[int]"
    log: Path

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self.end.done()

    async def answers(self, within_s: float = START_S, *, undegraded: bool = False) -> bool:
        """Whether a plain request, asked anew over a connection of its own until then, is answered in that time; with
        `undegraded` by a decision that had to do without nothing."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while (left_s := deadline - loop.time()) > 0 and not self.has_ended:
            with suppress(httpx.HTTPError):
                async with httpx.AsyncClient(trust_env=False, timeout=left_s) as client:
                    body = decision_body(self.battle.load.customers[0])
                    answer = await client.post(f"{self.url}/v1/decisions", json=body)
                    if answer.status_code == httpx.codes.OK:
                        self.battle.load.note_answer(answer)
                        if not (undegraded and answer.json()["degraded"]):
                            return True
            await asyncio.sleep(_POLL_S)
        return False

    def processor_s(self) -> float:
        """Seconds of a processor it has used."""
        try:
            return processor_seconds(self.pid)
        except OSError:  # gone
            return 0.0

    def data_mb(self) -> float:
        """What counts against its memory, in megabytes."""
        with suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmData:"):
                    return int(line.split()[1]) / 1024
        return 0.0

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@asynccontextmanager
async def confined_node(battle: Battle) -> AsyncIterator[ConfinedNode]:
    """Starts it beside the others; on leaving it is asked to end, and has its time to."""
    like, number = battle.system.roles[battle.system.nodes[0]], battle.system.number()
    port, log, clock = free_port(), like.folder / f"confined-{number}.log", like.folder / f"confined-{number}.clock"
    write_skew(clock, 0.0)
    environment = {**like.environment, "KAIROS_PORT": str(port)}
    pid, end = await like.nursery.bear(like.arguments, environment, log, clock, LIMITS)
    node = ConfinedNode(battle=battle, url=f"http://127.0.0.1:{port}", pid=pid, end=end, log=log)
    try:
        yield node
    finally:
        await _ended(node)


async def _ended(node: ConfinedNode) -> None:
    """Asked to, or else killed, which is a problem."""
    if node.has_ended:
        return
    os.kill(node.pid, signal.SIGTERM)
    await asyncio.wait({node.end}, timeout=DRAIN_S)
    node.battle.expect(node.has_ended, "the node with few handles did not end when asked to")
    if not node.has_ended:
        os.kill(node.pid, signal.SIGKILL)
        await node.end
