"""Whatever the strategy, the customer and the contacts: nothing is ever offered that a gate forbids."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decision_engine.conditions.check import checked_condition
from decision_engine.conditions.evaluation import Facts, compile_expression
from decision_engine.contact_ledger import ContactClock, ContactRecord, Scope, first_refusal
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Decision, DecisionRequest, PlacementRequest
from decision_engine.engine import decide, settle
from decision_engine.features.definitions import AttributeInfo, AttributeType, ContextAttribute, FeatureDeclarations
from decision_engine.identifiers import key32
from decision_engine.offers import ContextWeight, Offer, Placement, Reason, Rule, Treatment
from decision_engine.outcomes import Fate
from decision_engine.prepared import prepare
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from decision_engine.replay import snapshot_of
from decision_engine.strategy import (
    ConsentPurpose,
    ContactLimit,
    ContactWindow,
    Experiment,
    Exploration,
    Strategy,
    SuitabilityGate,
)

NOW = 1_795_254_600_000
DAY = 86_400_000
TYPES = {
    "age": AttributeType.INT,
    "score": AttributeType.DOUBLE,
    "city": AttributeType.STRING,
    "senior": AttributeType.BOOL,
    "risk_level": AttributeType.STRING,
    "assessed": AttributeType.TIMESTAMP,
    "context.page": AttributeType.STRING,
    "channel": AttributeType.STRING,
}
CONDITIONS = (
    "age >= 18", "age < 40", "!(age >= 18)", 'city in ["beijing", "shanghai"]', "senior", "has(score) && score > 0.5",
    'has_product("card")', '!has_product("card")', 'context.page == "cards"', "age * 2 > 60", "score >= 0.2 || senior",
)  # fmt: skip
PLACEMENTS = ("banner", "tile")
conditions = st.sampled_from(CONDITIONS)
quick = settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.too_slow])


EXPLORATIONS = (
    *(Exploration(kind="epsilon_greedy", epsilon=epsilon) for epsilon in (0.0, 0.5, 1.0)),
    Exploration(kind="epsilon_greedy", epsilon=1.0, max_regret=30.0, share=0.5),
    Exploration(kind="inverse_gap", gamma=2.0),
    Exploration(kind="thompson", prior_strength=2.0, rounds=20),
)
SHARES: tuple[dict[str, float], ...] = (
    {},
    {"holdout": 0.3, "random_eligible": 0.3},
    {"propensity_only": 0.3, "no_levers": 0.3, "prior": 0.3},
)


def rules(layer: str) -> st.SearchStrategy[tuple[Rule, ...]]:
    return st.lists(conditions, max_size=2).map(
        lambda texts: tuple(Rule(id=f"{layer}{n}", when=t, code="NO", text={}) for n, t in enumerate(texts))
    )


@st.composite
def offers(draw: st.DrawFn, name: str) -> Offer:
    shorts = draw(st.lists(st.sampled_from(["one", "two", "sms"]), min_size=1, unique=True))
    treatments = tuple(
        Treatment(
            name=f"{name}.{'sms' if short == 'sms' else 'mobile'}.{short}",
            channel="sms" if short == "sms" else "mobile",
            placements=tuple(draw(st.lists(st.sampled_from(PLACEMENTS), min_size=1, unique=True))),
            content={},
        )
        for short in shorts
    )
    weights = draw(st.lists(st.tuples(conditions, st.integers(0, 90)), max_size=2))
    return Offer(
        name=name,
        group=draw(st.sampled_from(["cards", "loans"])),
        issue="acquire",
        value=draw(st.integers(1, 1000)),
        base_rate=draw(st.sampled_from([0.01, 0.1, 0.3])),
        lever=draw(st.sampled_from([-20.0, 0.0, 30.0])),
        model=draw(st.sampled_from(["m1", "m2"])),
        title={},
        treatments=treatments,
        risk_level=draw(st.sampled_from([None, None, 1, 3, 5])),
        mandatory=draw(st.sampled_from([False, False, False, True])),
        purpose=draw(st.sampled_from(["marketing", "marketing", "service"])),
        consents=draw(st.sampled_from([(), (), ("profiling",)])),
        available_from_ms=draw(st.sampled_from([None, None, NOW + 1])),
        available_until_ms=draw(st.sampled_from([None, None, NOW])),
        eligibility=draw(rules("e")),
        applicability=draw(rules("a")),
        suitability=draw(rules("s")),
        reasons=tuple(Reason(code=f"W{n}", when=t, text={"en": t}) for n, t in enumerate(draw(st.lists(conditions)))),
        context_weights=tuple(ContextWeight(when=text, weight=float(weight)) for text, weight in weights),
    )


def limits() -> st.SearchStrategy[tuple[ContactLimit, ...]]:
    one = st.builds(
        ContactLimit,
        id=st.sampled_from(["l1", "l2"]),
        scope=st.sampled_from(list(Scope)),
        of=st.none(),
        statuses=st.sampled_from([127, 16]),
        clock=st.sampled_from(list(ContactClock)),
        window=st.sampled_from([ContactWindow(rolling_seconds=86_400), ContactWindow(calendar="week")]),
        limit=st.integers(1, 3),
        code=st.just("CAP"),
        text=st.just({}),
    )
    return st.lists(one, max_size=2).map(tuple)


@st.composite
def strategies(draw: st.DrawFn) -> Strategy:
    names = [f"o{number}" for number in range(draw(st.integers(0, 6)))]
    info = {
        name: AttributeInfo(name=name, type=type_, theme="t", description={}, source="s", default=None, definition=name)
        for name, type_ in TYPES.items()
        if not name.startswith(("context.", "channel"))
    }
    granted = st.booleans()
    return Strategy(
        name="any", version="v", time_zone="Asia/Shanghai", currency="CNY", locales=("en",),
        declarations=FeatureDeclarations(
            time_zone="Asia/Shanghai",
            context=(ContextAttribute(name="page", type=AttributeType.STRING, description={}),),
        ),
        dictionary=info,
        offers=tuple(draw(offers(name)) for name in names),
        placements={
            name: Placement(id=name, channel="mobile", max_count=3, fallback_treatment="f", fallback_content={})
            for name in PLACEMENTS
        },
        consents={
            name: ConsentPurpose(name=name, granted_by_default=draw(granted), text={})
            for name in ("marketing", "personalisation", "profiling")
        },
        suitability=SuitabilityGate(level_attribute="risk_level", assessed_attribute="assessed", valid_days=365),
        contact_limits=draw(limits()),
        reservation_seconds=600,
        exploration=draw(st.sampled_from(EXPLORATIONS)),
        experiment=Experiment(salt="s", shares=draw(st.sampled_from(SHARES))),
        models=("m1", "m2"), required_models=frozenset({"m2"}), texts={},
    )  # fmt: skip


def customers() -> st.SearchStrategy[CustomerSnapshot]:
    attributes: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {},
        optional={
            "age": st.integers(10, 80),
            "score": st.sampled_from([0.0, 0.3, 0.9]),
            "city": st.sampled_from(["beijing", "urumqi"]),
            "senior": st.booleans(),
            "risk_level": st.sampled_from(["C1", "C3", "C5", "unknown"]),
            "assessed": st.sampled_from([NOW - 400 * DAY, NOW - DAY, NOW + DAY]),
        },
    )
    return st.builds(
        CustomerSnapshot,
        known=st.sampled_from([True, True, True, False]),
        attributes=attributes,
        holdings=st.frozensets(st.sampled_from(["card", "loan"])),
        consents=st.dictionaries(st.sampled_from(["marketing", "personalisation", "profiling"]), st.booleans()),
        newest_event_ms=st.sampled_from([None, NOW - 5]),
    )


def contacts() -> st.SearchStrategy[list[ContactRecord]]:
    moments = st.integers(0, 10 * 24).map(lambda hours: float(NOW - hours * 3_600_000))
    one = st.builds(
        ContactRecord,
        tracking=st.just(b"12345678"),
        offer=st.integers(0, 5).map(lambda number: key32(f"o{number}")),
        group=st.sampled_from(["cards", "loans"]).map(key32),
        issue=st.just(key32("acquire")),
        channel=st.sampled_from(["mobile", "sms"]).map(key32),
        status=st.sampled_from([1, 2, 16, 18]),
        flags=st.just(0),
        reserved_ms=moments,
        expires_ms=moments.map(lambda moment: moment + DAY),
        contact_ms=moments,
        outcome_ms=moments,
    )
    return st.lists(one, max_size=5)


def requests() -> st.SearchStrategy[DecisionRequest]:
    asked = st.lists(
        st.builds(PlacementRequest, id=st.sampled_from(PLACEMENTS), count=st.integers(1, 3)),
        min_size=1, max_size=2, unique_by=lambda placement: placement.id,
    ).map(tuple)  # fmt: skip
    return st.builds(
        DecisionRequest,
        decision_id=st.integers(0, 10**6).map(str),
        customer_id=st.integers(0, 50).map(lambda number: f"retail:{number}"),
        channel=st.just("mobile"),
        placements=asked,
        now_ms=st.just(NOW),
        context=st.sampled_from([{}, {"page": "cards"}, {"page": "home"}]),
        locale=st.just("en"),
        allow_duplicates=st.booleans(),
        degraded_causes=st.sampled_from([(), (), (), ("ledger_unavailable",)]),
    )


class SeededScorer:
    """Probabilities from the row alone."""

    version = "m1.7"
    schema = FeatureSchema(
        (
            Column(name="age", source=ColumnSource.ATTRIBUTE),
            Column(name="city", source=ColumnSource.ATTRIBUTE, categories=("beijing",)),
            Column(name="value", source=ColumnSource.OFFER),
        )
    )

    def score(self, matrix: Any) -> Any:
        return (np.nan_to_num(matrix) @ np.array([0.003, 0.2, 0.0004])).clip(0, 1)


SCORERS: Mapping[str, Any] = {"m1": SeededScorer()}


def run(
    strategy: Strategy,
    request: DecisionRequest,
    customer: CustomerSnapshot,
    records: Sequence[ContactRecord] = (),
    refuse: int = 0,
) -> Decision:
    """Decides; the ledger refuses the first `refuse` alternatives of every position, and repeated offers."""
    prepared = prepare(strategy)
    draft = decide(prepared, request, customer, records, SCORERS)
    taken: list[int | None] = []
    given: set[int] = set()
    for seats in draft.reservation.positions:
        free = [
            n for n, seat in enumerate(seats) if n >= refuse and (request.allow_duplicates or seat.offer not in given)
        ]
        taken.append(free[0] if free else None)
        given |= {seats[n].offer for n in free[:1]}
    return settle(prepared, draft, taken)


def granted(strategy: Strategy, customer: CustomerSnapshot, purpose: str) -> bool:
    if purpose in customer.consents:
        return customer.consents[purpose]
    return customer.known and strategy.consents[purpose].granted_by_default


def forbidden(
    strategy: Strategy,
    request: DecisionRequest,
    customer: CustomerSnapshot,
    records: Sequence[ContactRecord],
    offer: Offer,
) -> str | None:
    """Why an offer may not be made, judged one condition at a time."""
    if (offer.available_from_ms or 0) > NOW or (offer.available_until_ms or NOW + 1) <= NOW:
        return "dates"
    needed = (("marketing",) if offer.purpose == "marketing" else ()) + offer.consents
    if not all(granted(strategy, customer, purpose) for purpose in needed):
        return "consent"
    values = dict(customer.attributes) | {f"context.{name}": value for name, value in request.context.items()}
    facts = Facts(values | {"channel": request.channel}, customer.holdings, NOW)
    for rule in (*offer.eligibility, *offer.applicability, *offer.suitability):
        if compile_expression(checked_condition(rule.when, TYPES))(facts) is not True:
            return rule.id
    if offer.risk_level is not None:
        level, assessed = customer.attributes.get("risk_level"), customer.attributes.get("assessed")
        if level not in ("C1", "C3", "C5") or not isinstance(assessed, int) or not NOW - 365 * DAY <= assessed <= NOW:
            return "no assessment"
        if int(str(level)[1]) < offer.risk_level:
            return "risk"
    if not offer.mandatory:
        if request.degraded_causes:
            return "ledger" if offer.purpose == "marketing" else None
        draft = decide(prepare(replace(strategy, offers=(plain(offer),))), request, ALL_ALLOWED, (), {})
        (alternatives, *_) = draft.reservation.positions or ((),)
        if alternatives and first_refusal(alternatives[0].rules, records, NOW):
            return "cap"
    return None


ALL_ALLOWED = CustomerSnapshot(known=True, consents={"marketing": True, "profiling": True, "personalisation": True})


def plain(offer: Offer) -> Offer:
    """The offer without any gate, for whose rules the ledger would be asked."""
    return replace(
        offer, eligibility=(), applicability=(), suitability=(), risk_level=None, reasons=(), context_weights=(),
        purpose="service", consents=(), available_from_ms=None, available_until_ms=None,
    )  # fmt: skip


@quick
@given(strategies(), requests(), customers(), contacts(), st.integers(0, 2))
def test_nothing_forbidden_is_offered_and_nothing_allowed_is_rejected_by_a_gate(
    strategy: Strategy,
    request: DecisionRequest,
    customer: CustomerSnapshot,
    records: list[ContactRecord],
    refuse: int,
) -> None:
    decision = run(strategy, request, customer, records, refuse)
    for candidate in decision.candidates:
        offer = strategy.offer(candidate.offer)
        assert offer is not None
        refusal = forbidden(strategy, request, customer, records, offer)
        if candidate.fate is Fate.REJECTED and candidate.priority is None:
            assert refusal is not None
        else:
            assert refusal is None


@quick
@given(strategies(), requests(), customers(), contacts(), st.integers(0, 2))
def test_answers_are_well_formed(
    strategy: Strategy, request: DecisionRequest, customer: CustomerSnapshot, records: list[ContactRecord], refuse: int
) -> None:
    decision = run(strategy, request, customer, records, refuse)
    shown: list[str] = []
    for asked, answered in zip(request.placements, decision.placements, strict=True):
        assert (answered.fallback_cause is None) == bool(answered.options)
        assert len(answered.options) <= min(asked.count, 3)
        assert [option.rank for option in answered.options] == list(range(1, len(answered.options) + 1))
        here = [option.candidate.offer for option in answered.options]
        assert len(here) == len(set(here))
        shown += here
        for option in answered.options:
            assert option.candidate in decision.candidates
            assert 0 <= (option.candidate.selection_probability or 0) <= 1
    assert request.allow_duplicates or len(shown) == len(set(shown))
    offered = [candidate for candidate in decision.candidates if candidate.fate is Fate.OFFERED]
    assert len(offered) == len(shown)
    assert len({o.tracking_id for p in decision.placements for o in p.options}) == len(shown)


@quick
@given(strategies(), requests(), customers(), contacts(), st.integers(0, 2))
def test_same_input_gives_the_same_decision_again_even_from_its_record(
    strategy: Strategy, request: DecisionRequest, customer: CustomerSnapshot, records: list[ContactRecord], refuse: int
) -> None:
    decision = run(strategy, request, customer, records, refuse)
    assert run(strategy, request, customer, records, refuse) == decision
    shuffled = replace(strategy, offers=tuple(reversed(strategy.offers)))
    assert run(shuffled, request, customer, records, refuse) == decision
    prepared = prepare(strategy)
    draft = decide(prepared, request, snapshot_of(decision), records, SCORERS)
    assert settle(prepared, draft, decision.taken) == decision


@quick
@given(strategies(), requests(), customers(), customers())
def test_refused_personalisation_makes_everything_but_the_gates_blind(
    strategy: Strategy, request: DecisionRequest, customer: CustomerSnapshot, other: CustomerSnapshot
) -> None:
    """Of two customers alike in what the gates read, both having refused, each gets what the other gets."""
    gates = {name for name in prepare(strategy).gate_attributes if name in customer.attributes}
    consents = {"marketing": True, "profiling": True, "personalisation": False}
    kept = {name: customer.attributes[name] for name in gates}
    free = {name: value for name, value in other.attributes.items() if name not in prepare(strategy).gate_attributes}
    first = replace(customer, known=True, consents=consents)
    second = replace(first, attributes=kept | free)
    decision = run(strategy, request, first)
    assert run(strategy, request, second) == decision
    assert decision.personalised is False
    assert all(option.reasons == () for answer in decision.placements for option in answer.options)
    assert set(decision.models.values()) <= {"prior"}


@quick
@given(
    st.sampled_from(["value", "base_rate", "lever", "weight"]),
    st.integers(1, 1000),
    st.sampled_from([0.01, 0.2, 0.5]),
    st.integers(1, 80),
)
def test_priority_rises_with_each_factor(factor: str, value: int, base_rate: float, more: int) -> None:
    def priority(**change: Any) -> float:
        offer = Offer(
            **{
                "name": "o0", "group": "cards", "issue": "acquire", "value": value,
                "base_rate": base_rate, "lever": 5.0,
                "model": "m9", "title": {},
                "treatments": (Treatment(name="o0.mobile.t", channel="mobile", placements=("banner",), content={}),),
            } | change
        )  # fmt: skip
        strategy = replace(BARE, offers=(offer,))
        request = DecisionRequest(
            decision_id="d", customer_id="retail:1", channel="mobile", now_ms=NOW,
            placements=(PlacementRequest(id="banner", count=1),),
        )  # fmt: skip
        (candidate,) = run(strategy, request, ALL_ALLOWED).candidates
        assert candidate.priority is not None
        return candidate.priority

    changes: dict[str, dict[str, Any]] = {
        "value": {"value": value + more},
        "base_rate": {"base_rate": base_rate + more / 1000},
        "lever": {"lever": 5.0 + more},
        "weight": {"context_weights": (ContextWeight(when='channel == "mobile"', weight=float(more)),)},
    }
    assert priority(**changes[factor]) > priority()


BARE = Strategy(
    name="bare", version="v", time_zone="Asia/Shanghai", currency="CNY", locales=("en",),
    declarations=FeatureDeclarations(time_zone="Asia/Shanghai"), dictionary={}, offers=(),
    placements={
        "banner": Placement(id="banner", channel="mobile", max_count=3, fallback_treatment="f", fallback_content={})
    },
    consents={}, suitability=None, contact_limits=(), reservation_seconds=600, exploration=Exploration(),
    experiment=Experiment(salt="s", shares={}), models=(), required_models=frozenset(), texts={},
)  # fmt: skip


@quick
@given(strategies(), requests(), customers(), customers())
def test_the_neutral_ranking_of_what_both_may_have_is_the_same_for_any_two_customers(
    strategy: Strategy, request: DecisionRequest, one: CustomerSnapshot, other: CustomerSnapshot
) -> None:
    """However they differ in profile, behaviour and holdings: gates may keep an offer from one of them, nothing moves
    it. Nor does the record hold, or a model see, anything that no gate asks for."""
    consents = {"marketing": True, "profiling": True, "personalisation": False}
    decisions = [run(strategy, request, replace(person, known=True, consents=consents)) for person in (one, other)]
    scored = [
        {(c.placement, c.treatment): c for c in decision.candidates if c.priority is not None} for decision in decisions
    ]
    both = scored[0].keys() & scored[1].keys()
    for key in both:
        first, second = scored[0][key], scored[1][key]
        factors = [(c.propensity, c.context_weight, c.value, c.lever, c.priority) for c in (first, second)]
        assert factors[0] == factors[1]
        assert first.propensity == next(o.base_rate for o in strategy.offers if o.name == first.offer)
    for decision in decisions:
        assert set(decision.attributes) <= set(prepare(strategy).gate_attributes)
        assert set(decision.models.values()) <= {"prior"}
        assert all(option.reasons == () for answer in decision.placements for option in answer.options)
