"""Caps, cool-downs and suppressions as the engine sees them before the ledger has its say."""

from datetime import datetime
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.calendar_windows import window_start_ms
from decision_engine.contact_ledger import LOST_FLAG, OUTBOUND_FLAG, ContactClock, Direction, Scope, first_refusal
from decision_engine.contact_policy import ContactMoment, plan_contacts, screen_contacts
from decision_engine.identifiers import key32
from decision_engine.ledger_steps import bounded
from decision_engine.outcomes import ContactStatus, Stage
from decision_engine.rejections import PASSED
from decision_engine.strategy import AppliesTo, ContactWindow, RelatedContacts


def test_limit_lets_one_fewer_pass_than_it_names(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("card"), contact_limits=(bank.limit("twice", limit=2),))
    assert bank.offered(bank.answer(strategy, records=[bank.contact("card")])) == [["card"]]
    refused = bank.answer(strategy, records=[bank.contact("card"), bank.contact("card", 5)])
    assert bank.why(refused, "card") == (Stage.CONTACT_POLICY, "twice", "CAP")


@pytest.mark.parametrize(
    ("scope", "refused"),
    [
        (Scope.OFFER, {"same"}),
        (Scope.GROUP, {"same", "group"}),
        (Scope.ISSUE, {"same", "group", "issue"}),
        (Scope.CHANNEL, {"same", "group", "issue", "other"}),
        (Scope.ALL, {"same", "group", "issue", "other"}),
    ],
)
def test_limit_refuses_what_shares_its_scope(bank: SimpleNamespace, scope: Scope, refused: set[str]) -> None:
    strategy = bank.strategy(
        bank.offer("same"),
        bank.offer("group"),
        bank.offer("issue", group="loans"),
        bank.offer("other", group="help", issue="service"),
        contact_limits=(bank.limit(scope=scope),),
    )
    decision = bank.answer(strategy, bank.request("banner:5"), records=[bank.contact("same")])
    assert {c.offer for c in decision.candidates if c.stage is Stage.CONTACT_POLICY} == refused


def test_channel_limit_counts_only_its_channel(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("card"), contact_limits=(bank.limit(scope=Scope.CHANNEL),))
    elsewhere = bank.contact("card", channel=key32("sms"))
    assert bank.offered(bank.answer(strategy, records=[elsewhere])) == [["card"]]


def test_limit_of_one_name_leaves_the_others_alone(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("a"), bank.offer("b"), contact_limits=(bank.limit(of="a"),))
    decision = bank.answer(strategy, bank.request("banner:2"), records=[bank.contact("a"), bank.contact("b")])
    assert bank.offered(decision) == [["b"]]


def test_mandatory_offers_are_exempt_from_every_limit(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("recall", mandatory=True), contact_limits=(bank.limit(scope=Scope.ALL),))
    assert bank.offered(bank.answer(strategy, records=[bank.contact("recall")])) == [["recall"]]


def test_first_limit_that_refuses_is_the_reason(bank: SimpleNamespace) -> None:
    limits = (bank.limit("far", limit=9), bank.limit("near", code="NEAR"), bank.limit("later", code="LATER"))
    decision = bank.answer(bank.strategy(bank.offer("card"), contact_limits=limits), records=[bank.contact("card")])
    assert bank.why(decision, "card") == (Stage.CONTACT_POLICY, "near", "NEAR")


def test_rejection_suppresses_by_the_time_of_the_outcome(bank: SimpleNamespace) -> None:
    limit = bank.limit(
        statuses=ContactStatus.REJECT, clock=ContactClock.OUTCOME, window=ContactWindow(rolling_seconds=86_400)
    )
    strategy = bank.strategy(bank.offer("card"), contact_limits=(limit,))
    rejected = int(ContactStatus.IMPRESSION | ContactStatus.REJECT)
    lately = bank.contact("card", 30 * bank.DAY, status=rejected, outcome_ms=float(bank.NOW - bank.DAY))
    before = bank.contact("card", 30 * bank.DAY, status=rejected, outcome_ms=float(bank.NOW - bank.DAY - 1))
    seen = bank.contact("card")
    assert bank.offered(bank.answer(strategy, records=[lately])) == [[]]
    assert bank.offered(bank.answer(strategy, records=[before, seen])) == [["card"]]


def test_reservation_counts_until_it_lapses(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("card"), contact_limits=(bank.limit(),))
    reserved = int(ContactStatus.RESERVED)
    held = bank.contact("card", status=reserved, expires_ms=bank.NOW + 1.0)
    lapsed = bank.contact("card", status=reserved, expires_ms=float(bank.NOW))
    assert bank.offered(bank.answer(strategy, records=[held])) == [[]]
    assert bank.offered(bank.answer(strategy, records=[lapsed])) == [["card"]]


@pytest.mark.parametrize(
    ("zone", "now", "calendar", "start"),
    [
        ("Asia/Shanghai", "2026-11-21T17:50:00", "day", "2026-11-21T00:00:00"),
        ("Asia/Shanghai", "2026-11-21T00:00:00", "day", "2026-11-21T00:00:00"),
        ("Asia/Shanghai", "2026-11-22T23:59:59", "week", "2026-11-16T00:00:00"),
        ("Asia/Shanghai", "2026-11-16T00:00:00", "week", "2026-11-16T00:00:00"),
        ("Asia/Shanghai", "2026-03-01T08:00:00", "month", "2026-03-01T00:00:00"),
        ("Europe/Berlin", "2026-03-29T12:00:00", "day", "2026-03-29T00:00:00"),
        ("Europe/Berlin", "2026-10-25T12:00:00", "day", "2026-10-25T00:00:00"),
        ("Europe/Berlin", "2026-10-27T12:00:00", "month", "2026-10-01T00:00:00"),
        ("America/Sao_Paulo", "2018-11-04T12:00:00", "day", "2018-11-04T01:00:00"),
    ],
)
def test_calendar_windows_begin_at_local_midnight(zone: str, now: str, calendar: str, start: str) -> None:
    """In São Paulo that night clocks went from 23:59:59 to 01:00, so the day began at one."""
    place = ZoneInfo(zone)
    moment = int(datetime.fromisoformat(now).replace(tzinfo=place).timestamp() * 1000)
    expected = int(datetime.fromisoformat(start).replace(tzinfo=place).timestamp() * 1000)
    assert window_start_ms(ContactWindow(calendar=calendar), moment, place) == expected


def test_day_on_which_clocks_go_back_has_twenty_five_hours() -> None:
    place = ZoneInfo("Europe/Berlin")
    end = int(datetime(2026, 10, 26, tzinfo=place).timestamp() * 1000)
    assert end - window_start_ms(ContactWindow(calendar="day"), end - 1, place) == 25 * 3_600_000


def test_rolling_window_is_plain_seconds() -> None:
    window = ContactWindow(rolling_seconds=90)
    assert window_start_ms(window, 1_000_000, ZoneInfo("Europe/Berlin")) == 910_000


OFFERS = ("a", "b", "c")
WINDOWS = (
    ContactWindow(rolling_seconds=3600),
    ContactWindow(rolling_seconds=86_400, open_start=True),
    ContactWindow(calendar="day"),
    ContactWindow(calendar="month"),
)
ANSWERS = int(ContactStatus.ANY_RESPONSE & ~ContactStatus.IMPRESSION)


def any_limits(bank: SimpleNamespace) -> st.SearchStrategy[list[Any]]:
    one = st.builds(
        bank.limit,
        st.sampled_from(["l1", "l2", "l3"]),
        scope=st.sampled_from(list(Scope)),
        of=st.sampled_from([None, "a", "cards", "acquire", "mobile"]),
        statuses=st.sampled_from([1, 2, 4, 16, 127, 126]),
        without=st.sampled_from([0, ANSWERS]),
        direction=st.sampled_from(list(Direction)),
        related=st.sampled_from(
            [None, RelatedContacts(scope=Scope.OFFER, name="b"), RelatedContacts(scope=Scope.GROUP, name="loans")]
        ),
        applies_to=st.sampled_from(list(AppliesTo)),
        clock=st.sampled_from(list(ContactClock)),
        window=st.sampled_from(WINDOWS),
        limit=st.integers(1, 3),
    )
    return st.lists(one, max_size=3)


def any_records(bank: SimpleNamespace) -> st.SearchStrategy[list[Any]]:
    moments = st.integers(-1, 40 * 24 * 60).map(lambda minutes: float(bank.NOW - minutes * 60_000))
    one = st.builds(
        bank.contact,
        st.sampled_from((*OFFERS, "gone")),
        group=st.sampled_from([key32("cards"), key32("loans")]),
        channel=st.sampled_from([key32("mobile"), key32("sms")]),
        status=st.sampled_from([1, 2, 3, 6, 16, 18, 127]),
        flags=st.sampled_from([0, 0, OUTBOUND_FLAG, LOST_FLAG]),
        contact_ms=moments,
        outcome_ms=moments,
        expires_ms=moments,
    )
    return st.lists(one, max_size=12)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_counting_once_refuses_exactly_what_the_ledgers_own_rules_refuse(
    bank: SimpleNamespace, data: st.DataObject
) -> None:
    limits, records = data.draw(any_limits(bank)), data.draw(any_records(bank))
    outbound = data.draw(st.sampled_from([(), ("mobile",)]))
    offers = (
        bank.offer("a"),
        bank.offer("b", group="loans", purpose="service"),
        bank.offer("c", mandatory=True),
    )
    plan, rejections = plan_contacts(offers, limits, ZoneInfo("Asia/Shanghai"), 7, outbound)
    moment = ContactMoment(plan, key32("mobile"), bank.NOW)
    falls = screen_contacts(moment, records)
    for offer in range(len(offers)):
        refusal = first_refusal(moment.rules_for(offer), records, bank.NOW)
        number = PASSED if falls is None else int(falls[offer])
        assert (refusal.id if refusal else None) == (None if number == PASSED else rejections[number - 7].rule)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_full_ledger_never_lets_through_what_the_whole_one_refuses(
    bank: SimpleNamespace, data: st.DataObject
) -> None:
    """Whatever is dropped, in however many steps, every rule that refused refuses still."""
    records, limits = data.draw(any_records(bank)), data.draw(any_limits(bank))
    bound = data.draw(st.integers(1, 6))
    kept: tuple[Any, ...] = ()
    for record in records:  # as a ledger fills
        kept = bounded((*kept, record), bound)
    assert len(kept) <= bound
    plan, _ = plan_contacts((bank.offer("a"), bank.offer("b", group="loans")), limits, ZoneInfo("UTC"), 0)
    moment = ContactMoment(plan, key32("mobile"), bank.NOW)
    for offer in (0, 1):
        for rule in moment.rules_for(offer):
            if first_refusal([rule], records, bank.NOW) is not None:
                assert first_refusal([rule], kept, bank.NOW) is not None
