"""The standing experiment: who is in which arm, what each arm does, and that raising a share shuffles nobody."""

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.errors import StrategyInvalid
from decision_engine.experiment import CONTROL_ARMS, Arm, assign_arm, plan_experiment
from decision_engine.experiment_arms import allot, equal_rooms
from decision_engine.identifiers import CustomerId
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.strategy import Experiment

CUSTOMERS = [CustomerId(f"retail:{number}") for number in range(6000)]


def arms_of(shares: dict[str, float], salt: str = "2026-11") -> dict[str, Arm]:
    plan = plan_experiment(Experiment(salt=salt, shares=shares))
    return {customer: assign_arm(salt, plan, customer) for customer in CUSTOMERS}


def in_arm(bank: SimpleNamespace, arm: Arm, *offers: object, **overrides: object) -> PreparedStrategy:
    shares = {} if arm is Arm.FULL else {arm.value: 1.0}
    return prepare(bank.strategy(*offers, experiment=Experiment(salt="s", shares=shares), **overrides))


def test_shares_of_the_arms_are_kept_and_sticky() -> None:
    shares = {"holdout": 0.05, "random_eligible": 0.1, "no_levers": 0.2, "propensity_only": 0.02, "prior": 0.15}
    arms = arms_of(shares)
    counts = Counter(arm.value for arm in arms.values())
    expected = shares | {"full": 1 - sum(shares.values())}
    assert set(counts) == set(expected)
    statistic = sum((counts[name] - 6000 * share) ** 2 / (6000 * share) for name, share in expected.items())
    assert statistic < 20.5  # 99.9 % of a chi-squared with five degrees
    assert arms == arms_of(shares)


def test_another_salt_deals_the_customers_anew() -> None:
    first, second = arms_of({"holdout": 0.5}), arms_of({"holdout": 0.5}, "other")
    same = sum(first[customer] is second[customer] for customer in CUSTOMERS)
    assert 2800 < same < 3200


@pytest.mark.parametrize("arm", CONTROL_ARMS)
def test_raising_a_share_moves_people_from_full_into_the_arm_and_nobody_else(arm: Arm) -> None:
    shares = {other.value: 0.05 for other in CONTROL_ARMS}
    before, after = arms_of(shares), arms_of(shares | {arm.value: 0.2})
    moved = {(before[c], after[c]) for c in CUSTOMERS if before[c] is not after[c]}
    assert moved == {(Arm.FULL, arm)}


def test_arm_that_is_added_takes_people_from_full_only() -> None:
    before, after = arms_of({"holdout": 0.1}), arms_of({"holdout": 0.1, "random_eligible": 0.1})
    assert {before[c] for c in CUSTOMERS if before[c] is not after[c]} == {Arm.FULL}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.data())
def test_any_shares_are_kept_exactly(twentieths: list[int], data: st.DataObject) -> None:
    names = [f"arm{number}" for number in range(len(twentieths))]
    total = max(sum(twentieths), data.draw(st.integers(1, 60)))
    shares = {name: part / total for name, part in zip(names, twentieths, strict=True)}
    plan = allot(shares, equal_rooms(names, {}))
    ends = (*plan.bounds[1:], 1.0)[: len(plan.bounds)]
    lengths: Counter[str] = Counter()
    for arm, begin, end in zip(plan.arms, plan.bounds, ends, strict=True):
        assert end > begin
        if arm is not None:
            lengths[arm] += end - begin  # type: ignore[assignment]
    for name, share in shares.items():
        assert lengths[name] == pytest.approx(share, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=5), st.integers(0, 4), st.floats(0, 1))
def test_within_their_rooms_no_raise_ever_moves_anyone_between_arms(
    parts: list[float], which: int, raised: float
) -> None:
    names = [f"arm{number}" for number in range(len(parts))]
    rooms = equal_rooms(names, {})
    shares = {name: part * rooms[name] for name, part in zip(names, parts, strict=True)}
    arm = names[which % len(names)]
    higher = shares | {arm: max(shares[arm], raised * rooms[arm])}
    before, after = allot(shares, rooms), allot(higher, rooms)
    for number in range(300):
        old, new = before.arm_of("s", f"c{number}"), after.arm_of("s", f"c{number}")
        assert old == new or (old, new) == (None, arm)


@pytest.mark.parametrize(
    "shares", [{"control": 0.1}, {"holdout": 1.1}, {"holdout": 0.6, "random_eligible": 0.6}, {"full": 0.5}]
)
def test_impossible_experiments_are_refused_with_the_strategy(bank: SimpleNamespace, shares: dict[str, float]) -> None:
    with pytest.raises(StrategyInvalid, match=r"experiment\.shares"):
        prepare(bank.strategy(experiment=Experiment(salt="s", shares=shares)))


def test_propensity_only_ranks_by_propensity_alone(bank: SimpleNamespace) -> None:
    offers = (
        bank.offer("liked", base_rate=0.3, value=1),
        bank.offer("dear", base_rate=0.1, value=90_000, lever=50.0, context_weights=(bank.weight("age > 1", 20.0),)),
    )
    customer = bank.customer(age=40)
    full = bank.answer(in_arm(bank, Arm.FULL, *offers), bank.request("banner:2"), customer)
    only = bank.answer(in_arm(bank, Arm.PROPENSITY_ONLY, *offers), bank.request("banner:2"), customer)
    assert (bank.offered(full), bank.offered(only)) == ([["dear", "liked"]], [["liked", "dear"]])
    dear = bank.fate(only, "dear")
    assert (dear.priority, dear.context_weight, dear.lever, dear.value) == (0.1, 20.0, 50.0, 90_000)


def test_no_levers_ranks_as_if_all_levers_were_zero(bank: SimpleNamespace) -> None:
    offers = (bank.offer("plain", value=1000), bank.offer("pushed", value=900, lever=50.0))
    full = bank.answer(in_arm(bank, Arm.FULL, *offers), bank.request("banner:2"))
    without = bank.answer(in_arm(bank, Arm.NO_LEVERS, *offers), bank.request("banner:2"))
    assert (bank.offered(full), bank.offered(without)) == ([["pushed", "plain"]], [["plain", "pushed"]])
    pushed = bank.fate(without, "pushed")
    assert (pushed.lever, pushed.priority) == (0.0, pytest.approx(90.0))


def test_prior_asks_no_model_and_is_not_degraded_by_it(bank: SimpleNamespace) -> None:
    offers = (bank.offer("a", base_rate=0.2), bank.offer("b", base_rate=0.1))
    scorer = bank.scorer(lambda matrix: [0.01, 0.9][: len(matrix)])
    overrides = {"required_models": frozenset({"cross_sell"})}
    full = bank.answer(in_arm(bank, Arm.FULL, *offers, **overrides), scorers={"cross_sell": scorer})
    asked = len(scorer.seen)
    prior = bank.answer(in_arm(bank, Arm.PRIOR, *offers, **overrides), scorers={"cross_sell": scorer})
    assert (bank.offered(full), bank.offered(prior)) == ([["b"]], [["a"]])
    assert (len(scorer.seen), prior.models, prior.degraded_causes) == (asked, {"cross_sell": "prior"}, ())


def test_random_arm_explores_whatever_it_costs_and_knows_no_ramp(bank: SimpleNamespace) -> None:
    offers = (bank.offer("a", value=100_000), bank.offer("b"), bank.offer("c", value=1))
    prepared = in_arm(bank, Arm.RANDOM_ELIGIBLE, *offers)
    chances = [
        bank.answer(prepared, bank.request(decision_id=f"d{number}")).placements[0].options[0].candidate
        for number in range(200)
    ]
    assert [c.selection_probability for c in chances] == pytest.approx([1 / 3] * 200)
    assert {c.offer for c in chances} == {"a", "b", "c"}


@pytest.mark.parametrize("arm", list(Arm))
def test_gates_caps_and_mandatory_offers_hold_in_every_arm(bank: SimpleNamespace, arm: Arm) -> None:
    offers = (
        bank.offer("young", eligibility=(bank.rule("age < 18"),), value=10**6),
        bank.offer("capped", value=10**6),
        bank.offer("recall", value=0, mandatory=True, purpose="service"),
        bank.offer("fine"),
    )
    prepared = in_arm(bank, arm, *offers, contact_limits=(bank.limit(),))
    for number in range(20):
        decision = bank.answer(
            prepared,
            bank.request("banner:4", decision_id=f"d{number}"),
            bank.customer(age=40),
            [bank.contact("capped")],
        )
        assert decision.arm == arm.value
        assert bank.offered(decision) == [["recall"] if arm is Arm.HOLDOUT else ["recall", "fine"]]
