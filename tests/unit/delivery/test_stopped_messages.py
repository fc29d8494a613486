"""What a kill switch stops while it is on its way: no webhook carries it, and no screen shows it."""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from event_schemas.control import KillSwitch
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.webhook_sender import SecretFile, WebhookSender
from services.api.stream_feed import OutboundFeed
from services.api.stream_replay import LogReplay
from services.api.stream_session import Audience, StreamSession
from services.use_cases.kill_switches import KillSwitches
from services.workers.deliver import Deliverer, DeliveryTools
from services.workers.deliver_terms import RetryTerms, Subscription

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
GOLD = [{"offer": "gold_card", "group": "cards", "treatment": "gold_card.manager.lead"}]
LOAN = [{"offer": "loan", "group": "loans", "treatment": "loan.manager.lead"}]


@pytest.fixture
def switches() -> KillSwitches:
    return KillSwitches(PrometheusMetrics())


def stop(switches: KillSwitches, kind: str, name: str, *, engaged: bool = True) -> None:
    switches.set(KillSwitch(kind=kind, name=name, engaged=engaged, actor="somebody"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


def is_done(log: Any) -> bool:
    return all(log.committed.get((r.topic, r.partition), 0) > r.offset for r in log.records)


async def test_a_message_that_is_stopped_is_not_sent_nor_its_cancellation(
    log: Any, clock: Any, metrics: Any, set_aside: Any, open_receiver: Any, tmp_path: Path, switches: KillSwitches
) -> None:
    receiver = await open_receiver()
    stopped = log.offer("retail:1", options=GOLD)
    log.cancel(stopped, "retail:1")
    log.offer("retail:2", options=LOAN, name="loan")
    stop(switches, "group", "cards")
    await delivered(log, (clock, metrics, set_aside), receiver, tmp_path, switches)
    assert receiver.ids == ["loan"]
    assert metrics.seen["webhooks_total", "crm", "stopped"] == 1


async def test_a_message_that_is_stopped_between_two_tries_is_not_tried_again(
    log: Any, clock: Any, metrics: Any, set_aside: Any, open_receiver: Any, tmp_path: Path, switches: KillSwitches
) -> None:
    def fails(_: Any) -> int:
        stop(switches, "offer", "gold_card")
        return 500

    receiver = await open_receiver(fails)
    log.offer("retail:1", options=GOLD, name="gold")
    await delivered(log, (clock, metrics, set_aside), receiver, tmp_path, switches)
    assert receiver.ids == ["gold"]
    assert set_aside == []


async def delivered(log: Any, ports: Any, receiver: Any, folder: Path, switches: KillSwitches) -> None:
    """Runs a deliverer until everything is done."""
    clock, metrics, set_aside = ports
    secret, ending = folder / "secret", asyncio.Event()
    secret.write_text(SECRET + "\n")
    retries = RetryTerms(tries=4, first_pause_s=0.001, longest_pause_s=0.002)
    async with WebhookSender.open(receiver.url, SecretFile(secret), timeout_s=5.0, connections=2) as sender:
        tools = DeliveryTools(
            sender=sender, cancelled=frozenset(), set_aside=set_aside, clock=clock, metrics=metrics,
            jitter=lambda: 1.0, stopped=switches.stops,
        )  # fmt: skip
        terms = Subscription(name="crm", channels=frozenset({"manager"}), retries=retries)
        running = asyncio.create_task(Deliverer(log.reader(), terms, tools).run(ending))
        await until(lambda: is_done(log))
        ending.set()
        await asyncio.wait_for(running, 10)


async def test_a_screen_is_not_shown_what_is_stopped(
    log: Any, clock: Any, metrics: Any, switches: KillSwitches
) -> None:
    stop(switches, "offer", "gold_card")
    log.offer("retail:1", options=GOLD, name="gold")
    log.offer("retail:2", options=LOAN, name="loan")
    async with OutboundFeed(log.open, clock, metrics, stopped=switches.stops).following() as feed:
        await asyncio.wait_for(feed.caught_up.wait(), 10)
        frames = StreamSession(feed, LogReplay(feed), Audience(channel="manager"), None, 0.01).frames()
        shown = b""
        async with asyncio.timeout(20):
            while b": alive" not in shown:
                shown += await anext(frames)
        await frames.aclose()
    assert b'"loan"' in shown
    assert b'"gold"' not in shown
