"""Priority rises with every factor, whatever the others are; and with all rules of slates and boosts the same input
gives the same decision, however its parts are ordered."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from decision_engine.arbitration import context_weights, plan_arbitration, plan_at, rank_offers
from decision_engine.boosts import BoostPlan, boost_weights
from decision_engine.candidate_records import CandidateRecords
from decision_engine.condition_bits import compile_conditions
from decision_engine.contact_ledger import ContactClock, ContactRecord, Direction, ReservationRequest, Scope
from decision_engine.contact_policy import ContactMoment, plan_contacts
from decision_engine.contact_rules import MomentAlternatives, plan_rules
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import DecisionRequest, PlacementRequest
from decision_engine.engine import decide, prepare, settle
from decision_engine.features.definitions import FeatureDeclarations
from decision_engine.identifiers import key32
from decision_engine.offers import Offer, Placement, Treatment
from decision_engine.outcomes import ContactStatus
from decision_engine.rejections import PASSED
from decision_engine.strategy import (
    Boost,
    Bundle,
    ConsentPurpose,
    ContactLimit,
    ContactWindow,
    DatedLever,
    Experiment,
    Exploration,
    SlateRules,
    Strategy,
)

NOW = 1_795_254_600_000
ANY = int(ContactStatus.RESERVED | ContactStatus.ANY_RESPONSE)
quick = settings(max_examples=80, deadline=None)


def offer(name: str, **overrides: object) -> Offer:
    treatments = tuple(
        Treatment(name=f"{name}.mobile.{place}", channel="mobile", placements=(place,), content={})
        for place in ("banner", "tile")
    )
    facts = {
        "name": name, "group": "cards", "issue": "acquire", "value": 1000, "base_rate": 0.1, "lever": 0.0,
        "model": "m", "title": {}, "treatments": treatments,
    }  # fmt: skip
    return Offer(**(facts | overrides))  # type: ignore[arg-type]


def strategy(*offers: Offer, **overrides: object) -> Strategy:
    facts = {
        "name": "s", "version": "v", "time_zone": "Asia/Shanghai", "currency": "CNY", "locales": ("en",),
        "declarations": FeatureDeclarations(time_zone="Asia/Shanghai"), "dictionary": {}, "offers": offers,
        "placements": {
            id_: Placement(id=id_, channel="mobile", max_count=5, fallback_treatment="f", fallback_content={})
            for id_ in ("banner", "tile")
        },
        "consents": {
            name: ConsentPurpose(name=name, granted_by_default=True, text={})
            for name in ("marketing", "personalisation")
        },
        "suitability": None, "contact_limits": (), "reservation_seconds": 600, "exploration": Exploration(),
        "experiment": Experiment(salt="s", shares={}), "models": (), "required_models": frozenset(), "texts": {},
    }  # fmt: skip
    return Strategy(**(facts | overrides))  # type: ignore[arg-type]


FACTORS = ("propensity", "context_weight", "boost", "value", "lever", "dated_lever", "resource_cost")
factors = st.fixed_dictionaries(
    {
        "propensity": st.floats(0.001, 0.9),
        "context_weight": st.floats(-50, 200),
        "boost": st.floats(0, 100),
        "value": st.integers(1, 10**6),
        "lever": st.floats(-40, 100),
        "dated_lever": st.floats(-40, 100),
        "resource_cost": st.floats(0, 1000),
    }
)


def priority(given_factors: dict[str, float]) -> float:
    """One offer's priority by the way a decision goes."""
    facts = given_factors
    one = strategy(
        offer("a", value=facts["value"], lever=facts["lever"]),
        levers=(DatedLever(scope="group", name="cards", lever=facts["dated_lever"]),),
        boosts=(Boost(id="b", after=4, of="offer", weight=facts["boost"], half_life_seconds=60, most=1000.0),),
    )
    plan = plan_at(plan_arbitration(one.offers, compile_conditions(one), one.levers), NOW)
    contacts, _ = plan_contacts(one.offers, (), ZoneInfo("UTC"), 0)
    boosts = BoostPlan(boosts=one.boosts, members=contacts.members, offers=1)
    weights = context_weights(plan, np.zeros(0, np.bool_), plan.weights) + facts["context_weight"]
    weights = weights + boost_weights(boosts, [contact("a", 4, 0)], NOW)
    costs = np.array([facts["resource_cost"]])
    rows = np.zeros(1, np.intp)
    return float(rank_offers(plan, rows, np.array([facts["propensity"]]), weights, costs).priorities[0])


def contact(name: str, status: int, ago_ms: int, group: str = "cards") -> ContactRecord:
    moment = float(NOW - ago_ms)
    keys = (key32(name), key32(group), key32("acquire"), key32("mobile"))
    return ContactRecord(b"\0" * 8, *keys, status, 0, moment, moment + 600_000, moment, moment)


@quick
@given(factors, st.sampled_from(FACTORS), st.floats(1.01, 3.0))
def test_priority_rises_with_each_factor_and_falls_with_what_is_scarce(
    facts: dict[str, float], name: str, times: float
) -> None:
    more = facts | {name: int(facts[name] * times) + 1 if name == "value" else facts[name] + times}
    assume(name != "propensity" or more[name] <= 10)
    if name == "resource_cost":
        assert priority(more) < priority(facts)
    else:
        assert priority(more) > priority(facts)


@quick
@given(st.lists(st.floats(0, 10**7), min_size=1, max_size=6), st.floats(0, 10**6))
def test_boost_only_fades(ages_ms: list[float], later_ms: float) -> None:
    one = strategy(offer("a"), boosts=(
        Boost(id="b", after=4, of="offer", weight=30.0, half_life_seconds=3600, most=80.0),
    ))  # fmt: skip
    boosts = prepare(one).boosts
    records = [contact("a", 4, int(age)) for age in ages_ms]
    now = boost_weights(boosts, records, NOW)[0]
    assert 0 <= boost_weights(boosts, records, NOW + int(later_ms))[0] <= now <= 80.0
    assert boost_weights(boosts, records[1:], NOW)[0] <= now


@st.composite
def rich_strategies(draw: st.DrawFn) -> Strategy:
    names = "abcdef"[: draw(st.integers(1, 6))]
    offers = tuple(
        offer(
            name, value=draw(st.integers(0, 50)), group=draw(st.sampled_from(["cards", "loans"])),
            mandatory=draw(st.integers(0, 5)) == 0, purpose=draw(st.sampled_from(["marketing", "service"])),
        )
        for name in names
    )  # fmt: skip
    children = tuple(draw(st.lists(st.sampled_from("bcdef"), unique=True, max_size=3)))
    slate = SlateRules(
        by_value=draw(st.booleans()),
        offer_repeats=draw(st.integers(1, 2)),
        group_repeats=draw(st.sampled_from([None, 1, 2])),
        channels=draw(st.sampled_from([{}, {"mobile": 3}])),
        bundles=(Bundle(parent="a", children=children),) if children else (),
    )
    return strategy(
        *offers,
        slate=slate,
        boosts=(Boost(id="b", after=4, of="group", weight=30.0, half_life_seconds=3600, most=80.0),),
        levers=(DatedLever(scope="offer", name="a", lever=20.0, from_ms=NOW),),
        exploration=Exploration(kind="epsilon_greedy", epsilon=draw(st.sampled_from([0.0, 0.5, 1.0]))),
        contact_limits=limits_of(draw),
    )


def limits_of(draw: st.DrawFn) -> tuple[ContactLimit, ...]:
    return tuple(
        ContactLimit(
            id=f"l{number}", scope=draw(st.sampled_from(list(Scope))), of=None, statuses=ANY,
            clock=draw(st.sampled_from(list(ContactClock))),
            window=draw(st.sampled_from([ContactWindow(rolling_seconds=3600), ContactWindow(calendar="day")])),
            limit=draw(st.integers(1, 3)), code="CAP", text={},
            direction=draw(st.sampled_from(list(Direction))),
        )
        for number in range(draw(st.integers(0, 4)))
    )  # fmt: skip


def ledger_answer(asked: ReservationRequest, refused: int) -> list[int | None]:
    """What a ledger takes that refuses so many alternatives of each position, and an offer that it has taken."""
    reserved: set[int] = set()
    answer: list[int | None] = []
    for seats in asked.positions:
        able = [
            index for index, seat in enumerate(seats)
            if index >= refused and (asked.allow_duplicates or seat.offer not in reserved)
        ]  # fmt: skip
        answer.append(able[0] if able else None)
        reserved.update(seats[index].offer for index in able[:1])
    return answer


def request(number: int, counts: tuple[int, int]) -> DecisionRequest:
    placements = tuple(
        PlacementRequest(id=id_, count=count) for id_, count in zip(("banner", "tile"), counts, strict=True)
    )
    return DecisionRequest(
        decision_id=f"d{number}", customer_id="retail:1", channel="mobile", placements=placements, now_ms=NOW
    )


@quick
@given(rich_strategies(), st.integers(0, 50), st.tuples(st.integers(0, 3), st.integers(0, 3)), st.integers(0, 3))
def test_slates_keep_every_rule_and_the_same_input_gives_the_same_decision(
    rich: Strategy, number: int, counts: tuple[int, int], refused: int
) -> None:
    records = [contact("a", 4, 1000), contact("b", 2, 5000, "loans")]
    customer = CustomerSnapshot(known=True, attributes={})
    decisions = []
    for bundle in (rich, replace(rich, offers=tuple(reversed(rich.offers)))):
        prepared = prepare(bundle)
        draft = decide(prepared, request(number, counts), customer, records, {})
        decisions.append(settle(prepared, draft, ledger_answer(draft.reservation, refused)))
    first, second = decisions
    assert first == second
    assert isinstance(first.candidates, CandidateRecords)
    assert [repr(candidate) for candidate in first.candidates] == [repr(candidate) for candidate in second.candidates]
    shown = [[option.candidate.offer for option in answer.options] for answer in first.placements]
    names = [name for answer in shown for name in answer]
    slate, group_of = rich.slate, {offer.name: offer.group for offer in rich.offers}
    assert all(len(answer) == len(set(answer)) for answer in shown)
    assert all(names.count(name) <= slate.offer_repeats for name in names)
    assert len(names) <= slate.channels.get("mobile", 100)
    for group in ("cards", "loans"):
        standing = sum(group_of[name] == group for name in names)
        assert slate.group_repeats is None or standing <= slate.group_repeats
    for bundle_of in slate.bundles:
        for answer in shown:
            assert "a" in answer or not set(answer) & set(bundle_of.children)
    for columns in first.candidates.placements:
        assert ((columns.chances >= 0) & (columns.chances <= 1 + 1e-12)).all()
        assert (columns.rejections[list(columns.offered)] == PASSED).all()


@quick
@given(rich_strategies(), st.sampled_from(["mobile", "sms"]))
def test_rules_of_a_reservation_are_those_made_one_by_one(rich: Strategy, channel: str) -> None:
    prepared = prepare(rich)
    moment = ContactMoment(prepared.contacts, key32(channel), NOW)
    alternatives = MomentAlternatives(plan_rules(prepared.contacts), moment)
    for number in range(len(prepared.offers)):
        assert alternatives.of(number).rules == moment.rules_for(number)
