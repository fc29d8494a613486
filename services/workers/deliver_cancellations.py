"""Which offers are overtaken: read from the whole outbound topic, ahead of what is being delivered.

A receiver that was away for a while has much to catch up with, and the notice that an offer is overtaken stands long
behind the offer. So that it still comes first, one reader follows all notices.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from services.ports import BusUnavailable, Delivery
from services.use_cases.outbound_messages import OutboundUnreadable, read_outbound
from services.use_cases.running_beside import running_beside

Partition = tuple[str, int]
"""Topic and partition."""
_POLL_RECORDS = 2_000
_POLL_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_MOST_REMEMBERED = 1_000_000
_NOTICE = b"nbo.outbound.cancelled"
_log = logging.getLogger(__name__)


class WholeTopic(Protocol):
    """A reader of all partitions, from their beginning. Raises BusUnavailable."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...

    async def end_offsets(self) -> Mapping[Partition, int]: ...

    async def positions(self) -> Mapping[Partition, int]: ...


class Cancellations:
    """The ids of overtaken offers. `ready` once everything that stood on the topic at the start has been read."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, outbound_id: object) -> bool:
        return outbound_id in self._ids

    def add(self, outbound_id: str) -> None:
        """The offer is overtaken."""
        self._ids[outbound_id] = None
        if len(self._ids) > _MOST_REMEMBERED:
            self._ids.popitem(last=False)

    @asynccontextmanager
    async def following(self, stream: WholeTopic) -> AsyncIterator["Cancellations"]:
        """Follows the topic while the context lasts."""
        async with running_beside(self._follow(stream), "cancellations"):
            yield self

    async def _follow(self, stream: WholeTopic) -> None:
        ends: Mapping[Partition, int] | None = None
        while True:
            try:
                ends = await stream.end_offsets() if ends is None else ends
                deliveries = await stream.poll(_POLL_RECORDS, _POLL_SECONDS)
                for delivery in deliveries:
                    self._take(delivery)
                if not self.ready.is_set():
                    positions = await stream.positions()
                    if not deliveries and all(positions.get(p, 0) >= end for p, end in ends.items()):
                        self.ready.set()
            except BusUnavailable as error:
                _log.warning("cancellations cannot be read, trying again: %s", error, extra={"action": "deliver"})
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception:  # noqa: BLE001 - without notices overtaken offers would go out for ever
                _log.exception("cancellations cannot be read, trying again", extra={"action": "deliver"})
                await asyncio.sleep(_RETRY_SECONDS)

    def _take(self, delivery: Delivery) -> None:
        if _NOTICE not in (delivery.value or b""):
            return
        with suppress(OutboundUnreadable):
            message = read_outbound(delivery)
            if message is not None and message.is_cancelled_notice:
                self.add(message.outbound_id)
