"""Delivers outbound messages to one receiver: in each customer's order, side by side over customers, at least once.

Every subscription is a consumer group of its own, so that a slow receiver keeps nobody waiting but itself. An offset is
committed when everything before it is done: taken by the receiver, too late, overtaken, or set aside as undeliverable.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Container, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from services.ports import BusUnavailable, Clock, Delivery, Metrics
from services.use_cases.outbound_messages import OutboundMessage, OutboundUnreadable, Receipt, read_outbound
from services.workers.deliver_offsets import OpenOffsets, Partition
from services.workers.deliver_terms import LONGEST_RETRY_AFTER_S, Subscription

MOST_OPEN = 256
"""Records of one subscription in hand at once; more are not read meanwhile."""
MOST_REMEMBERED = 10_000
_POLL_SECONDS = 0.2
_POLL_RECORDS = 64
_BUS_RETRY_SECONDS = 1.0
_DRAIN_SECONDS = 8.0
_log = logging.getLogger(__name__)


class OutboundStream(Protocol):
    """A member of the subscription's group. Raises BusUnavailable."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...

    async def commit(self, positions: Mapping[Partition, int]) -> None: ...


class Sender(Protocol):
    """Makes one try. Never raises; what goes wrong is told by the receipt."""

    async def send(self, message: OutboundMessage) -> Receipt: ...


class SetAside(Protocol):
    """Puts what cannot be delivered, or read, where it can be repaired. Raises BusUnavailable."""

    async def __call__(self, delivery: Delivery, reason: str, message: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryTools:
    """What deliveries need from outside. `sleep` pauses; `jitter` yields 0 to 1."""

    sender: Sender
    cancelled: Container[str]
    set_aside: SetAside
    clock: Clock
    metrics: Metrics
    jitter: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    stopped: Callable[[OutboundMessage], bool] = lambda _: False
    """Whether a kill switch has stopped what the message offers."""


@dataclass(slots=True)
class _Lane:
    """What waits for one customer."""

    waiting: deque[tuple[Delivery, OutboundMessage]] = field(default_factory=deque)
    worker: "asyncio.Task[None] | None" = None


class Deliverer:
    """Runs one subscription until told to stop."""

    def __init__(self, stream: OutboundStream, subscription: Subscription, tools: DeliveryTools) -> None:
        self._stream = stream
        self._subscription = subscription
        self._tools = tools
        self._offsets = OpenOffsets()
        self._lanes: dict[str, _Lane] = {}
        self._room = asyncio.Semaphore(subscription.at_once)
        self._progress = asyncio.Event()
        self._paused_until_s = 0.0
        self._failure: Exception | None = None
        self._ending = False
        self._trying: set[str] = set()
        """Customers to whom a try is under way."""
        self._remembered: OrderedDict[str, None] = OrderedDict()
        """Messages done lately: a repeat of the log is not delivered again, nor a notice about an offer left out."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; tries under way then end within the drain time, or are made again by the next owner."""
        reading = asyncio.create_task(self._read(), name=f"deliver-{self._subscription.name}")
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                await reading
        finally:
            for task in (reading, stopping):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            await self._wind_down()

    async def revoked(self, partitions: set[Partition]) -> None:
        """Called before partitions are given up: what is done is committed, the rest is left to their next owner."""
        await self._commit()
        for partition in partitions:
            self._offsets.give_up(partition)
        for lane in self._lanes.values():
            lane.waiting = deque(w for w in lane.waiting if (w[0].topic, w[0].partition) not in partitions)

    async def _read(self) -> None:
        while self._failure is None:
            if self._offsets.open >= MOST_OPEN:
                self._progress.clear()
                await self._commit()
                await self._progress.wait()
                continue
            try:
                deliveries = await self._stream.poll(min(_POLL_RECORDS, MOST_OPEN - self._offsets.open), _POLL_SECONDS)
            except BusUnavailable as error:
                _log.warning("the bus cannot be read: %s", error, extra={"action": "try again"})
                await self._tools.sleep(_BUS_RETRY_SECONDS)
                continue
            for delivery in deliveries:
                await self._take(delivery)
            await self._commit()
            self._tools.metrics.gauge("webhook_waiting", self._offsets.open, subscription=self._subscription.name)
        raise self._failure

    async def _take(self, delivery: Delivery) -> None:
        partition = (delivery.topic, delivery.partition)
        if not self._offsets.take(partition, delivery.offset):
            return
        try:
            message = read_outbound(delivery)
        except OutboundUnreadable as error:
            await self._put_aside(delivery, "unreadable", str(error))
            self._count("unreadable")
            message = None
        if message is None or not self._subscription.wants(message.channel, message.recipient):
            self._offsets.done(partition, delivery.offset)
            return
        lane = self._lanes.setdefault(message.customer_id, _Lane())
        lane.waiting.append((delivery, message))
        if lane.worker is None:
            lane.worker = asyncio.create_task(self._work(message.customer_id, lane))

    async def _work(self, customer_id: str, lane: _Lane) -> None:
        """One customer's messages, one after another; a customer who waits for a pause holds no place of others."""
        while lane.waiting:
            delivery, message = lane.waiting[0]
            try:
                is_done = await self._deliver(delivery, message)
            except Exception as error:  # noqa: BLE001 - a fault of ours: the role ends, and nothing is passed over
                self._failure = error
                self._progress.set()
                return
            if not is_done:
                return
            if lane.waiting and lane.waiting[0][0] is delivery:
                lane.waiting.popleft()
            self._offsets.done((delivery.topic, delivery.partition), delivery.offset)
            self._progress.set()
        if self._lanes.get(customer_id) is lane:
            del self._lanes[customer_id]

    async def _deliver(self, delivery: Delivery, message: OutboundMessage) -> bool:
        """Whether the message is done, one way or another; if not, it is left to the next owner."""
        failures = 0
        while True:
            if (reason := self._not_to_be_sent(message)) is not None:
                self._count(reason)
                break
            receipt = await self._try(message)
            if receipt is None:
                continue
            if receipt.taken:
                self._count("delivered")
                break
            failures += 1
            if receipt.is_final or failures >= self._subscription.retries.tries:
                sentence = f"{self._subscription.name}: {receipt.outcome} after {failures} tries"
                await self._put_aside(delivery, "undeliverable", sentence)
                self._count("dead_lettered")
                break
            if self._ending:
                return False
            await self._pause(failures, receipt)
        self._remembered[message.id] = None
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return True

    def _not_to_be_sent(self, message: OutboundMessage) -> str | None:
        """Why the message is left out, as counted; None where it is to be sent."""
        if message.id in self._remembered:
            return "repeated"
        if message.is_cancelled_notice:
            # Who was never sent the offer need not hear that it is void.
            return "cancelled" if f"left {message.outbound_id}" in self._remembered else None
        if message.outbound_id in self._tools.cancelled:
            self._remembered[f"left {message.outbound_id}"] = None
            return "cancelled"
        if self._tools.stopped(message):
            self._remembered[f"left {message.outbound_id}"] = None
            return "stopped"
        if message.is_expired(self._tools.clock.now_ms()):
            return "expired"
        return None

    async def _try(self, message: OutboundMessage) -> Receipt | None:
        """What came of one try; None where a kill switch came while the message waited for its turn."""
        loop = asyncio.get_running_loop()
        async with self._room:
            while (wait_s := self._paused_until_s - loop.time()) > 0:
                await self._tools.sleep(wait_s)
            if self._tools.stopped(message):
                return None
            begun_s = loop.time()
            self._trying.add(message.customer_id)
            try:
                receipt = await self._tools.sender.send(message)
            finally:
                self._trying.discard(message.customer_id)
        name = self._subscription.name
        self._tools.metrics.observe("webhook_seconds", loop.time() - begun_s, subscription=name)
        self._tools.metrics.count("webhook_tries_total", subscription=name, outcome=receipt.outcome)
        return receipt

    async def _pause(self, failures: int, receipt: Receipt) -> None:
        pause_s = self._subscription.retries.pause_s(failures, self._tools.jitter)
        if receipt.retry_after_s is not None:
            # A receiver that asks for a pause asks for itself, not for one customer.
            asked_s = min(receipt.retry_after_s, LONGEST_RETRY_AFTER_S)
            self._paused_until_s = max(self._paused_until_s, asyncio.get_running_loop().time() + asked_s)
            pause_s = max(pause_s, asked_s)
        await self._tools.sleep(pause_s)

    async def _put_aside(self, delivery: Delivery, reason: str, sentence: str) -> None:
        """Until the bus has it: the position must not be passed before."""
        while True:
            try:
                await self._tools.set_aside(delivery, reason, sentence)
            except BusUnavailable as error:
                _log.error("%s; trying to set it aside again: %s", sentence, error, extra={"action": "deliver"})
                await self._tools.sleep(_BUS_RETRY_SECONDS)
            else:
                return

    async def _commit(self) -> None:
        positions = self._offsets.to_commit()
        if not positions:
            return
        try:
            async with asyncio.timeout(5.0):
                await self._stream.commit(positions)
            self._offsets.committed(positions)
        except (BusUnavailable, TimeoutError) as error:
            _log.warning("offsets were not committed: %r", error, extra={"action": "the next commit covers them"})

    async def _wind_down(self) -> None:
        """Lets tries under way end, and commits what is done; who only waits for another try is not waited for."""
        self._ending = True
        workers = {name: lane.worker for name, lane in self._lanes.items() if lane.worker is not None}
        for name, worker in workers.items():
            while len(self._lanes[name].waiting) > 1:
                self._lanes[name].waiting.pop()
            if name not in self._trying:
                worker.cancel()
        if workers:
            await asyncio.wait(workers.values(), timeout=_DRAIN_SECONDS)
        for worker in workers.values():
            worker.cancel()
        await asyncio.gather(*workers.values(), return_exceptions=True)
        await self._commit()

    def _count(self, outcome: str) -> None:
        self._tools.metrics.count("webhooks_total", subscription=self._subscription.name, outcome=outcome)
