"""Making a decision, and every way in which part of it can fail."""

import asyncio
from time import perf_counter
from typing import Any

import orjson
import pytest

from event_schemas.codec import decode
from services.use_cases.decision_record import expanded_record
from services.use_cases.idempotent_answers import kept_answer
from services.use_cases.make_decision import DecisionInFlight, IdempotencyConflict


def candidates(bank: Any) -> Any:
    """Those of the first published decision, as explained."""
    return expanded_record(bank.bus.events[0].value, bank.live.prepared)["candidates"]


def offers(answer: bytes) -> list[str]:
    return [option["offer"] for place in orjson.loads(answer)["placements"] for option in place.get("options", [])]


async def test_the_best_offers_come_first_with_words_in_the_locale_asked_for(make_decision: Any, command: Any) -> None:
    answer = orjson.loads(await make_decision(command("home_banner:2", locale="zh-CN")))
    first, second = answer["placements"][0]["options"]
    assert (first["offer"], second["offer"]) == ("gold_card", "cash_plan")
    assert first["content"] == {"title": "gold_card 标题"}
    assert first["reasons"] == [{"code": "HIGH_CARD_SPEND", "text": "消费较高"}]
    assert first["score"] == pytest.approx(2000)
    assert (answer["degraded"], answer["feature_age_ms"], answer["time"]) == (False, 420, "2026-11-21T09:50:00.123Z")


async def test_a_script_is_given_in_channels_of_people(make_decision: Any, command: Any) -> None:
    answer = orjson.loads(await make_decision(command("agent_panel", channel="contact_centre", locale="en")))
    assert answer["placements"][0]["options"][0]["script"] == "Good day"


async def test_a_decision_is_published_and_kept_with_its_options(bank: Any, make_decision: Any, command: Any) -> None:
    answer = orjson.loads(await make_decision(command("home_banner:2")))
    (event,) = bank.bus.events
    assert (event.topic, event.key) == ("nbo.decisions.v1", "retail:1")
    assert bank.store.records == {answer["decision_id"]: event.value}
    option = bank.store.options[answer["placements"][0]["options"][0]["tracking_id"]]
    assert (option.offer, option.group, option.issue, option.channel) == ("gold_card", "cards", "acquire", "mobile")
    assert option.decided_ms == bank.clock.moment


async def test_the_published_record_is_a_valid_event(bank: Any, make_decision: Any, command: Any) -> None:
    await make_decision(command("home_banner:2", "card_page_tile:2", request_id="r", context={"page": "cards"}))
    event = decode(bank.bus.events[0].value)
    assert event.type == "nbo.decision.made"
    assert event.data.taken == (0, 0)
    assert event.data.context == {"page": "cards"}
    outcomes = {(c["placement"], c["offer"]): c["outcome"] for c in candidates(bank)}
    assert outcomes["home_banner", "gold_card"] == "offered"
    assert outcomes["home_banner", "no_pension"] == "rejected"


async def test_an_unknown_customer_gets_an_answer(make_decision: Any, command: Any) -> None:
    answer = orjson.loads(await make_decision(command(customer_id="retail:404")))
    assert answer["degraded"] is False
    assert answer["feature_age_ms"] is None
    assert "gold_card" not in offers(orjson.dumps(answer))


@pytest.mark.parametrize("how", ["fail", "hang"])
async def test_without_state_and_ledger_the_answer_is_a_fallback_within_the_budget(
    bank: Any, make_decision: Any, command: Any, how: str
) -> None:
    getattr(bank.store, how).update({"read", "save"})
    started = perf_counter()
    answer = orjson.loads(await make_decision(command(timeout_ms=60)))
    assert perf_counter() - started < 0.5
    assert answer["placements"][0]["fallback_cause"] == "DEGRADED"
    assert answer["placements"][0]["fallback"]["content"] == {"title": "Welcome"}
    assert {"state_unavailable", "ledger_unavailable"} <= set(answer["degraded_causes"])


@pytest.mark.parametrize(("how", "why"), [("fail", []), ("hang", ["ledger_slow"])])
async def test_what_cannot_be_reserved_is_not_offered(
    bank: Any, make_decision: Any, command: Any, how: str, why: list[str]
) -> None:
    getattr(bank.store, how).add("reserve")
    answer = orjson.loads(await make_decision(command(timeout_ms=60)))
    assert offers(orjson.dumps(answer)) == []
    assert answer["degraded_causes"] == ["ledger_unavailable", *why]
    assert answer["feature_age_ms"] == 420, "the state was read"


async def test_a_mandatory_offer_needs_no_ledger(small_bank: Any, bank: Any, make_decision: Any, command: Any) -> None:
    bank.live = small_bank.live(*small_bank.OFFERS, small_bank.offer("fraud_alert", mandatory=True, purpose="service"))
    bank.store.fail.add("reserve")
    assert offers(await make_decision(command("home_banner:3"))) == ["fraud_alert"]


async def test_a_full_outbox_degrades_the_answer_and_loses_no_record(
    bank: Any, make_decision: Any, command: Any
) -> None:
    bank.bus.gone = True
    answer = orjson.loads(await make_decision(command()))
    assert offers(orjson.dumps(answer)) == ["gold_card"]
    assert answer["degraded_causes"] == ["publish_delayed"]
    assert bank.metrics.seen["degraded_total", "publish_delayed"] == 1
    assert answer["decision_id"] in bank.store.records


async def test_a_record_that_cannot_be_kept_degrades_the_answer(bank: Any, make_decision: Any, command: Any) -> None:
    bank.store.fail.add("save")
    answer = orjson.loads(await make_decision(command()))
    assert (answer["degraded_causes"], answer["degraded"]) == (["store_unavailable"], True)
    assert len(bank.bus.events) == 1


async def test_a_dry_run_leaves_no_trace_and_shows_every_candidate(bank: Any, make_decision: Any, command: Any) -> None:
    answer = orjson.loads(await make_decision(command("home_banner:2", dry_run=True, request_id="r")))
    assert offers(orjson.dumps(answer)) == ["gold_card", "cash_plan"]
    assert {c["offer"]: c["outcome"] for c in answer["trace"]} == {
        "gold_card": "offered",
        "cash_plan": "offered",
        "no_pension": "rejected",
    }
    store = bank.store
    assert (store.records, store.options, store.answers, store.ledgers, bank.bus.events) == ({}, {}, {}, {}, [])


async def test_a_hundred_equal_requests_at_once_are_one_decision(bank: Any, make_decision: Any, command: Any) -> None:
    bank.store.gate = asyncio.Event()
    asked = [asyncio.create_task(make_decision(command(request_id="r", body_hash=b"h" * 16))) for _ in range(100)]
    await asyncio.sleep(0)
    bank.store.gate.set()
    answers = await asyncio.gather(*asked)
    assert len(set(answers)) == 1
    assert (bank.store.reads, len(bank.bus.events), len(bank.store.records)) == (1, 1, 1)


async def test_a_repeated_request_gets_the_kept_bytes_and_reserves_nothing(
    bank: Any, make_decision: Any, command: Any
) -> None:
    first = await make_decision(command(request_id="r", body_hash=b"h" * 16))
    ledger = bank.store.ledgers["retail:1"]
    assert await make_decision(command(request_id="r", body_hash=b"h" * 16)) == first
    assert bank.store.ledgers["retail:1"] == ledger
    assert len(bank.bus.events) == 1


async def test_the_same_request_id_of_another_client_is_another_request(make_decision: Any, command: Any) -> None:
    first = orjson.loads(await make_decision(command(request_id="r")))
    second = orjson.loads(await make_decision(command(request_id="r", client="branch")))
    assert first["decision_id"] != second["decision_id"]


async def test_a_request_id_with_another_body_is_a_conflict(bank: Any, make_decision: Any, command: Any) -> None:
    await make_decision(command(request_id="r", body_hash=b"a" * 16))
    with pytest.raises(IdempotencyConflict):
        await make_decision(command(request_id="r", body_hash=b"b" * 16))
    bank.store.gate = asyncio.Event()
    first = asyncio.create_task(make_decision(command(request_id="s", body_hash=b"a" * 16)))
    await asyncio.sleep(0)
    with pytest.raises(IdempotencyConflict):
        await make_decision(command(request_id="s", body_hash=b"b" * 16))
    bank.store.gate.set()
    await first


async def test_a_request_under_way_at_another_node_is_waited_for(bank: Any, make_decision: Any, command: Any) -> None:
    bank.store.answers["app:r"] = b"claimed"
    waiting = asyncio.create_task(make_decision(command(request_id="r", body_hash=b"h" * 16)))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    bank.store.answers["app:r"] = kept_answer(b"h" * 16, b"{}")
    assert await waiting == b"{}"


async def test_waiting_for_another_node_ends_with_the_budget(bank: Any, make_decision: Any, command: Any) -> None:
    bank.store.answers["app:r"] = b"claimed"
    with pytest.raises(DecisionInFlight):
        await make_decision(command(request_id="r", timeout_ms=30))


async def test_a_key_that_may_be_anothers_is_not_written(bank: Any, make_decision: Any, command: Any) -> None:
    """The store was away when the key should have been claimed: whoever holds it keeps it."""
    bank.store.answers["app:r"] = kept_answer(b"h" * 16, b"{}")
    bank.store.fail.add("read")
    await make_decision(command(request_id="r", body_hash=b"h" * 16))
    assert bank.store.answers["app:r"] == kept_answer(b"h" * 16, b"{}")


async def test_what_happened_is_measured(bank: Any, make_decision: Any, command: Any) -> None:
    await make_decision(command("home_banner:2", "card_page_tile:1"))
    seen = bank.metrics.seen
    assert seen["decisions_total", "mobile", "full"] == 1
    assert seen["rejections_total", "eligibility", "senior"] == 2, "once for each placement"
    assert seen["ledger_reservations_total", "reserved"] == 2
    assert ("decision_seconds", "mobile", "offered") in seen
    stages = {name[1] for name in seen if name[0] == "decision_stage_seconds"}
    assert stages == {
        *("parse", "read", "snapshot", "rules", "engine", "model", "reserve", "settle", "record", "publish", "answer"),
        *("save", "metrics"),
    }


async def test_an_offer_just_refused_is_gone_from_the_next_decision(
    bank: Any, make_decision: Any, record_response: Any, command: Any
) -> None:
    from decision_engine.outcomes import Outcome
    from services.use_cases.record_response import ResponseCommand

    answer = orjson.loads(await make_decision(command("home_banner:1")))
    option = answer["placements"][0]["options"][0]
    assert option["offer"] == "gold_card"
    refusal = ResponseCommand(response_id="x", tracking_id=option["tracking_id"], outcome=Outcome.REJECT)
    await record_response([refusal])
    bank.clock.moment += 1000
    assert offers(await make_decision(command("agent_panel:1", channel="contact_centre"))) == ["cash_plan"]


@pytest.mark.parametrize("poison", [b"", b"\x00", b"junk" * 100])
async def test_a_state_that_cannot_be_read_is_no_state(
    bank: Any, make_decision: Any, command: Any, poison: bytes
) -> None:
    bank.store.states["retail:1"] = poison
    answer = orjson.loads(await make_decision(command()))
    assert answer["degraded_causes"] == ["state_unavailable", "state_unreadable"]
    assert "gold_card" not in offers(orjson.dumps(answer))


async def test_scores_are_measured_by_model_and_version(bank: Any, make_decision: Any, command: Any) -> None:
    await make_decision(command("home_banner:2"))
    assert bank.metrics.seen["model_score", "cross_sell", "prior"] == pytest.approx(0.2)
