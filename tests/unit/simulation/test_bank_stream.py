"""The simulated bank: determined by its seed, in time order, in the published language, with the habits it promises."""

from collections import Counter, defaultdict
from datetime import date

import pytest

from event_schemas.codec import decode
from event_schemas.transactions import TransactionPosted
from services.simulation.bank import BankConfig, BankStream
from services.simulation.cloud_events import TimedEvent
from services.simulation.population import NEVER, make_population

CONFIG = BankConfig(seed=3, customers=150, companies=40, start=date(2026, 1, 1))
DAYS = 40


@pytest.fixture(scope="module")
def stream() -> list[TimedEvent]:
    return list(BankStream(CONFIG).events(until=date(2026, 2, 9)))


def test_the_same_seed_gives_the_same_bytes(stream: list[TimedEvent]) -> None:
    again = list(BankStream(CONFIG).events(until=date(2026, 2, 9)))

    assert [timed.event.value for timed in again] == [timed.event.value for timed in stream]


def test_another_seed_gives_another_bank() -> None:
    one, other = (make_population(50, seed) for seed in (1, 2))

    assert one.traits.tolist() != other.traits.tolist()


def test_a_longer_bank_begins_like_a_shorter_one() -> None:
    short = list(BankStream(CONFIG).events(until=date(2026, 1, 2)))
    long = list(BankStream(CONFIG).events(until=date(2026, 1, 5)))

    assert [timed.event.value for timed in long[: len(short)]] == [timed.event.value for timed in short]


def test_every_event_is_readable_and_says_the_time_and_subject_it_is_sorted_and_keyed_by(
    stream: list[TimedEvent],
) -> None:
    for timed in stream:
        event = decode(timed.event.value)
        assert (event.time_ms, event.subject) == (timed.at_ms, timed.event.key)


def test_events_come_in_time_order_with_ids_of_their_own(stream: list[TimedEvent]) -> None:
    times = [timed.at_ms for timed in stream]
    ids = [decode(timed.event.value).id for timed in stream]

    assert times == sorted(times)
    assert len(set(ids)) == len(ids)


def test_customers_are_known_before_they_do_anything(stream: list[TimedEvent]) -> None:
    seen: set[str] = set()
    for timed in stream:
        if timed.event.key not in seen:
            assert decode(timed.event.value).type == "bank.profile.updated"
            seen.add(timed.event.key)

    assert len(seen) == CONFIG.customers + CONFIG.companies


def test_balances_follow_from_the_postings(stream: list[TimedEvent]) -> None:
    balances: dict[str, int] = {}
    for timed in stream:
        event = decode(timed.event.value)
        if not isinstance(event, TransactionPosted):
            continue
        posting = event.data
        assert posting.balance_after is not None
        signed = posting.amount if posting.direction == "credit" else -posting.amount
        if event.subject in balances:
            assert posting.balance_after == balances[event.subject] + signed
        balances[event.subject] = posting.balance_after


def test_salaries_arrive_once_a_month_from_the_same_employer(stream: list[TimedEvent]) -> None:
    salaries: dict[str, list[tuple[int, str | None]]] = defaultdict(list)
    for timed in stream:
        event = decode(timed.event.value)
        if isinstance(event, TransactionPosted) and event.data.kind == "salary":
            salaries[event.subject].append((event.time.month, event.data.counterparty))

    assert len(salaries) > CONFIG.customers / 3
    for paid in salaries.values():
        assert max(Counter(month for month, _ in paid).values()) == 1
        assert len({employer for _, employer in paid}) == 1


def test_shops_behind_personal_accounts_take_many_small_payments() -> None:
    stream = BankStream(BankConfig(seed=5, customers=400, start=date(2026, 3, 1)))
    takings: Counter[str] = Counter()
    for timed in stream.events(until=date(2026, 3, 7)):
        event = decode(timed.event.value)
        if isinstance(event, TransactionPosted) and event.data.kind == "qr_payment":
            takings[event.subject] += 1
    shops = {f"retail:{position + 1}" for position, flag in enumerate(stream.people.merchant) if flag}

    assert shops and set(takings) <= shops
    assert min(takings[shop] for shop in shops) > 20


def test_leaving_customers_move_money_to_themselves_elsewhere_and_only_they_do() -> None:
    stream = BankStream(BankConfig(seed=2, customers=400, start=date(2026, 3, 1)))
    movers: set[str] = set()
    for timed in stream.events(until=date(2026, 6, 30)):
        if b"own_account" not in timed.event.value:
            continue  # decoding them all would take seconds
        event = decode(timed.event.value)
        if isinstance(event, TransactionPosted) and event.data.own_account:
            movers.add(event.subject)
    leaving = {f"retail:{i + 1}" for i, day in enumerate(stream.people.churn_day) if day != NEVER and day < 120}

    assert movers
    assert movers <= leaving


def test_some_were_never_assessed_and_some_refuse_marketing() -> None:
    people = make_population(2_000, seed=1)

    assert 0.2 < (people.risk_level == 0).mean() < 0.3
    assert 0.04 < (people.marketing == 0).mean() < 0.1
    assert set(people.life_stage.tolist()) == {0, 1, 2, 3, 4}


def test_visits_fall_into_their_day_in_time_order() -> None:
    stream = BankStream(CONFIG)
    day = stream.next_day()
    moments = [visit.at_ms for visit in day.visits]

    assert moments == sorted(moments)
    assert day.start_ms <= moments[0] and moments[-1] < day.start_ms + 86_400_000
    assert {visit.channel for visit in day.visits} >= {"mobile"}
