"""Triggers on real servers: an event becomes a contact on the outbound topic, decided, recorded, reserved; what
overtakes it, and its further waves."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from event_schemas.outbound import OutboundCancelled, OutboundOffered
from loadtests.trigger_world import OutboundReader, TriggerBank, strategy_text, trigger_bank
from services.adapters.prometheus_metrics import PrometheusMetrics

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="module")]
_numbers = count(1)


@dataclass(frozen=True)
class Served:
    """A bank whose builder runs, and a channel that reads along."""

    bank: TriggerBank
    channel: OutboundReader
    metrics: PrometheusMetrics

    async def heard(self, customer: str, number: int) -> list[OutboundOffered | OutboundCancelled]:
        """Everything about the customer, once there is so much of it."""
        while len(found := self.about(customer)) < number:
            await self.channel.until(len(self.channel.events) + 1)
        return found

    def about(self, customer: str) -> list[OutboundOffered | OutboundCancelled]:
        return [event for event in self.channel.events if event.data.customer_id == customer]

    async def nothing_more(self, customer: str) -> None:
        """Waits until nothing is due of the customer any more."""
        while any(name == customer for name, _ in await self.bank.due_customers()):
            await self.channel.poll(0.05)
        await self.channel.silence(0.2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder: Path = tmp_path_factory.mktemp("triggers")
    metrics = PrometheusMetrics()
    async with (
        trigger_bank(folder, strategy_text(wave="2s")) as bank,
        OutboundReader.open(bank) as channel,
        bank.builder(metrics),
    ):
        yield Served(bank, channel, metrics)


@pytest.fixture
def customer() -> str:
    return f"retail:{next(_numbers)}"


async def test_an_event_becomes_a_contact_that_is_decided_recorded_and_reserved(served: Served, customer: str) -> None:
    bank = served.bank
    await bank.until_applied(await bank.post(bank.profile(customer, locale="en", owner_manager="manager-7")))
    await bank.post(bank.inflow(customer), bank.inflow("retail:poor", amount=100))
    (offered,) = await served.heard(customer, 1)
    assert isinstance(offered, OutboundOffered)
    contact = offered.data
    assert (contact.trigger, contact.title, contact.recipient) == ("large_inflow", "Large inflow", "manager-7")
    assert (contact.channel, contact.placement, contact.locale) == ("manager", "inbox_lead", "en")
    assert (contact.urgent, contact.wave) == (True, 0)
    assert [option.offer for option in contact.options] == ["wealth_review"], "only the trigger's own offers"
    assert contact.options[0].content == {"title": "Wealth"}
    record = await bank.record(contact.decision_id)
    assert (record["client"], record["request_id"]) == ("trigger", offered.id)
    assert record["context"] == {"trigger": "large_inflow"}
    (reserved,) = await bank.contacts(customer)
    assert reserved.flags & 2, "an outbound contact"
    await served.nothing_more(customer)
    assert served.about("retail:poor") == []
    text = served.metrics.exposition()[0].decode()
    assert 'kairos_trigger_firings_total{outcome="published",trigger="large_inflow"} 1.0' in text
    assert 'kairos_outbound_published_total{channel="manager"} 1.0' in text
    assert "kairos_trigger_delay_seconds_count 1.0" in text


async def test_the_guard_before_sees_the_customer_without_the_event(served: Served, customer: str) -> None:
    bank = served.bank
    inflows = [bank.inflow(customer, amount) for amount in (6_000_000, 6_000_000, 40_000_000)]
    await bank.until_applied(await bank.post(bank.profile(customer)))
    await bank.post(*inflows)
    first, second = await served.heard(customer, 2)
    await served.nothing_more(customer)
    assert len(served.about(customer)) == 2, "the second inflow is not three times what came before"
    assert first.id != second.id


async def test_an_event_sent_twice_fires_once(served: Served, customer: str) -> None:
    bank = served.bank
    inflow = bank.inflow(customer)
    await bank.until_applied(await bank.post(bank.profile(customer)))
    await bank.post(inflow, inflow)
    await served.heard(customer, 1)
    await bank.until_applied(await bank.post(inflow))
    await served.nothing_more(customer)
    assert len(served.about(customer)) == 1


async def test_a_form_submitted_in_time_contacts_nobody(served: Served, customer: str) -> None:
    bank = served.bank
    await bank.post(bank.form("opened", customer), bank.form("submitted", customer))
    await served.nothing_more(customer)
    assert served.about(customer) == []


async def test_who_does_not_answer_hears_of_it_in_another_channel(served: Served, customer: str) -> None:
    bank = served.bank
    await bank.post(bank.form("opened", customer))
    first, second = await served.heard(customer, 2)
    assert isinstance(first, OutboundOffered)
    assert isinstance(second, OutboundOffered)
    assert (first.data.wave, first.data.channel) == (0, "sms")
    assert (second.data.wave, second.data.channel) == (1, "manager")
    assert first.data.caused_by == second.data.caused_by
    await served.nothing_more(customer)
    assert len(served.about(customer)) == 2


async def test_who_answers_is_not_contacted_again_and_the_channels_hear_of_it(served: Served, customer: str) -> None:
    bank = served.bank
    await bank.post(bank.form("opened", customer))
    (first,) = await served.heard(customer, 1)
    assert isinstance(first, OutboundOffered)
    await bank.post(bank.response(first, "reject"))
    await served.nothing_more(customer)
    _, cancelled = served.about(customer)
    assert isinstance(cancelled, OutboundCancelled)
    assert (cancelled.data.outbound_id, cancelled.data.reason) == (first.id, "response")


async def test_an_impression_is_no_answer(served: Served, customer: str) -> None:
    bank = served.bank
    await bank.post(bank.form("opened", customer))
    (first,) = await served.heard(customer, 1)
    assert isinstance(first, OutboundOffered)
    await bank.post(bank.response(first, "impression"))
    _, second = await served.heard(customer, 2)
    assert isinstance(second, OutboundOffered)
    assert second.data.wave == 1


async def test_what_is_overtaken_is_withdrawn_and_its_wave_does_not_come(served: Served, customer: str) -> None:
    bank = served.bank
    await bank.post(bank.form("opened", customer))
    (first,) = await served.heard(customer, 1)
    await bank.post(bank.form("submitted", customer))
    _, cancelled = await served.heard(customer, 2)
    assert isinstance(cancelled, OutboundCancelled)
    assert (cancelled.data.outbound_id, cancelled.data.channel, cancelled.data.reason) == (first.id, "sms", "event")
    assert cancelled.data.caused_by == "bank.channel.form_submitted"
    await served.nothing_more(customer)
    assert len(served.about(customer)) == 2


async def test_events_of_long_ago_contact_nobody(served: Served, customer: str) -> None:
    bank = served.bank
    await bank.until_applied(await bank.post(bank.profile(customer)))
    two_hours_ago = bank.now_ms() - 7_200_000
    old = [bank.inflow(customer, at_ms=two_hours_ago), bank.form("opened", customer, at_ms=two_hours_ago)]
    await bank.until_applied(await bank.post(*old))
    await served.nothing_more(customer)
    assert served.about(customer) == []


async def test_an_erased_customer_is_not_contacted(served: Served, customer: str) -> None:
    bank = served.bank
    erased = bank.event("bank.customer.erased", customer, {"request_id": "x"}, bank.now_ms() + 1)
    await bank.until_applied(await bank.post(bank.form("opened", customer), erased))
    await served.nothing_more(customer)
    assert served.about(customer) == []
    assert await bank.client.execute("EXISTS", bank.keys.triggers(customer)) == 0  # type: ignore[arg-type]
