"""Events off the wire in any order, repeated, late, and between them what no event is: what is served equals a naive
recomputation from the raw events that shares no code with the engine."""

import json
import tempfile
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from loadtests.feature_oracle import FeatureOracle
from loadtests.moment_banks import EVERY_AGGREGATE
from loadtests.served_moments import equal
from services.bootstrap import load_strategy_at
from services.ports import Delivery
from services.use_cases.event_batches import read_batch

CUSTOMER = "retail:7"
START = datetime(2025, 3, 20, tzinfo=UTC)
"""Ten days before the clocks change in Prague."""
HEAD = """
name: every
duplicate_memory: 32
time_zone: Europe/Prague
currency: CZK
locales: [en]
consents: [{name: marketing, default: granted, text: {en: Marketing}}]
profile: [{name: age, type: int, theme: basic, description: {en: Age}}]
"""
TOPICS = {
    "bank.transaction.posted": "bank.transactions.v1",
    "bank.product.opened": "bank.profile-updates.v1",
    "bank.product.closed": "bank.profile-updates.v1",
    "bank.profile.updated": "bank.profile-updates.v1",
}


@lru_cache(maxsize=1)
def online_and_offline():
    """The features as the service compiles them, and the oracle, of one strategy."""
    with tempfile.TemporaryDirectory() as name:
        strategy = Path(name)
        (strategy / "strategy.yaml").write_text(HEAD, encoding="utf-8")
        text = (EVERY_AGGREGATE / "postings.yaml").read_text(encoding="utf-8")
        (strategy / "features.yaml").write_text(text.replace('zh-CN: "检验", ', ""), encoding="utf-8")
        return load_strategy_at(strategy).features, FeatureOracle(strategy)


moments = st.builds(
    lambda day, minute, millis: START + timedelta(days=day, minutes=minute, milliseconds=millis),
    st.integers(0, 40) | st.sampled_from([-3, -700, -1500]),
    st.integers(0, 1439) | st.sampled_from([0, 119, 120, 1379, 1380]),
    st.sampled_from([0, 0, 1, 999]),
)
postings = st.fixed_dictionaries(
    {
        "account_id": st.sampled_from(["1", "2"]),
        "direction": st.sampled_from(["credit", "debit"]),
        "amount": st.integers(1, 900_000) | st.just(3_000_000_000),
        "currency": st.just("CZK"),
        "balance_after": st.integers(-5_000, 10_000_000),
        "kind": st.sampled_from(["card", "transfer_in", "transfer_out", "salary"]),
    },
    optional={"category": st.sampled_from(["household", "dining", "fuel"]), "counterparty": st.sampled_from("abc")},
)
openings = st.fixed_dictionaries(
    {"product": st.sampled_from(["gold_card", "personal_loan"])}, optional={"account_id": st.sampled_from("xy")}
)
happenings = st.one_of(
    st.tuples(st.just("bank.transaction.posted"), postings),
    st.tuples(st.just("bank.transaction.posted"), postings),
    st.tuples(st.sampled_from(["bank.product.opened", "bank.product.closed"]), openings),
    st.tuples(st.just("bank.profile.updated"), st.builds(lambda n: {"attributes": {"age": n}}, st.integers(18, 60))),
)
malformed = st.sampled_from(
    [
        b"",
        b"{",
        b"null",
        b'{"specversion": "1.0"}',
        json.dumps({"specversion": "1.0", "type": "bank.transaction.posted", "source": "core", "id": "x",
                    "subject": CUSTOMER, "time": "2025-03-20T10:00:00Z", "data": {"amount": "many"}}).encode(),
        json.dumps({"specversion": "1.0", "type": "bank.nothing.known", "source": "core", "id": "y",
                    "subject": CUSTOMER, "time": "2025-03-20T10:00:00Z", "data": {}}).encode(),
    ]
)  # fmt: skip


def written(number, event_type, moment, data):
    event = {
        "specversion": "1.0", "type": event_type, "datacontenttype": "application/json", "source": "core",
        "dataschema": f"https://schemas.kairos.example/events/{event_type}/1", "id": f"e{number}",
        "subject": CUSTOMER, "time": moment.isoformat().replace("+00:00", "Z"), "data": data,
    }  # fmt: skip
    return TOPICS[event_type], json.dumps(event).encode()


@settings(max_examples=80, deadline=None)
@given(
    events=st.lists(st.tuples(happenings, moments), min_size=1, max_size=30),
    noise=st.lists(malformed, max_size=5),
    repeats=st.lists(st.integers(0, 29), max_size=8),
    order=st.randoms(use_true_random=False),
    cut=st.integers(0, 40),
    later_minutes=st.integers(0, 60 * 24 * 50),
)
def test_what_is_served_equals_the_raw_events_whatever_arrives_how(events, noise, repeats, order, cut, later_minutes):
    compiled, oracle = online_and_offline()
    valid = [written(number, kind, moment, data) for number, ((kind, data), moment) in enumerate(events)]
    records = [*valid, *(("bank.transactions.v1", value) for value in noise)]
    order.shuffle(records)
    records += [valid[number % len(valid)] for number in repeats]
    deliveries = [Delivery(t, 0, n, CUSTOMER.encode(), value, ()) for n, (t, value) in enumerate(records)]

    state, unreadable = None, 0
    for part in (deliveries[:cut], deliveries[cut:]):
        batch = read_batch(part, None)
        unreadable += len(batch.unreadable)
        for updates in batch.updates.values():
            state = fold(compiled, state, updates).value

    newest = max(moment for _, moment in events)
    now_ms = round((newest + timedelta(minutes=later_minutes)).timestamp() * 1000)
    served = read_snapshot(compiled, state, now_ms).attributes
    expected = oracle.attributes(oracle.history([(value, 0) for _, value in valid]), now_ms, now_ms)

    assert unreadable == len(noise)
    assert {
        name for name in served.keys() | expected.keys() if not equal(served.get(name), expected.get(name))
    } == set()
