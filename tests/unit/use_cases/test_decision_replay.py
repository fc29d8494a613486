"""A decision computed again from its record has the same bytes."""

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.use_cases.decision_record import RecordUnreadable
from services.use_cases.decision_replay import Replay, ReplayImpossible, replay_decision
from services.use_cases.explain_decision import DecidingStrategies, DecisionUnknown, ExplainDecision


class Doubling:
    """A scorer that reads the customer's age."""

    def __init__(self, version: str = "m1", *, fails: bool = False) -> None:
        from decision_engine.propensity import Column, ColumnSource, FeatureSchema

        self.version = version
        self.schema = FeatureSchema((Column(name="age", source=ColumnSource.ATTRIBUTE),))
        self._fails = fails

    def score(self, matrix: Any) -> Any:
        if self._fails:
            raise RuntimeError
        return matrix[:, 0] / 200


def with_scorers(bank: Any, scorers: dict[str, Any]) -> None:
    from dataclasses import replace

    bank.live = replace(bank.live, scorers=scorers)


@given(
    age=st.integers(0, 99),
    spent=st.integers(0, 10**12),
    page=st.none() | st.text(max_size=20),
    counts=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    duplicates=st.booleans(),
    broken=st.sets(st.sampled_from(["read", "reserve"])),
    scorer=st.sampled_from(["none", "sound", "failing"]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_every_record_replays_byte_for_byte(
    small_bank: Any, command: Any, age: int, spent: int, page: str | None, counts: Any, duplicates: bool,
    broken: set[str], scorer: str,
) -> None:  # fmt: skip
    from services.use_cases.make_decision import DecisionPorts, MakeDecision

    bank = small_bank.Bank()
    scorers = {"none": {}, "sound": {"cross_sell": Doubling()}, "failing": {"cross_sell": Doubling(fails=True)}}[scorer]
    with_scorers(bank, scorers)
    bank.store.states["retail:1"] = small_bank.state(bank.live.features, {"age": age}, spent)
    bank.store.fail |= broken
    make = MakeDecision(
        DecisionPorts(
            live=lambda: bank.live, store=bank.store, ledger=bank.store, publisher=bank.bus, clock=bank.clock,
            ids=bank.ids, metrics=bank.metrics,
        )
    )  # fmt: skip
    context = {} if page is None else {"page": page}
    places = (f"home_banner:{counts[0]}", f"card_page_tile:{counts[1]}")
    for _ in range(2):  # the second finds a ledger
        await make(command(*places, context=context, allow_duplicates=duplicates, request_id=None))
        bank.clock.moment += 60_000
    for event in bank.bus.events:
        assert replay_decision(event.value, bank.live.prepared, bank.live.wording, scorers) == event.value


async def test_a_tampered_record_is_found_out(bank: Any, make_decision: Any, command: Any) -> None:
    await make_decision(command())
    record = bank.bus.events[0].value
    tampered = record.replace(b'"age":40', b'"age":17')
    assert tampered != record
    replay = Replay(record=tampered, recomputed=replay_decision(tampered, bank.live.prepared, bank.live.wording, {}))
    assert not replay.identical
    assert replay.first_difference is not None


async def test_a_record_of_another_strategy_or_model_cannot_be_replayed(
    small_bank: Any, bank: Any, make_decision: Any, command: Any
) -> None:
    with_scorers(bank, {"cross_sell": Doubling()})
    await make_decision(command())
    record = bank.bus.events[0].value
    with pytest.raises(ReplayImpossible, match="cross_sell"):
        replay_decision(record, bank.live.prepared, bank.live.wording, {"cross_sell": Doubling("m2")})
    with pytest.raises(ReplayImpossible, match="strategy-1"):
        replay_decision(record, small_bank.live(version="strategy-2").prepared, bank.live.wording, {})


@pytest.mark.parametrize(
    "junk", [b"", b"[]", b"{}", b'{"data": 1}', b'{"data": {}}', b'{"data": {"strategy_version": "strategy-1"}}']
)
def test_junk_is_no_record(bank: Any, junk: bytes) -> None:
    with pytest.raises((RecordUnreadable, ReplayImpossible)):
        replay_decision(junk, bank.live.prepared, bank.live.wording, {})


class Archive:
    """Holds one record."""

    def __init__(self, decision_id: str, record: bytes) -> None:
        self.kept = {decision_id: record}

    async def read_decision(self, decision_id: str) -> bytes | None:
        return self.kept.get(decision_id)


async def test_a_record_is_found_in_the_store_then_in_the_archive(bank: Any, make_decision: Any, command: Any) -> None:
    decision_id = orjson.loads(await make_decision(command()))["decision_id"]
    record = bank.store.records[decision_id]
    strategies = DecidingStrategies(at_hand=lambda: bank.live.prepared)
    explain = ExplainDecision(store=bank.store, strategies=strategies, archive=Archive(decision_id, record))
    assert (await explain.replay(decision_id, lambda _: {})).identical
    bank.store.records.clear()
    assert await explain.record(decision_id) == record
    with pytest.raises(DecisionUnknown):
        await explain("unknown")


def test_every_field_of_a_question_is_in_its_record(bank: Any) -> None:
    """A field that deciding may read and the record does not keep would be missing from every replay."""
    from dataclasses import MISSING, fields

    from decision_engine.customer import UNKNOWN_CUSTOMER
    from decision_engine.decision import DecisionRequest, PlacementRequest
    from decision_engine.engine import decide, settle
    from services.use_cases.decision_record import DecisionInputs, encode_record, record_data
    from services.use_cases.decision_replay import _request

    request = DecisionRequest(
        decision_id="01J", customer_id="retail:9", channel="mobile", now_ms=1_795_254_600_123,
        placements=(PlacementRequest(id="home_banner", count=2), PlacementRequest(id="agent_panel", count=1)),
        context={"page": "cards", "basket": 7}, locale="en", allow_duplicates=True,
        degraded_causes=("ledger_unavailable",), held_until_ms=1_795_340_000_000, switches=("offer:other",),
        shown=("gold_card",),
    )  # fmt: skip
    for field in fields(DecisionRequest):
        if field.name == "online":
            continue  # recorded as far as it was used: test_online_records
        made = field.default_factory() if field.default_factory is not MISSING else field.default
        assert getattr(request, field.name) != made, f"{field.name} is not tried"
    prepared = bank.live.prepared
    draft = decide(prepared, request, UNKNOWN_CUSTOMER, (), {})
    decision = settle(prepared, draft, [0 for _ in draft.reservation.positions])
    inputs = DecisionInputs(
        client="app", request_id=None, request=request, ledger=None, feature_layout="0" * 16, took_ms=1.0
    )
    assert _request(record_data(encode_record(decision, inputs, bank.live.wording))) == request
