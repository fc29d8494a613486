"""What the contact policy says holds for triggered contacts, too: quiet hours, and caps over all channels."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from time import perf_counter

import orjson
import pytest

from decision_engine.decision import PlacementRequest
from decision_engine.identifiers import CustomerId, PlacementId
from event_schemas.outbound import OutboundOffered
from loadtests.trigger_world import OutboundReader, TriggerBank, strategy_text, trigger_bank
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.bootstrap import open_api
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.make_decision import DecisionPorts, MakeDecision

pytestmark = pytest.mark.servers
CHINA = timezone(timedelta(hours=8))
EVENING = datetime(2026, 11, 20, 21, 30, tzinfo=CHINA)
QUIET = "  quiet_hours:\n    - {id: night, channels: [manager, sms], from: 21:00, to: 08:00}"


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def outcomes(metrics: PrometheusMetrics) -> set[str]:
    lines = metrics.exposition()[0].decode().splitlines()
    return {
        line.split('outcome="')[1].split('"')[0] for line in lines if line.startswith("kairos_trigger_firings_total{")
    }


async def until_outcome(metrics: PrometheusMetrics, outcome: str) -> None:
    async with asyncio.timeout(30):
        while outcome not in outcomes(metrics):
            await asyncio.sleep(0.02)


async def pass_time(bank: TriggerBank, to: datetime) -> None:
    """The clock follows the events."""
    await bank.until_applied(
        await bank.post(bank.event("bank.channel.page_view", "retail:9", {"page": "home"}, ms(to)))
    )


async def test_quiet_hours_put_a_contact_off_until_they_end_unless_it_expires(tmp_path: Path) -> None:
    metrics = PrometheusMetrics()
    async with (
        trigger_bank(tmp_path, strategy_text(quiet=QUIET), KAIROS_CLOCK="events") as bank,
        OutboundReader.open(bank) as channel,
    ):
        async with bank.builder(metrics):
            await pass_time(bank, EVENING)
            await bank.until_applied(await bank.post(bank.profile("retail:1", ms(EVENING))))
            await bank.post(
                bank.inflow("retail:1", at_ms=ms(EVENING) + 1), bank.form("opened", "retail:2", at_ms=ms(EVENING))
            )
            await until_outcome(metrics, "held")
            await pass_time(bank, EVENING + timedelta(seconds=30))
            await until_outcome(metrics, "quiet")
            assert await channel.silence(0.5) == [], "nobody is disturbed at night"
        async with bank.builder(metrics):
            await pass_time(bank, EVENING + timedelta(hours=5))
            assert await channel.silence(0.5) == [], "nor because a builder came anew"
            await pass_time(bank, EVENING + timedelta(hours=10, minutes=31))
            await channel.until(1)
            await channel.silence(0.5)
    (offered,) = channel.events
    assert isinstance(offered, OutboundOffered)
    assert offered.data.customer_id == "retail:1", "the form's contact would have expired in the night"
    assert offered.data.not_before == datetime(2026, 11, 21, 0, 0, tzinfo=UTC)


async def test_what_was_shown_in_the_app_counts_against_the_contact(tmp_path: Path) -> None:
    metrics = PrometheusMetrics()
    async with (
        trigger_bank(tmp_path, strategy_text(cap=1)) as bank,
        OutboundReader.open(bank) as channel,
        bank.builder(metrics),
        open_api(bank.settings) as api,
    ):
        make = MakeDecision(
            DecisionPorts(
                live=api.live, store=api.store, ledger=api.ledger, publisher=api.publisher, clock=api.clock,
                ids=api.ids, metrics=api.metrics, volumes=api.volumes, keeper=api.keeper,
            )
        )  # fmt: skip
        await bank.until_applied(await bank.post(bank.profile("retail:1"), bank.profile("retail:2")))
        await bank.until_complete()
        assert await asks_for_a_loan(make, "retail:1") == ["loan_help"]
        await bank.post(bank.form("opened", "retail:1"), bank.form("opened", "retail:2"))
        await channel.until(1)
        await until_outcome(metrics, "nothing_to_offer")
        await channel.silence(0.3)
        assert [event.data.customer_id for event in channel.events] == ["retail:2"]
        assert await asks_for_a_loan(make, "retail:2") == [], "the contact counts in the app, too"


async def asks_for_a_loan(make: MakeDecision, customer: str) -> list[str]:
    """The offers on the customer's home page."""
    command = DecisionCommand(
        client="app",
        customer_id=CustomerId(customer),
        channel="mobile",
        placements=(PlacementRequest(id=PlacementId("home_banner"), count=1),),
        locale="en",
        started_s=perf_counter(),
        timeout_ms=1000,
    )
    (placement,) = orjson.loads(await make(command))["placements"]
    return [option["offer"] for option in placement.get("options", ())]
