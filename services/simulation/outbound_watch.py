"""What the bank sends by itself, as the streams of its outbound channels tell it."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import orjson

from services.simulation.scenario_script import Awaited

_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Arrival:
    """A contact, and when it arrived by the event loop's clock."""

    data: Mapping[str, object]
    at: float


class OutboundWatch:
    """Follows the streams of the outbound channels and keeps what they brought."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._offered: list[Arrival] = []
        self._cancelled: list[Mapping[str, object]] = []

    @asynccontextmanager
    async def following(self, channels: Sequence[str]) -> AsyncIterator["OutboundWatch"]:
        """Until the block ends."""
        tasks = [asyncio.create_task(self._follow(channel), name=f"stream {channel}") for channel in channels]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def offered(self, customer: str, awaited: Awaited, known: Collection[str]) -> Iterator[Arrival]:
        """The contacts that have come, but for those whose decisions are known already."""
        for arrival in self._offered:
            data = arrival.data
            told = (data["customer_id"], data["channel"], data["trigger"], data.get("wave", 0))
            if told == (customer, awaited.channel, awaited.trigger, awaited.wave) and data["decision_id"] not in known:
                yield arrival

    async def cancelled(self, customer: str, awaited: Awaited) -> Mapping[str, object] | None:
        """The notice that a contact is void."""
        for data in self._cancelled:
            if (data["customer_id"], data["trigger"]) == (customer, awaited.trigger):
                return data
        return None

    async def _follow(self, channel: str) -> None:
        last = ""
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            params = {"channel": channel}
            try:
                async with self._http.stream(
                    "GET", "/v1/stream", params=params, headers=headers, timeout=None
                ) as answer:
                    answer.raise_for_status()
                    kind = ""
                    async for line in answer.aiter_lines():
                        name, _, value = line.partition(": ")
                        match name:
                            case "id":
                                last = value
                            case "event":
                                kind = value
                            case "data":
                                self._take(kind, orjson.loads(value))
            except httpx.HTTPError:
                await asyncio.sleep(_PAUSE_SECONDS)

    def _take(self, kind: str, event: dict[str, object]) -> None:
        data = event.get("data", event)
        if isinstance(data, dict) and kind == "offered":
            self._offered.append(Arrival(data, asyncio.get_running_loop().time()))
        elif isinstance(data, dict) and kind == "cancelled":
            self._cancelled.append(data)
