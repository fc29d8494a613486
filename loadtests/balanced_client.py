"""A client behind a load balancer, as small as one can be.

It asks every node again and again whether it is ready, sends requests in turn to those that are, and tries a refused
connection once more on another node, where a key makes it safe to send the same thing twice."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

LOOK_SECONDS = 0.2
TIMEOUT_SECONDS = 15.0


@dataclass(slots=True)
class Asked:
    """What became of the requests so far."""

    answered: int = 0
    retried: int = 0
    """Refused connections that another node took up."""
    failures: list[str] = field(default_factory=list)


class BalancedClient:
    """Sends to ready nodes in turn; `asked` counts."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._probe = httpx.AsyncClient(timeout=5.0, trust_env=False, transport=transport)
        self._ready: list[str] = []
        self._turn = 0
        self._http = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False, transport=transport)
        self.asked = Asked()

    @asynccontextmanager
    async def open_to(self, nodes: Sequence[str]) -> AsyncIterator["BalancedClient"]:
        """Looks after the nodes until leaving."""
        async with self._http, self._probe:
            for node in nodes:
                self.add(node)
            try:
                yield self
            finally:
                for node in list(self._looking):
                    self.take_out(node)

    def add(self, node: str) -> None:
        """Sends to this node as well, as soon as it is ready."""
        self._looking[node] = asyncio.create_task(self._look_after(node), name=f"look after {node}")

    def take_out(self, node: str) -> None:
        """Sends nothing to it any more."""
        self._looking.pop(node).cancel()
        self._ready = [one for one in self._ready if one != node]

    def is_ready(self, node: str) -> bool:
        """Whether the node said so when it was last asked."""
        return node in self._ready

    async def post(self, path: str, body: Mapping[str, object], *, keyed: bool = True) -> httpx.Response | None:
        """The answer; None where the request failed, which is counted. `keyed`: the body has a key of its own, so that
        sending it twice is sending it once."""
        return await self._send("POST", path, body, keyed=keyed)

    async def get(self, path: str) -> httpx.Response | None:
        """The answer; None where the request failed, which is counted. It is never tried again."""
        return await self._send("GET", path, None, keyed=False)

    async def _send(
        self, method: str, path: str, body: Mapping[str, object] | None, *, keyed: bool
    ) -> httpx.Response | None:
        try:
            answer = await self._sent(method, path, body, keyed=keyed)
        except httpx.TransportError as error:
            self.asked.failures.append(f"{method} {path}: {error!r}")
            return None
        if answer is None or not answer.is_success:
            self.asked.failures.append(
                f"{method} {path}: {'no node is ready' if answer is None else answer.text[:200]}"
            )
            return None
        self.asked.answered += 1
        return answer

    async def _sent(
        self, method: str, path: str, body: Mapping[str, object] | None, *, keyed: bool
    ) -> httpx.Response | None:
        node = self._next()
        if node is None:
            return None
        try:
            return await self._http.request(method, node + path, json=body)
        except httpx.ConnectError:
            other = self._next(but=node)
            if not keyed or other is None:
                raise
            self.asked.retried += 1
            return await self._http.request(method, other + path, json=body)

    def _next(self, but: str | None = None) -> str | None:
        among = [node for node in self._ready if node != but]
        if not among:
            return None
        self._turn += 1
        return among[self._turn % len(among)]

    async def _look_after(self, node: str) -> None:
        while True:
            try:
                ready = (await self._probe.get(f"{node}/readyz")).is_success
            except httpx.TransportError:
                ready = False
            if ready != (node in self._ready):
                self._ready = [*self._ready, node] if ready else [one for one in self._ready if one != node]
            await asyncio.sleep(LOOK_SECONDS)
