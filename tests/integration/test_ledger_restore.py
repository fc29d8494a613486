"""A store that has lost its ledgers: reservations that still count are back before a cap is given a second time."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from decision_engine.contact_ledger import decode_records
from decision_engine.identifiers import CustomerId, TrackingId, key32
from decision_engine.reservation import tracking_key
from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import DECISIONS
from loadtests.trigger_world import TriggerBank, strategy_text, trigger_bank
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_ledger_mark import RedisLedgerMark
from services.adapters.system_clock import SystemClock
from services.commands.state_builder import ledger_restore
from services.ports import OutgoingEvent, StoreUnavailable

pytestmark = pytest.mark.servers
WAIT_S = 30
CUSTOMER = CustomerId("retail:7")


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[TriggerBank]:
    async with trigger_bank(tmp_path, strategy_text(within="1h")) as made:
        yield made


def decision(number: int, lasts_ms: int = 600_000) -> OutgoingEvent:
    """A record in which one offer was reserved just now, for so long."""
    now_ms = time.time_ns() // 1_000_000
    option = {
        "rank": 1, "offer": "loan_help", "treatment": "loan_help.mobile.banner", "tracking_id": f"D{number}.0",
        "expires_at": from_epoch_ms(now_ms + lasts_ms),
    }  # fmt: skip
    data = {
        "decision_id": f"D{number}", "customer_id": CUSTOMER, "time": from_epoch_ms(now_ms), "channel": "mobile",
        "placements_asked": [{"id": "home_banner", "count": 1}], "locale": "en", "strategy_version": "v", "arm": "full",
        "feature_layout": "0" * 16, "personalised": True,
        "placements": [{"id": "home_banner", "options": [option]}],
    }  # fmt: skip
    header: dict[str, str | datetime] = {
        "id": f"D{number}",
        "source": "kairos",
        "subject": CUSTOMER,
        "time": from_epoch_ms(now_ms),
    }
    return OutgoingEvent(topic=DECISIONS, key=CUSTOMER, value=encode_trusted("nbo.decision.made", header, data))


async def contacts(bank: TriggerBank) -> list[tuple[bytes, int]]:
    records = decode_records(await RedisContactLedger(bank.client, bank.keys).read(CUSTOMER))
    return [(record.tracking, record.offer) for record in records]


async def until_whole(bank: TriggerBank) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await RedisLedgerMark(bank.client, bank.keys).is_whole():
            await asyncio.sleep(0.02)


async def test_reservations_are_back_before_decisions_rely_on_the_ledger_again(bank: TriggerBank) -> None:
    reserved = [(tracking_key(TrackingId(f"D{n}.0")), key32("loan_help")) for n in range(2)]
    async with bank.builder():
        await bank.until_complete()
        await bank.post(decision(0), decision(1), decision(2, lasts_ms=-1))
        assert await contacts(bank) == [], "nobody reserved them here: the log alone knows"
        await bank.client.execute("FLUSHALL")
        await bank.until_complete()
        assert sorted(await contacts(bank)) == sorted(reserved), "what had lapsed stays away"


async def test_a_store_that_loses_everything_again_meanwhile_is_not_taken_for_restored(bank: TriggerBank) -> None:
    mark = RedisLedgerMark(bank.client, bank.keys)
    await mark.begin()
    await bank.client.execute("FLUSHALL")
    with pytest.raises(StoreUnavailable, match="lost writes"):
        await mark.whole()
    assert not await mark.is_whole()


async def test_a_new_deployment_is_whole_at_once_and_a_restart_restores_nothing(bank: TriggerBank) -> None:
    restore = ledger_restore(bank.settings, bank.client, bank.loaded, SystemClock())
    await restore.restore()
    assert await restore.mark.is_whole()
    await bank.post(decision(0))
    async with bank.builder():
        await bank.until_complete()
    assert await contacts(bank) == []
