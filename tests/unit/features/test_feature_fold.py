"""What a fold does with positions, duplicates, lateness, erasure, holdings and consents; and how large it may grow."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.errors import StateUnreadable
from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    FeatureDeclarations,
    FeatureDefinition,
    ProfileAttribute,
    Window,
)
from decision_engine.features.distinct_values import MAX_DISTINCT
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.state import decode_state, encode_state, state_version
from decision_engine.features.update import PositionedUpdate, Update

DAY = 86_400_000
NOW = 1_770_000_000_000


def make_features(**overrides):
    week = (Window("d", 7),)
    values = {
        "time_zone": "Asia/Shanghai",
        "duplicate_memory": 4,
        "profile": (
            ProfileAttribute(name="age", type=AttributeType.INT, theme="t", description={}),
            ProfileAttribute(name="income", type=AttributeType.DOUBLE, theme="t", description={}),
        ),
        "features": (
            make_feature("n", Aggregate.COUNT, windows=week),
            make_feature("s", Aggregate.SUM, field="amount", windows=week),
            make_feature("ever", Aggregate.COUNT),
            make_feature("kinds", Aggregate.DISTINCT, field="category", windows=week),
            make_feature("last", Aggregate.LAST, field="category"),
        ),
    }
    return compile_features(FeatureDeclarations(**{**values, **overrides}))


def make_feature(name, aggregate, **overrides):
    values = {"source": "bank.transaction.posted", "theme": "t", "description": {}}
    return FeatureDefinition(name=name, aggregate=aggregate, **{**values, **overrides})


FEATURES = make_features()


class Customer:
    """Feeds events one by one and reads what is known."""

    def __init__(self, features=FEATURES):
        self.features, self.state, self.offset = features, None, 0

    def take(self, source, time_ms=NOW, *, key=None, offset=None, attributes=None, **fields):
        self.offset += 1
        update = Update(
            event_key=key or self.offset,
            source=source,
            time_ms=time_ms,
            fields=fields,
            attributes=attributes or {},
        )
        folded = fold(self.features, self.state, [PositionedUpdate(0, offset or self.offset, update)])
        self.state = folded.value
        return folded

    def post(self, time_ms=NOW, **fields):
        return self.take("bank.transaction.posted", time_ms, **fields)

    def seen(self, now_ms=NOW):
        return read_snapshot(self.features, self.state, now_ms)


@pytest.fixture
def customer():
    return Customer()


def test_without_a_state_the_customer_is_unknown():
    snapshot = read_snapshot(FEATURES, None, NOW)
    assert not snapshot.known
    assert snapshot.attributes == {}


def test_a_record_at_or_before_the_position_is_repeated_and_changes_nothing(customer):
    customer.post(amount=5, offset=10)
    before = customer.state
    folded = customer.post(amount=5, offset=10)
    assert (folded.repeated, folded.changed, folded.value) == (1, False, before)


def test_positions_are_kept_per_topic():
    update = Update(event_key=1, source="bank.transaction.posted", time_ms=NOW)
    other = Update(event_key=2, source="bank.transaction.posted", time_ms=NOW)
    state = fold(FEATURES, None, [PositionedUpdate(3, 7, update)]).value
    folded = fold(FEATURES, state, [PositionedUpdate(0, 7, other), PositionedUpdate(3, 7, other)])
    assert (folded.applied, folded.repeated) == (1, 1)


def test_a_remembered_event_is_a_duplicate_and_moves_the_position_only(customer):
    customer.post(amount=5, key=77)
    folded = customer.post(amount=5, key=77)
    assert (folded.duplicates, folded.applied, folded.changed) == (1, 0, True)
    assert customer.seen().attributes["s_7d"] == 5


def test_the_memory_holds_the_newest_keys_only(customer):
    for key in (1, 2, 3, 4, 5):
        customer.post(amount=1, key=key)
    assert customer.post(amount=1, key=2).duplicates == 1
    assert customer.post(amount=1, key=1).applied == 1


def test_without_a_memory_every_event_counts():
    customer = Customer(make_features(duplicate_memory=0))
    customer.post(key=1)
    assert customer.post(key=1).applied == 1


def test_an_event_older_than_every_window_is_late_and_counts_for_the_whole_life_only(customer):
    customer.post(amount=5)
    assert customer.post(NOW - 6 * DAY, amount=10).late == 0
    folded = customer.post(NOW - 7 * DAY, amount=100)
    assert (folded.late, folded.applied) == (1, 0)
    attributes = customer.seen().attributes
    assert (attributes["s_7d"], attributes["n_7d"], attributes["ever"]) == (15, 2, 3)


def test_an_old_profile_update_is_never_late(customer):
    customer.post(amount=5)
    folded = customer.take("bank.profile.updated", NOW - 900 * DAY, attributes={"age": 40})
    assert (folded.late, folded.applied) == (0, 1)
    assert customer.seen().attributes["age"] == 40


def test_a_moment_outside_the_calendar_is_late(customer):
    assert customer.post(9_000_000_000_000_000, amount=1).late == 1
    assert customer.seen().newest_event_ms is None


def test_the_write_counter_rises_with_every_change(customer):
    customer.post(amount=1)
    first = state_version(customer.state)
    customer.post(amount=1)
    assert state_version(customer.state) == first + 1


def test_profile_values_of_another_type_or_name_are_left_out(customer):
    customer.take("bank.profile.updated", attributes={"age": "old", "income": 7, "shoe_size": 43})
    attributes = customer.seen().attributes
    assert "age" not in attributes
    assert "shoe_size" not in attributes
    assert attributes["income"] == 7.0
    assert isinstance(attributes["income"], float)


def test_the_newest_consent_wins_and_at_the_same_moment_the_refusal(customer):
    for time_ms, granted in ((NOW, True), (NOW - 1, False)):
        customer.take("bank.consent.changed", time_ms, purpose="marketing", granted=granted)
    assert customer.seen().consents == {"marketing": True}
    customer.take("bank.consent.changed", NOW, purpose="marketing", granted=False)
    customer.take("bank.consent.changed", NOW, purpose="marketing", granted=True)
    assert customer.seen().consents == {"marketing": False}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_openings_and_closings_count_by_their_time(customer, order):
    moves = [("opened", NOW), ("closed", NOW + 1), ("opened", NOW + 2)]
    for number in order:
        what, time_ms = moves[number]
        customer.take(f"bank.product.{what}", time_ms, product="gold_card", account_id="a")
    assert customer.seen().holdings == {"gold_card"}
    assert customer.seen().attributes["product_count"] == 1


def test_a_product_is_held_while_any_account_of_it_is_open(customer):
    for account in ("a", "b"):
        customer.take("bank.product.opened", NOW, product="deposit", account_id=account)
    customer.take("bank.product.closed", NOW + 1, product="deposit", account_id="a")
    assert customer.seen().holdings == {"deposit"}
    customer.take("bank.product.closed", NOW + 1, product="deposit", account_id="b")
    assert customer.seen().holdings == frozenset()


def test_closing_without_an_account_closes_all_that_were_open(customer):
    customer.take("bank.product.opened", NOW, product="deposit", account_id="a")
    customer.take("bank.product.closed", NOW + 1, product="deposit")
    assert customer.seen().holdings == frozenset()
    customer.take("bank.product.opened", NOW + 2, product="deposit", account_id="c")
    assert customer.seen().holdings == {"deposit"}


def test_opening_and_closing_at_the_same_moment_leaves_nothing(customer):
    customer.take("bank.product.closed", NOW, product="deposit")
    customer.take("bank.product.opened", NOW, product="deposit")
    assert customer.seen().holdings == frozenset()


def test_an_erased_customer_is_unknown_empty_and_refused_everything(customer):
    customer.post(amount=5, category="travel")
    customer.take("bank.profile.updated", attributes={"age": 40})
    customer.take("bank.consent.changed", purpose="sms", granted=True)
    size = len(customer.state)
    customer.take("bank.customer.erased", NOW + 1)
    snapshot = customer.seen(NOW + 2)
    assert not snapshot.known
    assert snapshot.attributes == {}
    assert snapshot.holdings == frozenset()
    assert snapshot.consents == {"marketing": False, "personalisation": False, "sms": False}
    assert b"travel" not in customer.state
    assert len(customer.state) < size


def test_after_erasure_nothing_is_kept_until_a_consent_is_granted(customer):
    customer.post(amount=5)
    customer.take("bank.customer.erased", NOW + 1)
    assert customer.post(NOW + 2, amount=7).refused == 1
    assert customer.take("bank.consent.changed", NOW + 3, purpose="marketing", granted=False).refused == 1
    assert not customer.seen(NOW + 4).known
    assert customer.take("bank.consent.changed", NOW + 5, purpose="marketing", granted=True).applied == 1
    assert customer.post(NOW + 6, amount=11).applied == 1
    assert customer.post(NOW, amount=13).refused == 1
    snapshot = customer.seen(NOW + 7)
    assert snapshot.known
    assert snapshot.attributes["s_7d"] == 11
    assert snapshot.consents == {"marketing": True, "personalisation": False}


def test_distinct_counts_are_exact_up_to_their_bound(customer):
    for number in range(MAX_DISTINCT):
        customer.post(category=f"c{number}")
    assert customer.seen().attributes["kinds_7d"] == MAX_DISTINCT
    customer.post(category="c3")
    assert customer.seen().attributes["kinds_7d"] == MAX_DISTINCT


def test_sums_and_counts_grow_beyond_their_narrow_columns():
    customer = Customer(make_features(duplicate_memory=0))
    updates = [
        PositionedUpdate(
            0, number, Update(event_key=0, source="bank.transaction.posted", time_ms=NOW, fields={"amount": amount})
        )
        for number, amount in enumerate([1] * 70_000 + [2**40, -(2**41)])
    ]
    customer.state = fold(customer.features, None, updates).value
    attributes = customer.seen().attributes
    assert attributes["n_7d"] == 70_002
    assert attributes["s_7d"] == 70_000 + 2**40 - 2**41


def test_sums_that_leave_64_bits_stay_at_the_end():
    customer = Customer(make_features(duplicate_memory=0))
    update = Update(event_key=0, source="bank.transaction.posted", time_ms=NOW, fields={"amount": 2**53})
    customer.state = fold(customer.features, None, [PositionedUpdate(0, n, update) for n in range(1100)]).value
    assert customer.seen().attributes["s_7d"] == 2**63 - 1


def test_rows_outside_every_window_are_swept(customer):
    for day in range(200):
        customer.post(NOW + day * DAY, amount=day, category=f"c{day}")
    kept = decode_state(customer.state, FEATURES.layout_bytes)
    assert len(kept.keys) < 7 + 8
    assert len(kept.distinct) == 7


def test_more_combinations_than_signatures_still_count_exactly():
    """Twelve filters that meet in any combination: 4096 of them, one row each, then one row a stream."""
    filters = [f"results % {2 << bit} >= {1 << bit}" for bit in range(12)]
    features = make_features(
        duplicate_memory=0,
        features=tuple(
            make_feature(
                f"f{bit}", Aggregate.COUNT, source="bank.channel.search", where=where, windows=(Window("d", 7),)
            )
            for bit, where in enumerate(filters)
        ),
    )
    updates = [
        PositionedUpdate(
            1, number, Update(event_key=0, source="bank.channel.search", time_ms=NOW, fields={"results": number})
        )
        for number in range(4096)
    ]
    state = fold(features, None, updates).value
    attributes = read_snapshot(features, state, NOW).attributes
    assert [attributes[f"f{bit}_7d"] for bit in range(12)] == [2048] * 12
    assert len(decode_state(state, features.layout_bytes).signatures) // features.signature_width <= 1024 + 12


def test_a_state_taken_apart_and_put_together_is_the_same(customer):
    customer.post(amount=5, category="a")
    customer.take("bank.product.opened", product="deposit", account_id="a")
    customer.take("bank.profile.updated", attributes={"age": 3})
    taken = decode_state(customer.state, FEATURES.layout_bytes)
    assert encode_state(taken, FEATURES.layout_bytes, FEATURES.signature_width) == customer.state


@pytest.mark.parametrize(
    "damage", [lambda s: b"", lambda s: b"KS" + b"\0" * 20, lambda s: s[:-1], lambda s: b"XX" + s[2:]]
)
def test_foreign_bytes_are_refused(customer, damage):
    customer.post(amount=5)
    with pytest.raises(StateUnreadable):
        read_snapshot(FEATURES, damage(customer.state), NOW)
    with pytest.raises(StateUnreadable):
        fold(FEATURES, damage(customer.state), [])


def test_a_state_of_another_layout_is_refused(customer):
    customer.post(amount=5)
    with pytest.raises(StateUnreadable, match="written for layout"):
        read_snapshot(make_features(time_zone="Europe/Berlin"), customer.state, NOW)


def test_what_one_topic_brings_pushes_out_nothing_that_another_remembers():
    def posted(topic, offset, key):
        return PositionedUpdate(topic, offset, Update(key, "bank.transaction.posted", NOW, {"amount": 1}))

    burst = [posted(0, offset, 100 + offset) for offset in range(50)]
    state = fold(FEATURES, None, [posted(4, 0, 1), *burst]).value
    folded = fold(FEATURES, state, [posted(4, 1, 1), posted(0, 50, 149), posted(0, 51, 146), posted(0, 52, 100)])
    assert (folded.duplicates, folded.applied) == (3, 1), "of its own topic the burst pushes out the oldest"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_repeat_counts_once_in_whatever_order_topics_are_read(data):
    """A catch-up reads one topic after the other, in batches of any size; live they come side by side."""
    topics = data.draw(st.lists(st.lists(st.integers(1, 9), max_size=25), min_size=2, max_size=5))
    logs = [
        [
            PositionedUpdate(topic, offset, Update(topic << 16 | key, "bank.transaction.posted", NOW + key))
            for offset, key in enumerate(keys)
        ]
        for topic, keys in enumerate(topics)
    ]
    one_by_one = [update for log in logs for update in log]
    mixed, waiting = [], [list(log) for log in logs if log]
    while waiting:
        log = data.draw(st.sampled_from(waiting))
        mixed.append(log.pop(0))
        waiting = [log for log in waiting if log]
    size = data.draw(st.integers(1, 30))
    live = caught_up = None
    for update in mixed:
        live = fold(FEATURES, live, [update]).value
    for start in range(0, len(one_by_one), size):
        caught_up = fold(FEATURES, caught_up, one_by_one[start : start + size]).value
    assert read_snapshot(FEATURES, live, NOW + 10) == read_snapshot(FEATURES, caught_up, NOW + 10)
