"""`kairos deliver`: delivers outbound messages to the bank's own systems as signed webhooks."""

import argparse
import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from event_schemas.topics import OUTBOUND
from services.adapters.metrics_page import metrics_page
from services.adapters.prometheus_metrics import Declared, PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.system_clock import SystemClock
from services.adapters.webhook_sender import SecretFile, WebhookSender
from services.adapters.webhooks_file import WebhookEntry, load_webhooks
from services.bootstrap import configure_logging, open_clock, open_event_stream, open_publisher
from services.commands.stopping import stop_on_signals
from services.ports import Clock, EventPublisher, Metrics, SettingsInvalid
from services.settings import Settings, read_settings
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
    "webhook_waiting": Declared("gauge", _OF, "Messages in hand, waiting for their turn or another try"),
}
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none: everything is a setting."""
    parser.set_defaults()


def run(_: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT. Raises SettingsInvalid, BusUnavailable."""
    settings = read_settings(os.environ)
    configure_logging(settings)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every try is what metrics are for
    asyncio.run(_run(settings))
    return 0


async def _run(settings: Settings) -> None:
    if settings.webhooks_file is None:
        raise SettingsInvalid("KAIROS_WEBHOOKS_FILE: names the file of subscriptions; there is nothing to deliver to")
    stop, metrics = stop_on_signals(), PrometheusMetrics(METRICS)
    entries = load_webhooks(settings.webhooks_file)
    async with metrics_page(settings.host, settings.metrics_port, metrics.exposition):
        _log.info("delivering to %d receivers", len(entries), extra={"action": "start"})
        await deliver(settings, entries, metrics, stop)
    _log.info("stopped", extra={"action": "stop"})


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all subscriptions of this process have in common."""

    settings: Settings
    publisher: EventPublisher
    clock: Clock
    cancelled: Cancellations
    metrics: Metrics


async def deliver(settings: Settings, entries: Sequence[WebhookEntry], metrics: Metrics, stop: asyncio.Event) -> None:
    """All subscriptions, each in a group of its own, until `stop` is set. Raises ShellError when one cannot go on."""
    secrets = {entry.name: SecretFile(entry.secret_file) for entry in entries}
    async with AsyncExitStack() as stack:
        clock = await stack.enter_async_context(_clock(settings))
        publisher = await stack.enter_async_context(open_publisher(settings))
        notices = await stack.enter_async_context(open_event_stream(settings, [OUTBOUND]))
        cancelled = await stack.enter_async_context(Cancellations().following(notices))
        await _until_either(cancelled.ready, stop)
        shared = _Shared(settings, publisher, clock, cancelled, metrics)
        running = [asyncio.create_task(_serve(entry, secrets[entry.name], shared, stop)) for entry in entries]
        try:
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def _serve(entry: WebhookEntry, secrets: SecretFile, shared: _Shared, stop: asyncio.Event) -> None:
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(
            WebhookSender.open(entry.url, secrets, timeout_s=entry.timeout_s, connections=entry.at_once)
        )
        tools = DeliveryTools(
            sender=sender,
            cancelled=shared.cancelled,
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
