"""What leads have earned, as this node knows it: it follows the topic of attributed conversions."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.api.stream_feed import OpenLog, OutboundLog
from services.ports import BusUnavailable
from services.use_cases.leads.results import LeadResults
from services.use_cases.running_beside import running_beside

LOOK_BACK = 20_000
"""Records of each partition that a starting node looks back at."""
_POLL_RECORDS = 500
_POLL_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)


@asynccontextmanager
async def following_results(open_log: OpenLog, look_back: int = LOOK_BACK) -> AsyncIterator[LeadResults]:
    """Follows the topic while the context lasts."""
    results = LeadResults()
    async with open_log() as log:
        beginnings, ends = await log.beginning_offsets(), await log.end_offsets()
        log.seek({place: max(begin, ends.get(place, 0) - look_back) for place, begin in beginnings.items()})
        async with running_beside(_follow(log, results), "lead-results"):
            yield results


async def _follow(log: OutboundLog, results: LeadResults) -> None:
    while True:
        try:
            deliveries = await log.poll(_POLL_RECORDS, _POLL_SECONDS)
        except BusUnavailable as error:
            _log.warning("conversions cannot be read, trying again: %s", error, extra={"action": "inbox"})
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        except Exception:  # noqa: BLE001 - what leads have earned is no reason for a node to end
            _log.exception("conversions cannot be read, trying again", extra={"action": "inbox"})
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        for delivery in deliveries:
            try:
                results.take(delivery.value or b"")
            except (ValueError, KeyError, TypeError) as error:
                _log.warning(
                    "conversion %d/%d cannot be read: %s", delivery.partition, delivery.offset, type(error).__name__,
                    extra={"action": "passed over"},
                )  # fmt: skip
        await asyncio.sleep(0)
