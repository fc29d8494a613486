"""How many candidates each rule rejected: the same as counting them one by one."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.candidate_records import CandidateRecords
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import DecisionRequest, PlacementRequest
from decision_engine.engine import decide, settle
from decision_engine.outcomes import Fate
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.rejection_amounts import RejectionKinds, labels_of
from services.adapters.file_strategy_source import load_strategy_file

GOLDEN = Path(__file__).parents[2] / "golden" / "decisions" / "strategy.yaml"
NOW = 1_795_254_600_123


@pytest.fixture(scope="module")
def golden() -> PreparedStrategy:
    return prepare(load_strategy_file(GOLDEN))


@given(
    age=st.integers(10, 90), balance=st.integers(0, 9_000), level=st.integers(0, 6), known=st.booleans(),
    held=st.sets(st.sampled_from(["gold_card", "debit_card"])), marketing=st.booleans(), refused=st.booleans(),
    placements=st.lists(st.sampled_from(["home_banner", "card_tile", "nowhere"]), min_size=1, max_size=3, unique=True),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_amounts_are_those_of_the_candidates_one_by_one(
    golden: PreparedStrategy, age: int, balance: int, level: int, held: set[str], placements: list[str],
    *, known: bool, marketing: bool, refused: bool,
) -> None:  # fmt: skip
    snapshot = CustomerSnapshot(
        known=known,
        attributes={"age": age, "balance": balance, "risk_level": f"R{level}"},
        holdings=frozenset(held),
        consents={"marketing": marketing},
        newest_event_ms=NOW,
    )
    request = DecisionRequest(
        decision_id=f"01J{age}{balance}",
        customer_id="retail:1",
        channel="mobile",
        placements=tuple(PlacementRequest(id=place, count=2) for place in placements),
        now_ms=NOW,
    )
    draft = decide(golden, request, snapshot, (), {})
    taken = [None if refused or not seats else 0 for seats in draft.reservation.positions]
    decision = settle(golden, draft, taken)
    assert isinstance(decision.candidates, CandidateRecords)
    kinds = RejectionKinds.of(decision.candidates.rejections)
    found = Counter[tuple[str, str]]()
    for labels, amount in zip(labels_of(kinds.kinds), kinds.amounts(decision.candidates).tolist(), strict=True):
        found[labels] += amount
    counted = Counter(
        (candidate.stage.value, candidate.rule)
        for candidate in decision.candidates
        if candidate.fate is Fate.REJECTED and candidate.stage is not None
    )
    assert +found == counted
