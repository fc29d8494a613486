"""Judging archived decisions by the truth: eligible sets, exposures, and what does not count."""

from pathlib import Path

import pytest

from models.decision_log.examples import LoggedCandidate, LoggedDecision, LoggedOption
from services.adapters.file_strategy_source import load_strategy_file
from services.simulation.archived_policies import ARBITRATION, ArchiveJudge
from services.simulation.population import make_population
from services.simulation.served_decisions import SERVED

STRATEGY = load_strategy_file(Path(__file__).with_name("small_bank.yaml"))
NOON_MS = 1_772_337_600_000
DAY_MS = 86_400_000


@pytest.fixture
def judge() -> ArchiveJudge:
    return ArchiveJudge(STRATEGY, make_population(20, seed=1), seed=1)


def decision(
    number: int, customer: str = "retail:3", offered: str | None = "dining_card", *, mandatory: bool = False
) -> LoggedDecision:
    option = LoggedOption(
        tracking_id=f"d{number}.0", placement="home_banner", rank=1, offer=offered or "", treatment="t",
        mandatory=mandatory,
    )  # fmt: skip
    candidates = [("dining_card", 0.05, 900.0), ("bond_fund", 0.04, 18_000.0), ("gold_card", 0.01, 100.0)]
    return LoggedDecision(
        decision_id=f"d{number}", customer_id=customer, decided_ms=NOON_MS + number * 3_600_000, channel="mobile",
        arm="full", personalised=True, models={}, attributes={}, context={"page": "cards"},
        options=(option,) if offered else (),
        candidates=tuple(
            LoggedCandidate(placement="home_banner", offer=name, treatment="t", propensity=chance, boost=boost)
            for name, chance, boost in candidates
        ),
    )  # fmt: skip


def test_every_scored_candidate_was_eligible_and_the_best_by_priority_is_what_arbitration_chose(
    judge: ArchiveJudge,
) -> None:
    (verdict,) = judge.judge([decision(1)])

    assert set(verdict.expected) == {"dining_card", "bond_fund", "gold_card"}
    assert verdict.chosen == {SERVED: "dining_card", ARBITRATION: "bond_fund"}
    assert all(value > 0 for value in verdict.expected.values())


def test_what_was_shown_before_is_worth_less_now(judge: ArchiveJudge) -> None:
    first, second = judge.judge([decision(1), decision(25)])  # a day apart, the same hour

    assert second.expected["dining_card"] < first.expected["dining_card"]
    assert second.expected["bond_fund"] == pytest.approx(first.expected["bond_fund"])


def test_decisions_may_come_in_any_order(judge: ArchiveJudge) -> None:
    decisions = [decision(number) for number in range(1, 6)]

    assert judge.judge(decisions[::-1]) == judge.judge(decisions)


def test_a_fallback_chose_nothing(judge: ArchiveJudge) -> None:
    (verdict,) = judge.judge([decision(1, offered=None)])

    assert verdict.chosen[SERVED] is None


@pytest.mark.parametrize("customer", ["corp:3", "retail:21", "retail:x"])
def test_customers_that_the_bank_does_not_have_are_left_out(judge: ArchiveJudge, customer: str) -> None:
    assert judge.judge([decision(1, customer)]) == []


def test_a_mandatory_message_left_no_choice(judge: ArchiveJudge) -> None:
    assert judge.judge([decision(1, mandatory=True)]) == []
