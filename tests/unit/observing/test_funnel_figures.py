"""The funnel of a log: by hand on a small one, and against an independent count on generated ones."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Decision, DecisionRequest, PlacementRequest
from decision_engine.engine import decide, settle
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from services.adapters.file_strategy_source import load_strategy_file
from services.use_cases.decision_answer import word
from services.use_cases.decision_record import DecisionInputs, encode_record
from services.use_cases.observing.funnel import Funnel, Part, StageStep, funnel
from services.use_cases.observing.funnel_candidates import STAGES
from services.use_cases.observing.funnel_log import FunnelLog, Reading, fold_log, sampled
from services.use_cases.observing.results import RowsBy, breakdown, by_day, lacking
from services.use_cases.observing.results_period import Period, PeriodInvalid
from services.use_cases.observing.results_rates import wilson
from services.use_cases.observing.volumes import cap_use
from services.use_cases.wire_time import rfc3339

GOLDEN = Path(__file__).parents[2] / "golden" / "decisions" / "strategy.yaml"
SHANGHAI = ZoneInfo("Asia/Shanghai")
PERIOD = Period(first=date(2026, 11, 20), last=date(2026, 11, 21), zone=SHANGHAI)
DAY = 86_400_000
NOON = PERIOD.starts_ms[0] + DAY // 2
NOBODY: dict[str, str] = {}


# By hand ------------------------------


def candidate(offer: str, outcome: str, stage: str | None = None, rule: str = "", reason: str = "") -> dict[str, str]:
    refused = {} if stage is None else {"stage": stage, "rule": rule, "reason": reason}
    return {"placement": "tile", "offer": offer, "treatment": f"{offer}.tile", "outcome": outcome, **refused}


def made(number: int, candidates: Sequence[dict[str, str]], **data: Any) -> bytes:
    """Decision `d<number>`; what its candidates say is offered is offered, at a priority of 100 for each place."""
    offered = [each for each in candidates if each["outcome"] == "offered"]
    options = [
        {
            "rank": rank, "offer": each["offer"], "treatment": each["treatment"], "tracking_id": f"d{number}.{rank}",
            "priority": 100.0 * (len(offered) - rank + 1), "propensity": 0.1,
        }
        for rank, each in enumerate(offered, 1)
    ]  # fmt: skip
    placed: dict[str, object] = {"id": "tile", "options": options} if options else {"id": "tile", "fallback": "plain"}
    placed |= {} if options else {"fallback_cause": data.pop("cause", "ALL_REJECTED")}
    record = {
        "decision_id": f"d{number}", "time": rfc3339(NOON), "channel": "mobile", "customer_id": f"retail:{number}",
        "strategy_version": "hand", "candidates": candidates, "placements": [placed], "attributes": {}, "models": {},
    } | data  # fmt: skip
    return orjson.dumps({"type": "nbo.decision.made", "data": record})


def said(tracking_id: str, outcome: str) -> bytes:
    data = {"tracking_id": tracking_id, "outcome": outcome, "time": rfc3339(NOON + 5_000)}
    return orjson.dumps({"type": "nbo.response.recorded", "data": data})


def reading(segments: dict[str, str] | None = None, share: float = 1.0) -> Reading:
    return Reading(starts_ms=PERIOD.starts_ms, segments=segments or {}, strategy_of=lambda _: None, share=share)


GOLD, LOAN = "gold_card", "car_loan"
CAPPED = candidate(LOAN, "rejected", "contact_policy", "per_week", "CAP_WEEK")
DECISIONS = [
    made(1, [candidate(GOLD, "offered"), candidate(LOAN, "offered")], models={"cross_sell": "cross_sell-1"}),
    made(2, [candidate(GOLD, "offered"), candidate(LOAN, "ranked_lower")], attributes={"in_wealthy": True}),
    made(3, [candidate(GOLD, "rejected", "eligibility", "adult", "AGE"), CAPPED], cause="CAPPED"),
    made(4, [candidate(GOLD, "offered"), CAPPED], channel="sms", time=rfc3339(NOON + DAY)),
    made(5, [candidate(GOLD, "rejected", "consent", "marketing", "NO_CONSENT")], attributes={"in_wealthy": True}),
    made(6, [candidate(GOLD, "offered")], time=rfc3339(PERIOD.starts_ms[-1])),  # the day after
]
RESPONSES = [
    said("d1.1", "impression"), said("d1.1", "click"), said("d1.1", "accept"), said("d1.1", "accept"),
    said("d1.2", "impression"), said("d1.2", "reject"), said("d2.1", "convert"), said("d4.1", "impression"),
    said("d6.1", "accept"), said("unknown.1", "accept"),
]  # fmt: skip


@pytest.fixture(scope="module")
def log() -> FunnelLog:
    return fold_log(reading({"wealthy": "in_wealthy"}), [*DECISIONS, DECISIONS[0], b"{", b'{"data": 1}'], RESPONSES)


def test_the_funnel_goes_from_requests_over_candidates_to_conversions(log: FunnelLog) -> None:
    found = funnel(log, Part())
    assert (found.requests, found.answered, found.candidates, found.ranked_lower) == (5, 3, 9, 1)
    assert found.stages == tuple(
        StageStep(stage=stage, came=came, refused=refused)
        for stage, came, refused in zip(STAGES, (9, 9, 8, 7, 7, 7, 5, 5, 5), (0, 1, 1, 0, 0, 2, 0, 0, 0), strict=True)
    )
    assert found.stages[-1].left == found.ranked_lower + found.steps.offered
    steps = found.steps
    assert (steps.offered, steps.seen, steps.clicked, steps.accepted, steps.converted) == (4, 4, 1, 2, 1)
    assert steps.refused == 1
    assert steps.expected == pytest.approx(0.4)
    assert log.unreadable == 2


def test_a_part_is_a_channel_and_some_offers(log: FunnelLog) -> None:
    mobile = funnel(log, Part(channels=frozenset({"mobile"})))
    assert (mobile.requests, mobile.answered, mobile.candidates, mobile.steps.offered) == (4, 2, 7, 3)
    loan = funnel(log, Part(offers=frozenset({LOAN})))
    assert (loan.requests, loan.candidates, loan.steps.offered, loan.steps.seen, loan.steps.accepted) == (5, 4, 1, 1, 0)
    assert funnel(log, Part(channels=frozenset({"fax"}))).requests == 0


def test_rows_are_offers_groups_treatments_or_channels(log: FunnelLog) -> None:
    groups = {GOLD: "cards", LOAN: "loans"}

    def rows(by: RowsBy) -> list[tuple[str, int, int]]:
        found = breakdown(log, Part(), by, groups)
        return [(row.name, row.steps.offered, row.steps.accepted) for row in found]

    assert rows(RowsBy.OFFER) == [(GOLD, 3, 2), (LOAN, 1, 0)]
    assert rows(RowsBy.GROUP) == [("cards", 3, 2), ("loans", 1, 0)]
    assert rows(RowsBy.TREATMENT) == [("gold_card.tile", 3, 2), ("car_loan.tile", 1, 0)]
    assert rows(RowsBy.CHANNEL) == [("mobile", 3, 2), ("sms", 1, 0)]


def test_days_are_the_banks_own(log: FunnelLog) -> None:
    found = by_day(log, Part(), len(PERIOD.days))
    assert [(day.requests, day.steps.offered, day.steps.accepted) for day in found] == [(4, 3, 2), (1, 1, 0)]


def test_who_was_offered_little_or_nothing(log: FunnelLog) -> None:
    found = lacking(log, Part(), weak_below=150.0)
    assert (found.nothing.hits, found.weak.hits, found.requests) == (2, 2, 5)
    assert [(share.name, share.rate.hits) for share in found.causes] == [("ALL_REJECTED", 1), ("CAPPED", 1)]
    assert [(reach.end.stage, reach.end.rule, reach.requests) for reach in found.reaches] == [
        ("consent", "marketing", 1), ("contact_policy", "per_week", 1),
    ]  # fmt: skip
    assert [(share.name, share.rate.hits, share.rate.cases) for share in found.segments] == [("wealthy", 2, 2)]
    assert (found.customers.hits, found.customers.cases) == (4, 5)
    # The best priorities are 200, 100 and 100: a quarter of their median is 25.
    assert lacking(log, Part()).weak_below == pytest.approx(25.0)
    assert lacking(log, Part()).weak.hits == 0


def test_caps_say_how_often_they_bite(log: FunnelLog) -> None:
    (use,) = cap_use(log, Part())
    assert (use.rule, use.code, use.candidates) == ("per_week", "CAP_WEEK", 2)
    assert (use.requests.hits, use.requests.cases) == (2, 5)
    assert cap_use(log, Part(channels=frozenset({"sms"})))[0].requests.cases == 1


def test_models_are_counted_by_the_version_that_scored(log: FunnelLog) -> None:
    assert log.models == (("mobile", "cross_sell", "cross_sell-1", 1),)


def test_an_empty_log_has_empty_figures() -> None:
    nothing = fold_log(reading({"wealthy": "in_wealthy"}), [], [])
    assert funnel(nothing, Part(channels=frozenset({"mobile"}))).steps.acceptance.cases == 0
    assert breakdown(nothing, Part(), RowsBy.GROUP, NOBODY) == ()
    assert lacking(nothing, Part()).weak_below is None
    assert [day.requests for day in by_day(nothing, Part(), 2)] == [0, 0]


@pytest.mark.parametrize(
    ("hits", "cases", "low", "high"),
    [
        # z = 1.959964, z^2 = 3.841459. 8 of 10: centre (0.8 + 0.1920729) / 1.3841459 = 0.716740,
        # reach 1.959964 x sqrt(0.016 + 0.0096036) / 1.3841459 = 0.226577
        (8, 10, 0.490163, 0.943317),
        # 0 of 10: 0 .. 3.841459 / 13.841459
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        # 50 of 1000: centre (0.05 + 0.00192073) / 1.00384146 = 0.0517220, reach 0.0135969
        (50, 1000, 0.038130, 0.065314),
    ],
)
def test_intervals_are_wilsons(hits: int, cases: int, low: float, high: float) -> None:
    rate = wilson(hits, cases)
    assert (rate.low, rate.high) == (pytest.approx(low, abs=2e-6), pytest.approx(high, abs=2e-6))
    assert rate.enough is (cases >= 30)


def test_a_share_of_more_than_all_is_refused() -> None:
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_periods_are_whole_days_of_the_bank() -> None:
    now_ms = PERIOD.starts_ms[1] - 1  # 23:59:59.999 of the 20th in Shanghai, 16 o'clock in London
    week = Period.ending(now_ms, 7, SHANGHAI)
    assert (week.first, week.last, len(week.days)) == (date(2026, 11, 14), date(2026, 11, 20), 7)
    assert (week.times.since_ms, week.times.until_ms) == (week.starts_ms[0], PERIOD.starts_ms[1])
    assert Period.between("2026-11-20", "2026-11-21", SHANGHAI) == PERIOD
    for first, last in (("2026-11-21", "2026-11-20"), ("2026-01-01", "2026-11-20"), ("yesterday", "2026-11-20")):
        with pytest.raises(PeriodInvalid):
            Period.between(first, last, SHANGHAI)


# Against an independent count ------------------------------


class Table:
    """A model with a chance for every row."""

    version = "table-1"
    schema = FeatureSchema((Column(name="base_rate", source=ColumnSource.OFFER),))

    def score(self, matrix: Any) -> Any:
        return 0.001 + 0.9 * (1 + np.arange(len(matrix)) % 7) / 8


@cache
def golden() -> PreparedStrategy:
    return prepare(load_strategy_file(GOLDEN))


OUTCOMES = ("impression", "click", "accept", "reject", "dismiss", "convert")
PEOPLE = st.tuples(
    st.integers(10, 90), st.integers(0, 9_000), st.integers(0, 6), st.booleans(), st.sampled_from(["mobile", "web"]),
    st.lists(st.sampled_from(["home_banner", "card_tile"]), min_size=1, max_size=2, unique=True),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(OUTCOMES)), max_size=4),
)  # fmt: skip


def decided(number: int, person: Any) -> tuple[Decision, bytes]:
    prepared = golden()
    age, balance, level, marketing, channel, placements, _ = person
    request = DecisionRequest(
        decision_id=f"d{number}", customer_id=f"retail:{number % 3}", channel=channel,
        locale="en", now_ms=NOON + number,
        placements=tuple(PlacementRequest(id=place, count=2) for place in placements),
    )  # fmt: skip
    snapshot = CustomerSnapshot(
        known=True,
        attributes={"age": age, "balance": balance, "risk_level": level, "risk_assessed_at": NOON - 1_000},
        consents={"profiling": True, "marketing": marketing},
    )
    draft = decide(prepared, request, snapshot, (), {"cross_sell": Table()})
    decision = settle(prepared, draft, [0 if position else None for position in draft.reservation.positions])
    inputs = DecisionInputs(client="c", request_id=None, request=request, ledger=None, feature_layout="", took_ms=1.0)
    return decision, encode_record(decision, inputs, word(prepared.strategy))


@given(people=st.lists(PEOPLE, max_size=12), shuffle=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_counts_are_those_of_an_independent_fold(people: list[Any], shuffle: Any) -> None:
    made_ = [decided(number, person) for number, person in enumerate(people)]
    outcomes: dict[str, set[str]] = {}
    responses = []
    for (decision, _), person in zip(made_, people, strict=True):
        options = [option for placement in decision.placements for option in placement.options]
        for place, outcome in person[-1]:
            if place < len(options):
                outcomes.setdefault(options[place].tracking_id, set()).add(outcome)
                responses.append(said(options[place].tracking_id, outcome))
    records = [record for _, record in made_] * 2
    shuffle.shuffle(records)
    shuffle.shuffle(responses)
    strategy_of = {golden().strategy.version: golden()}.get
    found = fold_log(
        Reading(starts_ms=PERIOD.starts_ms, segments={}, strategy_of=strategy_of), records, [*responses, *responses]
    )
    assert (found.unreadable, found.unexplained) == (0, 0)
    offers = {str(c.offer) for decision, _ in made_ for c in decision.candidates}
    for channel in (None, "mobile"):
        for offer in (None, *sorted(offers)[:2]):
            part = Part(
                channels=None if channel is None else frozenset({channel}),
                offers=None if offer is None else frozenset({offer}),
            )
            mine = [d for (d, _), person in zip(made_, people, strict=True) if channel in (None, person[4])]
            assert_counted(funnel(found, part), mine, outcomes, offer)


def assert_counted(found: Funnel, mine: list[Decision], outcomes: dict[str, set[str]], offer: str | None) -> None:
    candidates = [c for decision in mine for c in decision.candidates if offer in (None, c.offer)]
    options = [
        o for decision in mine for p in decision.placements for o in p.options if offer in (None, o.candidate.offer)
    ]
    refused = Counter(str(c.stage) for c in candidates if c.stage is not None)
    assert found.requests == len(mine)
    assert found.answered == sum(any(p.options for p in decision.placements) for decision in mine)
    assert found.candidates == len(candidates)
    assert {step.stage: step.refused for step in found.stages if step.refused} == dict(refused)
    assert found.ranked_lower == sum(str(c.fate) == "ranked_lower" for c in candidates)
    heard = [outcomes.get(option.tracking_id, set()) for option in options]
    steps = found.steps
    assert (steps.offered, steps.seen) == (len(options), sum(bool(each) for each in heard))
    assert steps.clicked == sum("click" in each for each in heard)
    assert steps.accepted == sum(bool(each & {"accept", "convert"}) for each in heard)
    assert steps.converted == sum("convert" in each for each in heard)
    assert steps.refused == sum(bool(each & {"reject", "dismiss"}) for each in heard)
    value = {str(o.candidate.offer): float(o.candidate.value or 0) for o in options}
    seen = [o for o, each in zip(options, heard, strict=True) if each]
    likely = [o.candidate.propensity or 0.0 for o in seen]
    assert steps.expected == pytest.approx(sum(likely))
    worth = sum(p * value[str(o.candidate.offer)] for p, o in zip(likely, seen, strict=True))
    assert steps.expected_value == pytest.approx(worth)


def test_a_sample_keeps_requests_with_their_responses() -> None:
    decisions = [made(number, [candidate(GOLD, "offered")]) for number in range(400)]
    answers = [said(f"d{number}.1", "accept") for number in range(400)]
    found = fold_log(reading(share=0.25), decisions, answers)
    steps = funnel(found, Part()).steps
    assert steps.offered == steps.accepted == sum(sampled(f"d{number}", 0.25) for number in range(400))
    assert 60 < steps.offered < 140


def test_a_strategy_that_is_not_kept_leaves_requests_without_candidates() -> None:
    _, record = decided(1, (40, 5_000, 3, True, "mobile", ["home_banner"], []))
    found = fold_log(reading(), [record], [])
    assert (found.unexplained, funnel(found, Part()).requests, funnel(found, Part()).candidates) == (1, 1, 0)
