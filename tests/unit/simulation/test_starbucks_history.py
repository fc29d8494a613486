"""Reading the Starbucks log: what a response is, what earns a reward alone, who was dealt nothing, the order."""

import gzip
import json
from pathlib import Path

import pytest

from decision_engine.outcomes import Outcome
from event_schemas.channel import PointsEarned
from event_schemas.codec import decode
from event_schemas.profile import ProfileUpdated
from event_schemas.transactions import TransactionPosted
from services.bootstrap import load_strategy_at
from services.simulation.starbucks import StarbucksUnreadable, read_starbucks
from services.simulation.starbucks_events import Deal, StarbucksReplay, at_hour, starbucks_replay

STRATEGY = load_strategy_at(Path(__file__).parents[3] / "deploy" / "strategies" / "starbucks").strategy
BOGO, NEWS = "b" * 32, "f" * 32
OFFERS = [
    {"id": BOGO, "offer_type": "bogo", "difficulty": 5, "reward": 5, "duration": 7.0, "channels": ["email"]},
    {"id": NEWS, "offer_type": "informational", "difficulty": 0, "reward": 0, "duration": 3.0, "channels": ["email"]},
]
PEOPLE = [
    {"id": "ann", "became_member_on": "20180720", "age": 40, "gender": "F", "income": 60000},
    {"id": "bob", "became_member_on": "20170730", "age": 118, "gender": None, "income": None},
]
Line = tuple[int, str, str, dict[str, object]]


def received(hour: int, person: str, offer: str) -> Line:
    return hour, person, "offer received", {"offer id": offer}


def viewed(hour: int, person: str, offer: str) -> Line:
    return hour, person, "offer viewed", {"offer id": offer}


def completed(hour: int, person: str, offer: str) -> Line:
    return hour, person, "offer completed", {"offer_id": offer, "reward": 5}


def bought(hour: int, person: str, dollars: float) -> Line:
    return hour, person, "transaction", {"amount": dollars}


def write(folder: Path, lines: list[Line], offers: list[dict[str, object]] = OFFERS) -> Path:
    rows = [{"time": hour, "person": who, "event": event, "value": value} for hour, who, event, value in lines]
    for name, content in (("portfolio", offers), ("profile", PEOPLE), ("transcript", rows)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in content)
    return folder


def replay(folder: Path, lines: list[Line]) -> StarbucksReplay:
    return starbucks_replay(read_starbucks(write(folder, lines)), STRATEGY)


def deal_of(done: StarbucksReplay, hour: int, person: str) -> Deal:
    return next(deal for deal in done.deals[hour] if deal.decision.customer_id == f"retail:{person}")


def outcomes(deal: Deal) -> list[Outcome]:
    return [response.outcome for response in deal.responses]


def test_an_offer_viewed_and_then_completed_is_accepted(tmp_path: Path) -> None:
    done = replay(tmp_path, [received(0, "ann", BOGO), viewed(6, "ann", BOGO), completed(30, "ann", BOGO)])

    assert outcomes(deal_of(done, 0, "ann")) == [Outcome.IMPRESSION, Outcome.CLICK, Outcome.ACCEPT]
    assert deal_of(done, 0, "ann").decision.offered == "bogo_5_7d.email.message"


def test_a_completion_never_viewed_earns_its_reward_and_is_no_response(tmp_path: Path) -> None:
    done = replay(tmp_path, [received(0, "ann", BOGO), completed(30, "ann", BOGO)])
    rewards = [event for timed in done.events if isinstance(event := decode(timed.event.value), PointsEarned)]

    assert outcomes(deal_of(done, 0, "ann")) == [Outcome.IMPRESSION]
    assert [event.data.points for event in rewards] == [5]


def test_what_is_completed_before_the_view_or_after_the_end_is_no_acceptance(tmp_path: Path) -> None:
    before = [received(0, "ann", BOGO), completed(6, "ann", BOGO), viewed(12, "ann", BOGO)]
    after = [received(0, "bob", BOGO), viewed(6, "bob", BOGO), completed(174, "bob", BOGO)]
    done = replay(tmp_path, sorted([*before, *after], key=lambda line: line[0]))

    assert Outcome.ACCEPT not in outcomes(deal_of(done, 0, "ann"))
    assert Outcome.ACCEPT not in outcomes(deal_of(done, 0, "bob"))


def test_of_news_a_purchase_after_viewing_is_the_acceptance(tmp_path: Path) -> None:
    lines = [received(0, "ann", NEWS), bought(6, "ann", 3.5), viewed(12, "ann", NEWS), bought(18, "ann", 4.25)]
    deal = deal_of(replay(tmp_path, lines), 0, "ann")

    accepted = next(response for response in deal.responses if response.outcome is Outcome.ACCEPT)
    assert at_hour(18) <= accepted.at_ms < at_hour(19)


def test_where_only_completions_count_news_is_viewed_and_never_accepted(tmp_path: Path) -> None:
    log = read_starbucks(write(tmp_path, [received(0, "ann", NEWS), viewed(6, "ann", NEWS), bought(12, "ann", 3.5)]))
    done = starbucks_replay(log, STRATEGY, completions_only=True)

    assert outcomes(deal_of(done, 0, "ann")) == [Outcome.IMPRESSION, Outcome.CLICK]


def test_the_view_of_an_offer_dealt_again_belongs_to_the_later_deal(tmp_path: Path) -> None:
    lines = [received(0, "ann", BOGO), received(168, "ann", BOGO), viewed(168, "ann", BOGO)]
    done = replay(tmp_path, lines)

    assert outcomes(deal_of(done, 0, "ann")) == [Outcome.IMPRESSION]
    assert outcomes(deal_of(done, 168, "ann")) == [Outcome.IMPRESSION, Outcome.CLICK]


def test_everybody_is_decided_about_in_every_wave_and_who_got_nothing_has_a_chance_of_it(tmp_path: Path) -> None:
    done = replay(tmp_path, [received(168, "bob", NEWS)])

    assert {hour: len(deals) for hour, deals in done.deals.items()} == {0: 2, 168: 2, 336: 2}
    nothing = deal_of(done, 168, "ann")
    assert nothing.decision.offered is None and not nothing.responses
    assert list(nothing.decision.chances.values()) == [0.075, 0.075]


def test_deals_come_before_everything_else_of_their_hour(tmp_path: Path) -> None:
    lines = [received(168, "ann", BOGO), viewed(168, "ann", BOGO), bought(168, "bob", 1.0), bought(167, "bob", 1.0)]
    done = replay(tmp_path, sorted(lines, key=lambda line: line[0]))
    purchases = [t.at_ms for t in done.events if isinstance(decode(t.event.value), TransactionPosted)]
    deals = [deal.decision.at_ms for deal in done.deals[168]]
    clicked = deal_of(done, 168, "ann").responses[1]

    assert purchases[0] < min(deals) <= max(deals) < min(purchases[1], clicked.at_ms)


def test_what_is_unknown_of_a_person_is_left_out_and_money_is_cents(tmp_path: Path) -> None:
    done = replay(tmp_path, [bought(0, "ann", 12.34)])
    decoded = [decode(timed.event.value) for timed in done.events]
    profiles = {e.subject: dict(e.data.attributes) for e in decoded if isinstance(e, ProfileUpdated)}

    assert profiles["retail:bob"] == {"tenure_days": 365}
    assert profiles["retail:ann"] == {"tenure_days": 10, "age": 40, "gender": "female", "income": 6_000_000}
    assert [e.data.amount for e in decoded if isinstance(e, TransactionPosted)] == [1_234]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StarbucksUnreadable, match=r"lacks portfolio\.jsonl\.gz, profile"):
        read_starbucks(tmp_path)
    other = [{**OFFERS[0], "duration": 9.0}]
    with pytest.raises(StarbucksUnreadable, match="no offer named bogo_5_9d"):
        starbucks_replay(read_starbucks(write(tmp_path, [], other)), STRATEGY)
    write(tmp_path, [bought(6, "ann", 1.0), bought(0, "ann", 1.0)])
    with pytest.raises(StarbucksUnreadable, match="not in order of time"):
        read_starbucks(tmp_path)
