"""A decision's candidates as columns: nothing is lost but digits, and thousands of them fit a small record."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.candidate_coding import CandidateCoding, CodedCandidatesUnreadable, decode_candidates
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Candidate, Decision, DecisionRequest, PlacementRequest
from decision_engine.engine import decide, settle
from decision_engine.features.definitions import AttributeType, FeatureDeclarations, ProfileAttribute
from decision_engine.features.dictionary import attribute_infos
from decision_engine.offers import Offer, Placement, Rule, Treatment
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from decision_engine.small_integers import ColumnUnreadable, code_column, code_flags, decode_column, decode_flags
from decision_engine.strategy import Experiment, Exploration
from services.adapters.file_strategy_source import load_strategy_file
from services.use_cases.decision_answer import word
from services.use_cases.decision_record import DecisionInputs, encode_record, expanded_record

GOLDEN = Path(__file__).parents[2] / "golden" / "decisions" / "strategy.yaml"
NOW = 1_795_254_600_123
LIMIT_BYTES = 20_000
FACTORS = ("propensity", "context_weight", "lever", "resource_cost", "priority", "selection_probability")


@given(st.lists(st.integers(0, 65_535), max_size=300) | st.lists(st.sampled_from([0, 1, 2]), max_size=3_000))
def test_a_column_comes_back_as_it_was(numbers: list[int]) -> None:
    text = code_column(np.array(numbers, np.intp))
    assert decode_column(text, len(numbers)).tolist() == numbers


@given(st.lists(st.booleans(), max_size=100))
def test_flags_come_back_as_they_were(flags: list[bool]) -> None:
    assert decode_flags(code_flags(np.array(flags, np.bool_)), len(flags)).tolist() == flags


def test_long_runs_and_small_numbers_take_little_room() -> None:
    assert len(code_column(np.repeat(np.array([3, 1, 2]), 2_000))) <= 17
    assert len(code_column(np.arange(4_000) % 200)) <= 4_000 * 4 / 3 + 4


@pytest.mark.parametrize("text", ["", "b", "x AAAA", "bAAA", "b!!!!", "wAA==", "rAAAA", "b\u00e9"])
def test_what_is_no_column_is_refused(text: str) -> None:
    with pytest.raises(ColumnUnreadable):
        decode_column(text, 5)


class Table:
    """A model with a chance for every row, all of them different."""

    version = "table-1"
    schema = FeatureSchema((Column(name="base_rate", source=ColumnSource.OFFER),))

    def score(self, matrix: Any) -> Any:
        return 0.001 + 0.0613579 * (1 + np.arange(len(matrix)) % 997) / 997


def decided(prepared: PreparedStrategy, request: DecisionRequest, snapshot: CustomerSnapshot) -> Decision:
    draft = decide(prepared, request, snapshot, (), {"cross_sell": Table()})
    return settle(prepared, draft, [0 if position else None for position in draft.reservation.positions])


def assert_same(coded: Sequence[Candidate], original: Sequence[Candidate]) -> None:
    assert len(coded) == len(original)
    for found, candidate in zip(coded, original, strict=True):
        assert found._replace(**dict.fromkeys(FACTORS)) == candidate._replace(**dict.fromkeys(FACTORS))
        for name in FACTORS:
            one, other = getattr(found, name), getattr(candidate, name)
            assert (one is None) == (other is None)
            assert one is None or one == pytest.approx(other, rel=1e-5, abs=1e-9), name


@pytest.fixture(scope="module")
def golden() -> PreparedStrategy:
    return prepare(load_strategy_file(GOLDEN))


@given(
    age=st.integers(10, 90), balance=st.integers(0, 9_000), level=st.integers(0, 6),
    held=st.sets(st.sampled_from(["gold_card", "debit_card"])), profiling=st.booleans(), marketing=st.booleans(),
    placements=st.lists(st.sampled_from(["home_banner", "card_tile", "nowhere"]), min_size=1, max_size=3, unique=True),
    arm=st.sampled_from(["none", "random_eligible", "holdout", "no_levers", "propensity_only", "prior"]),
    epsilon=st.sampled_from([0.0, 0.3]), number=st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_decoded_candidates_are_those_of_the_decision(
    golden: PreparedStrategy, age: int, balance: int, level: int, held: set[str], profiling: bool, marketing: bool,
    placements: list[str], arm: str, epsilon: float, number: int,
) -> None:  # fmt: skip
    strategy = golden.strategy
    if arm != "none":
        strategy = replace(strategy, experiment=Experiment(salt="s", shares={arm: 1.0}))
    if epsilon:
        strategy = replace(strategy, exploration=Exploration(kind="epsilon_greedy", epsilon=epsilon))
    prepared = golden if strategy is golden.strategy else prepare(strategy)
    request = DecisionRequest(
        decision_id=f"d{number}", customer_id="retail:1", channel="mobile", now_ms=NOW, locale="en",
        placements=tuple(PlacementRequest(id=place, count=2) for place in placements),
    )  # fmt: skip
    snapshot = CustomerSnapshot(
        known=True,
        attributes={"age": age, "balance": balance, "risk_level": level, "risk_assessed_at": NOW - 1_000},
        holdings=frozenset(held),
        consents={"profiling": profiling, "marketing": marketing},
    )
    decision = decided(prepared, request, snapshot)
    coded = orjson.loads(orjson.dumps(CandidateCoding().code(decision.candidates)))
    assert_same(decode_candidates(coded, prepared), decision.candidates)


def test_candidates_of_another_strategy_are_refused_rather_than_misread(golden: PreparedStrategy) -> None:
    request = DecisionRequest(
        decision_id="d", customer_id="retail:1", channel="mobile", now_ms=NOW, locale="en",
        placements=(PlacementRequest(id="home_banner", count=1),),
    )  # fmt: skip
    decision = decided(golden, request, CustomerSnapshot(known=True, attributes={"age": 40, "balance": 5_000}))
    coded = CandidateCoding().code(decision.candidates)
    fewer = prepare(replace(golden.strategy, offers=golden.strategy.offers[1:]))
    with pytest.raises(CodedCandidatesUnreadable):
        decode_candidates(coded, fewer)
    for broken in ({}, coded | {"outcomes": []}, coded | {"factors": {}}, coded | {"placements": 1}):
        with pytest.raises(CodedCandidatesUnreadable):
            decode_candidates(broken, golden)


PLACES = ("home", "cards", "wealth", "more")


def large_strategy(base: PreparedStrategy, threshold: int) -> PreparedStrategy:
    """1,000 offers of 5 treatments over 4 placements, six rules each with names of their own, 250 attributes. The
    higher the threshold, the more offers pass; from 100 on all do."""

    def offer(number: int) -> Offer:
        name = f"offer_{number:04}"
        rules = tuple(
            Rule(
                id=f"{name}_{part}",
                when=f"a{(number * 7 + part) % 250} >= {(number * 31 + part * 17) % 100 - threshold}",
                code=f"NOT_FOR_{part}",
                text={"en": "no"},
            )
            for part in range(6)
        )
        treatments = tuple(
            Treatment(name=f"{name}.mobile.t{t}", channel="mobile", placements=(PLACES[(number + t) % 4],), content={})
            for t in range(5)
        )
        return Offer(
            name=name, group=f"group_{number % 40}", issue="acquire", value=1_000 + number * 17, base_rate=0.02,
            lever=float(number % 3), model="cross_sell", title={"en": name}, treatments=treatments, purpose="marketing",
            eligibility=rules[:3], applicability=rules[3:],
        )  # fmt: skip

    places = {
        name: Placement(id=name, channel="mobile", max_count=3, fallback_treatment="generic", fallback_content={})
        for name in PLACES
    }
    offers = tuple(offer(number) for number in range(1_000))
    attributes = tuple(
        ProfileAttribute(name=f"a{number}", type=AttributeType.INT, theme="basic", description={"en": "A number"})
        for number in range(250)
    )
    declarations = FeatureDeclarations(time_zone="Asia/Shanghai", profile=attributes, features=(), context=())
    return prepare(
        replace(
            base.strategy, offers=offers, placements=places, required_models=frozenset(), suitability=None,
            declarations=declarations, dictionary=attribute_infos(declarations),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("threshold", "least", "most"), [(0, 0, 0.3), (25, 0.3, 0.7), (40, 0.7, 0.95), (100, 1, 1)], ids=str
)
def test_five_thousand_candidates_fit_twenty_kilobytes(
    golden: PreparedStrategy, threshold: int, least: float, most: float
) -> None:
    """From nearly all rejected, each by a rule of its own, to all of them scored, each with a chance of its own."""
    prepared = large_strategy(golden, threshold)
    request = DecisionRequest(
        decision_id="d", customer_id="retail:1", channel="mobile", now_ms=NOW, locale="en",
        placements=tuple(PlacementRequest(id=place, count=2) for place in PLACES),
    )  # fmt: skip
    snapshot = CustomerSnapshot(known=True, attributes={f"a{number}": 40 + number * 13 % 60 for number in range(250)})
    decision = decided(prepared, request, snapshot)
    inputs = DecisionInputs(
        client="mobile-bank",
        request_id="r",
        request=request,
        ledger=b"\x01" * 64 * 20,
        feature_layout="0" * 16,
        took_ms=1.0,
    )
    record = encode_record(decision, inputs, word(prepared.strategy))
    assert len(decision.candidates) == 5_000
    passed = sum(candidate.propensity is not None for candidate in decision.candidates) / 5_000
    assert least <= passed <= most
    assert len(record) < LIMIT_BYTES
    written = expanded_record(record, prepared)["candidates"]
    assert [c["treatment"] for c in written] == [c.treatment for c in decision.candidates]
    offered = [c for c in written if c["outcome"] == "offered"]
    options = [option for placement in decision.placements for option in placement.options]
    exact = {(o.candidate.treatment, o.candidate.priority, o.candidate.propensity) for o in options}
    assert {(c["treatment"], c["priority"], c["propensity"]) for c in offered} == exact
