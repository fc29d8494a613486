"""`kairos deliver`: delivers outbound messages to the bank's own systems as signed webhooks."""

import argparse
import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from event_schemas.topics import OUTBOUND
from services.adapters.prometheus_metrics import CONTRACT, Declared
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.system_clock import SystemClock
from services.adapters.ulid_ids import UlidIds
from services.adapters.webhook_sender import SecretFile, WebhookSender
from services.adapters.webhooks_file import WebhookEntry, load_webhooks
from services.bootstrap import (
    node_identity,
    open_clock,
    open_control,
    open_event_stream,
    open_publisher,
)
from services.commands.running_role import run_role
from services.ports import Clock, EventPublisher, Metrics, SettingsInvalid
from services.settings import Settings
from services.use_cases.kill_switches import KILL_SWITCH_SET, KillSwitches
from services.use_cases.outbound_messages import OutboundMessage
from services.workers.deliver import Deliverer, DeliveryTools
from services.workers.deliver_cancellations import Cancellations
from services.workers.deliver_dead_letters import DeliveryDeadLetters
from services.workers.deliver_terms import RetryTerms, Subscription

NAME = "deliver"
HELP = "deliver outbound messages to the bank's own systems as signed webhooks"
EXAMPLE = "KAIROS_WEBHOOKS_FILE=deploy/webhooks.json kairos deliver"

GROUP = "kairos-deliver"
"""Consumer groups begin so; the subscription's name follows."""
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_OF = ("subscription",)
METRICS = {
    "webhooks_total": Declared("counter", (*_OF, "outcome"), "Messages done, by how they ended"),
    "webhook_tries_total": Declared("counter", (*_OF, "outcome"), "Tries, by the receiver's answer"),
    "webhook_seconds": Declared("histogram", _OF, "How long a try took", _SECONDS),
    "kill_switch_engaged": CONTRACT["kill_switch_engaged"],
    "control_followed": CONTRACT["control_followed"],
    "webhook_waiting": Declared("gauge", _OF, "Messages in hand, waiting for their turn or another try"),
}
LOOK_SECONDS = 2.0
"""How often the file of receivers is looked at."""
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none: everything is a setting."""
    parser.set_defaults()


def run(_: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT. Raises SettingsInvalid, BusUnavailable."""
    return run_role(_deliver_by_file, METRICS)


async def _deliver_by_file(settings: Settings, metrics: Metrics, stop: asyncio.Event) -> None:
    if settings.webhooks_file is None:
        raise SettingsInvalid("KAIROS_WEBHOOKS_FILE: names the file of subscriptions; there is nothing to deliver to")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every try is what metrics are for
    receivers = Receivers(settings.webhooks_file)
    _log.info("delivering to %d receivers", len(receivers.entries), extra={"action": "start"})
    await deliver(settings, receivers, metrics, stop)


class Receivers:
    """The file of receivers, read at the start and again when it has changed. Raises SettingsInvalid at the start; a
    file that cannot be used later is logged with its faults, and the receivers read before stay."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = path.read_bytes() if path.is_file() else b""
        self.entries = _usable(path)

    def look(self) -> bool:
        """Whether there are other receivers now; reads files."""
        try:
            text = self._path.read_bytes()
            if text == self._text:
                return False
            self._text = text
            entries = _usable(self._path)
        except (OSError, SettingsInvalid) as error:
            _log.error("the receivers stay as they were: %s", error, extra={"action": "mend the file"})
            return False
        changed = entries != self.entries
        self.entries = entries
        return changed


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all subscriptions of this process have in common."""

    settings: Settings
    publisher: EventPublisher
    clock: Clock
    cancelled: Cancellations
    metrics: Metrics
    stopped: Callable[[OutboundMessage], bool]


def _usable(path: Path) -> tuple[WebhookEntry, ...]:
    """The entries, whose secrets can be read, too. Raises SettingsInvalid."""
    entries = load_webhooks(path)
    for entry in entries:
        SecretFile(entry.secret_file)
    return entries


async def deliver(settings: Settings, receivers: Receivers, metrics: Metrics, stop: asyncio.Event) -> None:
    """All subscriptions, each in a group of its own, until `stop` is set. Those whose entry changes end and begin anew;
    nobody else waits for that. Raises ShellError when one cannot go on."""
    async with AsyncExitStack() as stack:
        clock = await stack.enter_async_context(_clock(settings))
        publisher = await stack.enter_async_context(open_publisher(settings))
        notices = await stack.enter_async_context(open_event_stream(settings, [OUTBOUND]))
        cancelled = await stack.enter_async_context(Cancellations().following(notices))
        await _until_either(cancelled.ready, stop)
        switches = KillSwitches(metrics)
        handlers = {KILL_SWITCH_SET: switches.on_set}
        identity = node_identity(NAME, UlidIds())
        await stack.enter_async_context(open_control(settings, publisher, handlers, identity, metrics))
        shared = _Shared(settings, publisher, clock, cancelled, metrics, switches.stops)
        running = _Running(shared)
        try:
            while not stop.is_set():
                await running.follow(receivers.entries)
                await running.wait(stop, LOOK_SECONDS)
                await asyncio.to_thread(receivers.look)
            await running.follow(())
        finally:
            await running.cancel()


class _Running:
    """The subscriptions under way, each with what it was begun with."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._tasks: dict[WebhookEntry, tuple[asyncio.Task[None], asyncio.Event]] = {}

    async def follow(self, entries: Sequence[WebhookEntry]) -> None:
        """Ends those that are no longer wanted as they are, then begins those that are new: a receiver's messages keep
        their order. Raises ShellError."""
        gone = [self._tasks.pop(entry) for entry in [*self._tasks] if entry not in entries]
        for _, until in gone:
            until.set()
        await asyncio.gather(*(task for task, _ in gone))
        for entry in entries:
            if entry not in self._tasks:
                until = asyncio.Event()
                serving = _serve(entry, SecretFile(entry.secret_file), self._shared, until)
                self._tasks[entry] = asyncio.create_task(serving, name=f"deliver-{entry.name}"), until
                _log.info("delivering to %s", entry.name, extra={"action": "begin"})

    async def wait(self, stop: asyncio.Event, seconds: float) -> None:
        """Until the time is over, `stop` is set, or one has failed, which is raised."""
        stopping = asyncio.create_task(stop.wait())
        waiting = {stopping, *(task for task, _ in self._tasks.values())}
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        for task, _ in self._tasks.values():
            if task.done():
                task.result()

    async def cancel(self) -> None:
        """Ends whatever is still under way, at once."""
        tasks = [task for task, _ in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(entry: WebhookEntry, secrets: SecretFile, shared: _Shared, stop: asyncio.Event) -> None:
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(
            WebhookSender.open(entry.url, secrets, timeout_s=entry.timeout_s, connections=entry.at_once)
        )
        tools = DeliveryTools(
            sender=sender,
            cancelled=shared.cancelled,
            stopped=shared.stopped,
            set_aside=DeliveryDeadLetters(shared.publisher, entry.name),
            clock=shared.clock,
            metrics=shared.metrics,
            jitter=random.random,
        )
        stream = open_event_stream(
            shared.settings,
            [OUTBOUND],
            f"{GROUP}-{entry.name}",
            on_revoked=lambda lost: deliverer.revoked(lost),  # noqa: PLW0108 - it needs the stream first
        )
        deliverer = Deliverer(stream, _subscription(entry), tools)
        await stack.enter_async_context(stream)
        await deliverer.run(stop)


def _subscription(entry: WebhookEntry) -> Subscription:
    retries = RetryTerms(tries=entry.tries, first_pause_s=entry.first_pause_s, longest_pause_s=entry.longest_pause_s)
    return Subscription(
        name=entry.name,
        channels=entry.channels,
        recipients=entry.recipients,
        retries=retries,
        at_once=entry.at_once,
    )


@asynccontextmanager
async def _clock(settings: Settings) -> AsyncIterator[Clock]:
    """Only a clock that follows the events needs the store."""
    if settings.clock == "system":
        yield SystemClock()
        return
    async with (
        RedisClient.open(settings.redis_url) as client,
        open_clock(settings, client, RedisKeys(settings.namespace, "")) as clock,
    ):
        yield clock


async def _until_either(ready: asyncio.Event, stop: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in (ready, stop)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
