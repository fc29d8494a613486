"""What is kept beside day and hour rows: its bytes, how it is swept, and how large it may grow."""

import pytest

from decision_engine.errors import StateUnreadable
from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import (
    Aggregate,
    FeatureDeclarations,
    FeatureDefinition,
    Grouping,
    RollUp,
    Sequel,
    Window,
)
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.state import decode_state, encode_state
from decision_engine.features.tallies import read_tallies, write_tallies
from decision_engine.features.tally_fold import MAX_MOMENTS, MAX_VALUES
from decision_engine.features.update import PositionedUpdate, Update

DAY = 86_400_000
NOW = 1_760_000_000_000
POSTED, LOGIN = "bank.transaction.posted", "bank.channel.login"


def make_feature(name, aggregate, *windows, **overrides):
    values = {"source": POSTED, "theme": "t", "description": {}}
    return FeatureDefinition(name=name, aggregate=aggregate, windows=windows, **{**values, **overrides})


FEATURES = compile_features(
    FeatureDeclarations(
        time_zone="Asia/Shanghai",
        duplicate_memory=0,
        features=(
            make_feature("shop", Aggregate.TOP, Window("d", 7), field="counterparty"),
            make_feature("months", Aggregate.SUM, Window("mo", 2), field="amount"),
            make_feature("burst", Aggregate.COUNT, Window("m", 15)),
            make_feature(
                "accounts", Aggregate.COUNT, per=Grouping(field="account_id", over=RollUp.COUNT)
            ),
            make_feature(
                "pairs", Aggregate.SEQUENCE, Window("d", 7), then=Sequel(source=LOGIN, within_ms=DAY)
            ),
        ),
    )
)  # fmt: skip


class Customer:
    def __init__(self):
        self.state, self.offset = None, -1

    def post(self, time_ms=NOW, source=POSTED, **fields):
        self.offset += 1
        update = Update(event_key=self.offset, source=source, time_ms=time_ms, fields=fields)
        self.state = fold(FEATURES, self.state, [PositionedUpdate(0, self.offset, update)]).value

    def seen(self, now_ms=NOW):
        return read_snapshot(FEATURES, self.state, now_ms).attributes

    def kept(self):
        return read_tallies(decode_state(self.state, FEATURES.layout_bytes).tallies)


@pytest.fixture
def customer():
    return Customer()


def test_what_was_written_is_read_again(customer):
    customer.post(counterparty="老王", account_id="a", amount=2**40)
    customer.post(source=LOGIN, time_ms=NOW + 1)
    section = decode_state(customer.state, FEATURES.layout_bytes).tallies
    assert write_tallies(read_tallies(section)) == section
    assert customer.seen(NOW + 1) == {
        "shop_7d": "老王", "months_2mo": 2**40, "burst_15m": 1, "accounts": 1, "pairs_7d": 1, "product_count": 0,
    }  # fmt: skip


def test_an_event_that_touches_none_of_it_copies_it_through(customer):
    customer.post(counterparty="a", amount=1)
    before = decode_state(customer.state, FEATURES.layout_bytes).tallies
    customer.post(source="bank.channel.page_view", time_ms=NOW + 1)
    assert decode_state(customer.state, FEATURES.layout_bytes).tallies == before


@pytest.mark.parametrize("cut", [1, 10, 25])
def test_a_section_cut_short_is_refused(customer, cut):
    customer.post(counterparty="a", amount=1)
    state = decode_state(customer.state, FEATURES.layout_bytes)
    state.tallies = state.tallies[:-cut]
    with pytest.raises(StateUnreadable):
        read_snapshot(FEATURES, encode_state(state, FEATURES.layout_bytes, FEATURES.signature_width), NOW)


def test_counts_and_sums_grow_beyond_their_narrow_columns(customer):
    updates = [
        PositionedUpdate(0, number, Update(number, POSTED, NOW, {"amount": amount}))
        for number, amount in enumerate([1] * 70_000 + [2**40, -(2**41), *[2**53] * 1_100])
    ]
    customer.state = fold(FEATURES, None, updates[:70_002]).value
    assert customer.seen()["burst_15m"] == 70_002
    assert customer.seen()["months_2mo"] == 70_000 + 2**40 - 2**41
    customer.state = fold(FEATURES, customer.state, updates[70_002:]).value
    assert customer.seen()["months_2mo"] == 2**63 - 1


def test_what_no_window_reaches_is_swept(customer):
    for day in range(120):
        customer.post(NOW + day * DAY, counterparty=f"shop {day}", amount=day, account_id="a")
        customer.post(NOW + day * DAY + 1, source=LOGIN)
    kept = customer.kept()
    assert len(kept.keys) < (7 + 8) + 3 + 2
    assert len(kept.series) <= len(kept.keys)
    assert len(kept.values) < 7 + 8 + 1
    assert len(kept.moments) < 2 * (10 + 8)
    assert customer.seen(NOW + 119 * DAY + 1)["pairs_7d"] == 7


def test_beyond_its_room_the_value_not_seen_for_longest_is_forgotten(customer):
    for number in range(MAX_VALUES + 20):
        customer.post(NOW + number, counterparty=f"shop {number}")
    customer.post(NOW + DAY, counterparty="newest")
    customer.post(NOW + DAY, counterparty="newest")
    kept = customer.kept()
    assert len(kept.series) <= MAX_VALUES + 2
    assert customer.seen(NOW + DAY)["shop_7d"] == "newest"


def test_only_so_many_accounts_are_told_apart_whatever_their_order():
    names = [f"account {number}" for number in range(MAX_VALUES + 40)]
    told = []
    for order in (names, names[::-1]):
        customer = Customer()
        for name in order:
            customer.post(account_id=name)
        kept = customer.kept()
        told.append({kept.value_of(key & 0xFFFF) for key in kept.slots})
        assert customer.seen()["accounts"] == MAX_VALUES
    assert told[0] == told[1]


def test_only_the_newest_moments_are_known(customer):
    for number in range(MAX_MOMENTS + 30):
        customer.post(NOW + 2 * number)
        customer.post(NOW + 2 * number + 1, source=LOGIN)
    assert len(customer.kept().moments) == 2 * MAX_MOMENTS
    assert customer.seen(NOW + 1_000)["pairs_7d"] == MAX_MOMENTS


def test_erasure_forgets_it(customer):
    customer.post(counterparty="a", amount=1, account_id="a")
    customer.post(NOW + 1, source="bank.customer.erased")
    assert decode_state(customer.state, FEATURES.layout_bytes).tallies == b""
    customer.post(NOW + 2, source="bank.consent.changed", purpose="marketing", granted=True)
    customer.post(NOW + 3, amount=5)
    assert customer.seen(NOW + 3)["months_2mo"] == 5


def test_a_late_event_counts_for_accounts_and_for_no_window(customer):
    customer.post(NOW, account_id="a", amount=1)
    customer.post(NOW - 200 * DAY, account_id="b", amount=10)
    assert customer.seen()["accounts"] == 2
    assert customer.seen()["months_2mo"] == 1
