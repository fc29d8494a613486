"""The whole way, and nobody types anything: an event, a lead on a screen, the product opened, the credit."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import CONVERSIONS, OUTBOUND, PROFILE_UPDATES
from loadtests.trigger_world import TriggerBank, now_ms, strategy_text, trigger_bank
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.system_clock import SystemClock
from services.api.stream_feed import FeedLimits, OutboundFeed
from services.api.stream_replay import LogReplay
from services.api.stream_session import Audience, StreamSession
from services.bootstrap import open_event_stream
from services.commands.attributor import METRICS, attribute_conversions
from services.ports import OutgoingEvent

pytestmark = pytest.mark.servers
WAIT_S = 40
CUSTOMER = "retail:1787"
ATTRIBUTION = """
attribution:
  window: 30d
  conversions: [{response: convert}, {event: bank.product.opened, match: product, value: amount}]
"""


def attributing_strategy() -> str:
    """The triggers' strategy, in which the wealth review sells a product and conversions are credited."""
    text = strategy_text().replace("  - name: wealth_review\n", "  - name: wealth_review\n    product: managed_fund\n")
    assert "product: managed_fund" in text
    return text + ATTRIBUTION


def opened(product: str, amount: int) -> OutgoingEvent:
    header = {"id": "opened-1", "source": "core", "subject": CUSTOMER, "time": from_epoch_ms(now_ms())}
    value = encode_trusted("bank.product.opened", header, {"product": product, "amount": amount, "currency": "CNY"})
    return OutgoingEvent(topic=PROFILE_UPDATES, key=CUSTOMER, value=value)


async def shown(feed: OutboundFeed, recipient: str) -> dict[str, Any]:
    """The first offer on the screen of one manager."""
    session = StreamSession(feed, LogReplay(feed), Audience(channel="manager", recipient=recipient), None, 5.0)
    frames = session.frames()
    async with asyncio.timeout(WAIT_S):
        async for frame in frames:
            if b"event: offered" in frame:
                await frames.aclose()
                found: dict[str, Any] = orjson.loads(frame.split(b"data: ")[1])
                return found
    raise AssertionError("the stream ended")


async def credited(bank: TriggerBank) -> dict[str, Any]:
    async with open_event_stream(bank.settings, [CONVERSIONS]) as stream, asyncio.timeout(WAIT_S):
        while True:
            for delivery in await stream.poll(10, 0.1):
                assert delivery.value is not None
                found: dict[str, Any] = orjson.loads(delivery.value)["data"]
                if found["credits"] and "arm" in found["credits"][0]:
                    return found


async def test_a_lead_reaches_the_managers_screen_and_is_credited_by_itself(tmp_path: Path) -> None:
    async with trigger_bank(tmp_path, attributing_strategy()) as bank:
        strategy, stop = bank.loaded.strategy, asyncio.Event()
        feed = OutboundFeed(
            lambda: open_event_stream(bank.settings, [OUTBOUND]), SystemClock(), PrometheusMetrics(),
            FeedLimits(end_slack=100_000),
        )  # fmt: skip
        attributor = asyncio.create_task(
            attribute_conversions(bank.settings, strategy, PrometheusMetrics(METRICS), stop)
        )
        async with bank.builder(), feed.following():
            await bank.until_applied(await bank.post(bank.profile(CUSTOMER, locale="en", owner_manager="manager-7")))
            screen = asyncio.create_task(shown(feed, "manager-7"))
            await bank.post(bank.inflow(CUSTOMER))
            lead = await screen
            await bank.post(opened("managed_fund", 123_400))
            conversion = await credited(bank)
            stop.set()
            await asyncio.wait_for(attributor, WAIT_S)
    assert (lead["trigger"], lead["recipient"], lead["urgent"]) == ("large_inflow", "manager-7", True)
    (option,) = lead["options"]
    (credit,) = conversion["credits"]
    assert (credit["tracking_id"], credit["channel"], credit["touch"]) == (option["tracking_id"], "manager", "offered")
    assert (credit["decision_id"], credit["last_touch"], credit["value"]) == (lead["decision_id"], 1.0, 123_400)
    assert conversion["cause"] == {"type": "bank.product.opened", "id": "core/opened-1"}
