"""Arbitration: levers and weights that hold for a time, boosts that fade, mandatory offers, ties."""

from types import SimpleNamespace
from typing import Any

import pytest

from decision_engine.arbitration import plan_at
from decision_engine.boosts import boost_weights
from decision_engine.offers import ContextWeight
from decision_engine.outcomes import ContactStatus
from decision_engine.prepared import prepare
from decision_engine.strategy import Boost, DatedLever

HOUR = 3_600_000


def boost(**overrides: Any) -> Boost:
    defaults: dict[str, Any] = {
        "id": "clicked",
        "after": int(ContactStatus.CLICK),
        "of": "offer",
        "weight": 40.0,
        "half_life_seconds": 2 * 86_400,
        "most": 100.0,
    }
    return Boost(**(defaults | overrides))


def clicked(bank: SimpleNamespace, offer: str, ago_ms: int, **overrides: Any) -> Any:
    status = int(ContactStatus.IMPRESSION | ContactStatus.CLICK)
    return bank.contact(offer, ago_ms, **({"status": status} | overrides))


def weight(bank: SimpleNamespace, strategy: Any, records: Any, offer: str = "a", **request: Any) -> float | None:
    found = bank.fate(bank.answer(strategy, bank.request(**request), records=records), offer).context_weight
    assert found is None or isinstance(found, float)
    return found


def test_priority_is_the_product_of_the_factors_less_what_is_scarce(bank: SimpleNamespace) -> None:
    offer = bank.offer("a", base_rate=0.2, value=500, lever=10.0, context_weights=(bank.weight("age > 30", 50.0),))
    candidate = bank.fate(bank.answer(bank.strategy(offer), customer=bank.customer(age=40)), "a")
    assert candidate.priority == pytest.approx(0.2 * 1.5 * 500 * 1.1)
    assert candidate.resource_cost == 0.0


def test_levers_add_up_and_hold_for_their_time(bank: SimpleNamespace) -> None:
    levers = (
        DatedLever(scope="offer", name="a", lever=10.0),
        DatedLever(scope="group", name="cards", lever=5.0, from_ms=bank.NOW, until_ms=bank.NOW + HOUR),
        DatedLever(scope="issue", name="acquire", lever=3.0, until_ms=bank.NOW),
    )
    prepared = prepare(bank.strategy(bank.offer("a", lever=2.0), bank.offer("b", group="loans"), levers=levers))

    def lever(offer: str, now_ms: int) -> float | None:
        return bank.fate(bank.answer(prepared, bank.request(now_ms=now_ms)), offer).lever

    assert [lever("a", bank.NOW + ms) for ms in (-1, 0, HOUR - 1, HOUR)] == [15.0, 17.0, 17.0, 12.0]
    assert [lever("b", bank.NOW + ms) for ms in (-1, 0)] == [3.0, 0.0]
    assert plan_at(prepared.arbitration, bank.NOW) is plan_at(prepared.arbitration, bank.NOW + 1)


def test_context_weight_counts_for_its_time(bank: SimpleNamespace) -> None:
    dated = ContextWeight(when="age > 30", weight=20.0, from_ms=bank.NOW, until_ms=bank.NOW + HOUR)
    prepared = prepare(bank.strategy(bank.offer("a", context_weights=(dated, bank.weight("age > 30", 5.0)))))

    def found(now_ms: int) -> float | None:
        decision = bank.answer(prepared, bank.request(now_ms=now_ms), bank.customer(age=40))
        return bank.fate(decision, "a").context_weight

    assert [found(bank.NOW + ms) for ms in (-1, 0, HOUR - 1, HOUR)] == [5.0, 25.0, 25.0, 5.0]


def test_boost_halves_with_every_half_life(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("a"), bank.offer("b"), boosts=(boost(),))
    for days, expected in ((0, 40.0), (2, 20.0), (4, 10.0), (20, 40.0 / 1024)):
        assert weight(bank, strategy, [clicked(bank, "a", days * bank.DAY)]) == pytest.approx(expected)
    assert weight(bank, strategy, [clicked(bank, "b", 0)]) == 0.0
    assert weight(bank, strategy, [bank.contact("a")]) == 0.0


def test_boosts_add_up_to_their_most(bank: SimpleNamespace) -> None:
    records = [clicked(bank, "a", 0) for _ in range(4)]
    assert weight(bank, bank.strategy(bank.offer("a"), boosts=(boost(),)), records) == 100.0
    against = boost(id="rejected", after=int(ContactStatus.REJECT), weight=-60.0, most=90.0)
    rejected = [clicked(bank, "a", 0, status=int(ContactStatus.REJECT)) for _ in range(3)]
    both = bank.strategy(bank.offer("a"), boosts=(boost(), against))
    assert weight(bank, both, rejected) == -90.0
    assert weight(bank, both, [*rejected, clicked(bank, "a", 0)]) == -50.0


def test_boost_of_a_group_counts_for_all_its_offers(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(
        bank.offer("a"), bank.offer("b"), bank.offer("c", group="loans"), boosts=(boost(of="group"),)
    )
    decision = bank.answer(strategy, records=[clicked(bank, "gone", 0)])
    assert [bank.fate(decision, name).context_weight for name in "abc"] == [40.0, 40.0, 0.0]


def test_boost_adds_to_the_context_weights_and_moves_the_order(bank: SimpleNamespace) -> None:
    offers = (bank.offer("a", value=1000), bank.offer("b", value=900, context_weights=(bank.weight("age > 30", 5.0),)))
    prepared = prepare(bank.strategy(*offers, boosts=(boost(),)))
    assert bank.offered(bank.answer(prepared, customer=bank.customer(age=40))) == [["a"]]
    decision = bank.answer(prepared, customer=bank.customer(age=40), records=[clicked(bank, "b", 0)])
    assert bank.offered(decision) == [["b"]]
    assert bank.fate(decision, "b").context_weight == 45.0


def test_neutral_order_knows_no_boosts(bank: SimpleNamespace) -> None:
    prepared = prepare(bank.strategy(bank.offer("a", value=1000), bank.offer("b", value=900), boosts=(boost(),)))
    customer = bank.customer(consents={"personalisation": False})
    decision = bank.answer(prepared, customer=customer, records=[clicked(bank, "b", 0)])
    assert bank.offered(decision) == [["a"]]
    assert bank.fate(decision, "b").context_weight == 0.0


def test_without_the_ledger_there_are_no_boosts(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("a", purpose="service"), boosts=(boost(),))
    causes = ("ledger_unavailable",)
    assert weight(bank, strategy, [clicked(bank, "a", 0)], degraded_causes=causes) == 0.0


def test_outcome_from_a_clock_ahead_counts_as_now(bank: SimpleNamespace) -> None:
    prepared = prepare(bank.strategy(bank.offer("a"), boosts=(boost(),)))
    assert boost_weights(prepared.boosts, [clicked(bank, "a", -bank.DAY)], bank.NOW).tolist() == [40.0]


def test_mandatory_offers_come_first_and_ties_go_by_name(bank: SimpleNamespace) -> None:
    offers = [bank.offer("m", mandatory=True, value=1), bank.offer("n", mandatory=True, value=2)]
    strategy = bank.strategy(*offers, bank.offer("b"), bank.offer("a"))
    assert bank.offered(bank.answer(strategy, bank.request("banner:4"))) == [["n", "m", "a", "b"]]
