"""What a kill switch stops: decisions, answers that are given again, and messages on their way."""

from dataclasses import replace
from types import ModuleType
from typing import Any

import orjson
import pytest

from decision_engine.fallback import FallbackCause
from event_schemas.control import KillSwitch
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.use_cases.decision_answer import word
from services.use_cases.decision_replay import replay_decision
from services.use_cases.kill_switches import KillSwitches
from services.use_cases.make_decision import DecisionPorts, MakeDecision
from services.use_cases.outbound_messages import OutboundMessage


@pytest.fixture
def switches() -> KillSwitches:
    return KillSwitches(PrometheusMetrics())


def stop(switches: KillSwitches, kind: str, name: str, *, engaged: bool = True) -> None:
    switches.set(KillSwitch(kind=kind, name=name, engaged=engaged, actor="somebody"))


@pytest.fixture
def decide(bank: Any, switches: KillSwitches) -> MakeDecision:
    return MakeDecision(
        DecisionPorts(
            live=lambda: bank.live, store=bank.store, ledger=bank.store, publisher=bank.bus, clock=bank.clock,
            ids=bank.ids, metrics=bank.metrics, switches=switches,
        )
    )  # fmt: skip


def offers(answer: bytes) -> list[str]:
    return [option["offer"] for option in orjson.loads(answer)["placements"][0].get("options", ())]


async def test_what_is_stopped_is_not_offered_and_what_is_released_is_again(
    decide: MakeDecision, command: Any, bank: Any, switches: KillSwitches
) -> None:
    for customer in ("retail:2", "retail:3"):  # alike: who was offered something is not offered it again at once
        bank.store.states[customer] = bank.store.states["retail:1"]
    first, *others = offers(await decide(command("home_banner:3")))
    stop(switches, "offer", first)
    assert offers(await decide(command("home_banner:3", customer_id="retail:2"))) == others
    stop(switches, "offer", first, engaged=False)
    assert offers(await decide(command("home_banner:3", customer_id="retail:3"))) == [first, *others]


async def test_a_stopped_strategy_falls_back_everywhere_and_says_so(
    decide: MakeDecision, command: Any, switches: KillSwitches
) -> None:
    stop(switches, "strategy", "strategy-1")
    answer = orjson.loads(await decide(command("home_banner:1", "card_page_tile:2")))
    assert [place["fallback_cause"] for place in answer["placements"]] == [FallbackCause.STOPPED] * 2
    assert all(place["fallback"]["content"] for place in answer["placements"])


@pytest.mark.parametrize(
    ("kind", "name"),
    [("offer", "gold_card"), ("group", "cards"), ("channel", "mobile"), ("strategy", "strategy-1")],
)
async def test_an_answer_given_again_is_without_what_was_stopped_since(
    decide: MakeDecision, command: Any, switches: KillSwitches, kind: str, name: str
) -> None:
    asked = command("home_banner:3", request_id="r-1", body_hash=b"h")
    before = orjson.loads(await decide(asked))
    assert "gold_card" in offers(orjson.dumps(before))
    stop(switches, kind, name)
    again = orjson.loads(await decide(asked))
    assert "gold_card" not in offers(orjson.dumps(again))
    assert again["decision_id"] == before["decision_id"], "it is the same decision"
    kept = [o for o in before["placements"][0]["options"] if o["offer"] in offers(orjson.dumps(again))]
    assert again["placements"][0].get("options", []) == kept, "all else is as it was"
    stop(switches, kind, name, engaged=False)
    assert orjson.loads(await decide(asked)) == before


async def test_the_last_option_of_an_earlier_answer_makes_room_for_the_fallback(
    decide: MakeDecision, command: Any, switches: KillSwitches
) -> None:
    asked = command("home_banner:1", request_id="r-1", body_hash=b"h")
    (first,) = offers(await decide(asked))
    stop(switches, "offer", first)
    (place,) = orjson.loads(await decide(asked))["placements"]
    assert place["fallback_cause"] == "STOPPED"
    assert place["fallback"]["treatment"] == "generic.mobile.home_banner"
    assert "options" not in place


async def test_a_record_made_under_switches_replays_byte_for_byte(
    decide: MakeDecision, command: Any, bank: Any, switches: KillSwitches
) -> None:
    stop(switches, "group", "cards")
    stop(switches, "model", "cross_sell")
    await decide(command("home_banner:3"))
    record = bank.bus.events[-1].value
    assert orjson.loads(record)["data"]["switches"] == ["group:cards", "model:cross_sell"]
    again = replay_decision(record, bank.live.prepared, word(bank.live.prepared.strategy), {})
    assert again == record


async def test_a_record_made_without_switches_does_not_mention_them(
    decide: MakeDecision, command: Any, bank: Any
) -> None:
    await decide(command())
    assert "switches" not in orjson.loads(bank.bus.events[-1].value)["data"]


async def test_a_model_that_is_stopped_is_as_if_it_was_never_there(
    decide: MakeDecision, command: Any, bank: Any, switches: KillSwitches
) -> None:
    class Unused:
        version = "m1"
        schema = None

        def score(self, matrix: Any) -> Any:
            raise AssertionError("a stopped model was asked")

    bank.live = replace(bank.live, scorers={"cross_sell": Unused()})
    stop(switches, "model", "cross_sell")
    answer = orjson.loads(await decide(command()))
    assert answer["models"] == {"cross_sell": "prior"}
    assert answer["degraded"] is False, "the strategy can do without it"


def message(**overrides: Any) -> OutboundMessage:
    fields: dict[str, Any] = {
        "id": "m", "outbound_id": "m", "is_cancelled_notice": False, "customer_id": "retail:1", "channel": "sms",
        "recipient": None, "urgent": False, "expires_ms": None, "at_ms": 0, "value": b"", "data": b"",
        "offers": (("gold_card", "cards"), ("cash_plan", "loans")), "strategy_version": "small_bank-0123456789ab",
    }  # fmt: skip
    return OutboundMessage(**(fields | overrides))


@pytest.mark.parametrize(
    ("kind", "name", "stopped"),
    [
        ("offer", "cash_plan", True),
        ("offer", "other", False),
        ("group", "loans", True),
        ("group", "other", False),
        ("channel", "sms", True),
        ("channel", "mobile", False),
        ("strategy", "small_bank", True),
        ("strategy", "small_bank-0123456789ab", True),
        ("strategy", "small_bank-ffffffffffff", False),
        ("model", "cross_sell", False),
    ],
)
def test_a_message_with_anything_that_is_stopped_stays(
    switches: KillSwitches, kind: str, name: str, stopped: bool
) -> None:
    stop(switches, kind, name)
    assert switches.stops(message()) is stopped


def test_a_message_that_does_not_tell_its_groups_stays_while_any_group_is_stopped(switches: KillSwitches) -> None:
    unknown = message(offers=(("gold_card", None),))
    assert not switches.stops(unknown)
    stop(switches, "group", "anything")
    assert switches.stops(unknown)


def test_notices_that_something_is_void_are_never_kept_back(switches: KillSwitches) -> None:
    stop(switches, "channel", "sms")
    assert not switches.stops(message(is_cancelled_notice=True, offers=()))


def test_the_metric_shows_what_is_stopped() -> None:
    metrics = PrometheusMetrics()
    switches = KillSwitches(metrics)
    stop(switches, "offer", "gold_card")
    stop(switches, "group", "cards")
    stop(switches, "group", "cards", engaged=False)
    page = metrics.exposition()[0].decode()
    assert 'kairos_kill_switch_engaged{kind="offer",name="gold_card"} 1.0' in page
    assert 'kairos_kill_switch_engaged{kind="group",name="cards"} 0.0' in page


def test_equal_sets_of_switches_are_one_value_whatever_the_order(small_bank: ModuleType) -> None:
    one, other = KillSwitches(PrometheusMetrics()), KillSwitches(PrometheusMetrics())
    for kind, name in (("offer", "b"), ("group", "a")):
        stop(one, kind, name)
    for kind, name in (("group", "a"), ("offer", "b")):
        stop(other, kind, name)
    assert one() == other() == ("group:a", "offer:b")
