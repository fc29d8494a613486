"""An acceptance is judged by what suits the customer when it comes, not by what did when the option was made."""

from dataclasses import replace
from types import ModuleType
from typing import Any

import orjson
import pytest

from decision_engine.features.definitions import AttributeType, ProfileAttribute
from decision_engine.features.dictionary import attribute_infos
from decision_engine.outcomes import Outcome
from decision_engine.strategy import SuitabilityGate
from event_schemas.codec import decode
from services.ports import StoreUnavailable
from services.use_cases.record_response import RecordResponse, ResponseCommand
from services.use_cases.suitability_rematch import SuitabilityRematch


@pytest.fixture
def fund_bank(bank: Any, small_bank: ModuleType) -> Any:
    """A bank with one fund, rated 3, and a way to rate it anew; `assess` gives `retail:1` a risk level."""
    risk = (
        ProfileAttribute(name="risk_level", type=AttributeType.INT, theme="basic", description={"en": "Level"}),
        ProfileAttribute(name="assessed_at", type=AttributeType.TIMESTAMP, theme="basic", description={"en": "At"}),
    )
    known = small_bank.DECLARATIONS
    declarations = replace(known, profile=tuple(sorted((*known.profile, *risk), key=lambda a: str(a.name))))
    gate = SuitabilityGate(level_attribute="risk_level", assessed_attribute="assessed_at", valid_days=365)

    def rate(level: int | None) -> None:
        fund = small_bank.offer("fund", group="funds", risk_level=level)
        bank.live = small_bank.live(
            fund, declarations=declarations, dictionary=attribute_infos(declarations), suitability=gate
        )

    def assess(level: int, days_ago: int = 1) -> None:
        assessed = {"risk_level": level, "assessed_at": small_bank.NOW - days_ago * small_bank.DAY}
        bank.store.states["retail:1"] = small_bank.state(bank.live.features, assessed)

    bank.rate, bank.assess = rate, assess
    rate(3)
    assess(3)
    return bank


@pytest.fixture
def respond(fund_bank: Any) -> RecordResponse:
    return RecordResponse(
        store=fund_bank.store,
        ledger=fund_bank.store,
        publisher=fund_bank.bus,
        clock=fund_bank.clock,
        metrics=fund_bank.metrics,
        rematch=SuitabilityRematch(store=fund_bank.store, live=lambda: fund_bank.live),
    )


@pytest.fixture
async def tracking_id(make_decision: Any, command: Any, fund_bank: Any) -> str:
    answer = orjson.loads(await make_decision(command()))
    fund_bank.bus.events.clear()
    return str(answer["placements"][0]["options"][0]["tracking_id"])


def said(tracking_id: str, outcome: Outcome = Outcome.ACCEPT, **overrides: Any) -> ResponseCommand:
    return ResponseCommand(**({"response_id": "r1", "tracking_id": tracking_id, "outcome": outcome} | overrides))


def detail_of(bank: Any) -> Any:
    (event,) = bank.bus.events
    return decode(event.value).data.detail


async def test_what_still_suits_is_taken_without_remark(fund_bank: Any, respond: Any, tracking_id: str) -> None:
    taken = await respond([said(tracking_id, detail={"screen": "funds"})])
    assert (taken.accepted, taken.unsuitable) == (1, ())
    assert detail_of(fund_bank) == {"screen": "funds"}


@pytest.mark.parametrize("outcome", [Outcome.ACCEPT, Outcome.CONVERT])
async def test_a_customer_assessed_lower_meanwhile_is_taken_and_flagged(
    fund_bank: Any, respond: Any, tracking_id: str, outcome: Outcome
) -> None:
    fund_bank.assess(2)
    taken = await respond([said(tracking_id, outcome, detail={"screen": "funds"})])
    assert (taken.accepted, taken.rejected) == (1, ())
    assert taken.unsuitable == ((0, "SUITABILITY_TOO_LOW"),)
    assert detail_of(fund_bank) == {
        "screen": "funds",
        "suitability_changed": True,
        "suitability_code": "SUITABILITY_TOO_LOW",
    }
    assert fund_bank.metrics.seen["rejections_total", "suitability", "suitability.too_low"] == 1


async def test_a_product_rated_higher_meanwhile_is_flagged(fund_bank: Any, respond: Any, tracking_id: str) -> None:
    fund_bank.rate(4)
    assert (await respond([said(tracking_id)])).unsuitable == ((0, "SUITABILITY_TOO_LOW"),)


async def test_an_assessment_that_ran_out_meanwhile_is_flagged(fund_bank: Any, respond: Any, tracking_id: str) -> None:
    fund_bank.assess(5, days_ago=366)
    assert (await respond([said(tracking_id)])).unsuitable == ((0, "SUITABILITY_STALE"),)


async def test_a_state_that_is_gone_suits_no_investment(fund_bank: Any, respond: Any, tracking_id: str) -> None:
    fund_bank.store.states.clear()
    assert (await respond([said(tracking_id)])).unsuitable == ((0, "SUITABILITY_MISSING"),)


async def test_a_product_without_rating_is_not_matched(fund_bank: Any, respond: Any, tracking_id: str) -> None:
    fund_bank.rate(None)
    fund_bank.assess(1)
    assert (await respond([said(tracking_id)])).unsuitable == ()


async def test_an_offer_that_is_not_live_any_more_suits_nobody(
    fund_bank: Any, small_bank: ModuleType, respond: Any, tracking_id: str
) -> None:
    fund_bank.live = small_bank.live()
    taken = await respond([said(tracking_id)])
    assert (taken.accepted, taken.unsuitable) == (1, ((0, "SUITABILITY_MISSING"),))
    assert (await respond([said(tracking_id, Outcome.CLICK, response_id="r2")])).unsuitable == ()


@pytest.mark.parametrize("outcome", [Outcome.IMPRESSION, Outcome.CLICK, Outcome.REJECT, Outcome.DISMISS])
async def test_what_binds_nobody_is_not_matched(
    fund_bank: Any, respond: Any, tracking_id: str, outcome: Outcome
) -> None:
    fund_bank.assess(1)
    reads = fund_bank.store.reads
    assert (await respond([said(tracking_id, outcome)])).unsuitable == ()
    assert fund_bank.store.reads == reads


async def test_an_acceptance_counts_in_the_ledger_though_it_no_longer_suits(
    fund_bank: Any, respond: Any, tracking_id: str
) -> None:
    fund_bank.assess(1)
    await respond([said(tracking_id)])
    again = await respond([said(tracking_id)])
    assert (again.accepted, again.duplicates) == (0, 1)
    assert again.unsuitable == ((0, "SUITABILITY_TOO_LOW"),), "a channel that asks again hears the same"


async def test_the_flag_fits_beside_as_many_details_as_a_channel_may_send(
    fund_bank: Any, respond: Any, tracking_id: str
) -> None:
    fund_bank.assess(1)
    await respond([said(tracking_id, detail={f"d{number}": number for number in range(50)})])
    detail = detail_of(fund_bank)
    assert len(detail) == 50
    assert detail["suitability_changed"] is True


async def test_without_the_store_nothing_is_half_taken(fund_bank: Any, respond: Any, tracking_id: str) -> None:
    fund_bank.store.fail.add("read")
    with pytest.raises(StoreUnavailable):
        await respond([said(tracking_id)])
    assert fund_bank.bus.events == []
