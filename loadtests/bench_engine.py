"""How long a decision takes: `python loadtests/bench_engine.py [--quick]`.

Measures the processor time of one core for decide and settle together, without a model and without I/O, on generated
strategies: every offer has six conditions over 250 attributes, reasons and context weights; the customer has twenty
contacts under twelve limits; one decision in ten explores. The columns of the record (every candidate's fate) are made
when the record is encoded, and stand apart. Times are medians; that ten times the offers cost at most three times as
much is checked on rounds in turn, so that the machine's moods fall on both.
"""

import argparse
import gc
import statistics
import sys
import time
from dataclasses import dataclass
from random import Random

from decision_engine.candidate_records import CandidateRecords
from decision_engine.contact_ledger import ContactClock, ContactRecord, Scope
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Decision, DecisionRequest, PlacementRequest
from decision_engine.draft import Draft
from decision_engine.engine import decide, prepare, settle
from decision_engine.features.definitions import AttributeInfo, AttributeType, FeatureDeclarations
from decision_engine.identifiers import (
    CustomerId,
    DecisionId,
    OfferName,
    PlacementId,
    StrategyVersion,
    TreatmentName,
    key32,
)
from decision_engine.offers import ContextWeight, Offer, Placement, Reason, Rule, Treatment
from decision_engine.outcomes import ContactStatus
from decision_engine.prepared import PreparedStrategy
from decision_engine.strategy import (
    ConsentPurpose,
    ContactLimit,
    ContactWindow,
    Experiment,
    Exploration,
    Strategy,
)

NOW = 1_795_254_600_000
ATTRIBUTES = [f"amount_{number}" for number in range(250)]
PLACEMENTS = [PlacementId(name) for name in ("banner", "tile", "list", "pop_up")]


DAY = 86_400
LIMITS = (
    (Scope.OFFER, ContactWindow(rolling_seconds=7 * DAY), 2),
    (Scope.OFFER, ContactWindow(rolling_seconds=30 * DAY), 4),
    (Scope.OFFER, ContactWindow(calendar="month"), 3),
    (Scope.GROUP, ContactWindow(rolling_seconds=DAY), 8),
    (Scope.GROUP, ContactWindow(calendar="week"), 15),
    (Scope.GROUP, ContactWindow(calendar="month"), 30),
    (Scope.ISSUE, ContactWindow(rolling_seconds=DAY), 15),
    (Scope.ISSUE, ContactWindow(calendar="month"), 60),
    (Scope.CHANNEL, ContactWindow(calendar="day"), 30),
    (Scope.CHANNEL, ContactWindow(calendar="month"), 90),
    (Scope.ALL, ContactWindow(calendar="day"), 40),
    (Scope.ALL, ContactWindow(calendar="month"), 100),
)
TARGET_SCALING = 3.0
CASES = (
    ("60 offers, 1 placement", 60, 1, 1, 0.2, 120),
    ("60 offers, all pass, 1 placement", 60, 1, 1, 1.0, 250),
    ("1,000 offers x 5, 4 placements", 1000, 5, 4, 0.02, 300),
    ("1,000 offers x 5, 4 placements, many pass", 1000, 5, 4, 0.2, 600),
)
"""Title, offers, treatments, placements, share of offers that pass the gates, target in microseconds."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    rounds = 200 if parser.parse_args().quick else 2000
    print(
        f"{'case':<42}{'alive':>6}{'median us':>11}{'p99 us':>8}{'record us':>11}{'target us':>11}{'ratio':>7}  verdict"
    )
    failed = False
    for title, offers, treatments, placements, share, target in CASES:
        case = Case.of(offers, treatments, placements, share)
        times = [case.microseconds(number) for number in range(rounds)]
        records = [case.record_microseconds(number) for number in range(rounds // 4)]
        median, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
        failed |= median > target
        print(
            f"{title:<42}{case.alive:>6}{median:>11.0f}{p99:>8.0f}{statistics.median(records):>11.0f}{target:>11}"
            f"{median / target:>7.2f}  {'ok' if median <= target else 'SLOW'}"
        )
    scaling = measure_scaling(rounds // 4)
    failed |= scaling > TARGET_SCALING
    verdict = "ok" if scaling <= TARGET_SCALING else "SLOW"
    print(f"ten times the offers (10,000 x 5) cost {scaling:.2f} times as much; target {TARGET_SCALING:g}: {verdict}")
    return int(failed)


def measure_scaling(rounds: int) -> float:
    """How many times as much a decision over 10,000 offers costs as one over 1,000."""
    small, large = Case.of(1000, 5, 4, 0.02), Case.of(10_000, 5, 4, 0.02)
    times = [(small.microseconds(number), large.microseconds(number)) for number in range(rounds)]
    return statistics.median(time for _, time in times) / statistics.median(time for time, _ in times)


@dataclass(frozen=True)
class Case:
    """One strategy with the question asked of it; `alive` is how many of its offers pass all gates."""

    prepared: PreparedStrategy
    customer: CustomerSnapshot
    records: list[ContactRecord]
    asked: tuple[PlacementRequest, ...]
    alive: int

    @classmethod
    def of(cls, offers: int, treatments: int, placements: int, share: float) -> "Case":
        """Generated, and warmed up."""
        random = Random(7)
        prepared = prepare(make_strategy(random, offers, treatments, share))
        asked = tuple(PlacementRequest(id=id_, count=2) for id_ in PLACEMENTS[:placements])
        customer = CustomerSnapshot(
            known=True, attributes={name: random.randrange(1000) for name in ATTRIBUTES}, newest_event_ms=NOW - 1000
        )
        records = [make_record(random, offers) for _ in range(20)]
        for number in range(20):
            draft, _ = run(prepared, customer, records, asked, number)
        gc.collect()
        return cls(prepared, customer, records, asked, len(draft.ranking.order))

    def microseconds(self, number: int) -> float:
        """What one decision takes."""
        before = time.thread_time_ns()
        run(self.prepared, self.customer, self.records, self.asked, number)
        return (time.thread_time_ns() - before) / 1000

    def record_microseconds(self, number: int) -> float:
        """What the columns of one decision's record take."""
        _, decision = run(self.prepared, self.customer, self.records, self.asked, number)
        assert isinstance(decision.candidates, CandidateRecords)
        before = time.thread_time_ns()
        assert decision.candidates.placements
        return (time.thread_time_ns() - before) / 1000


def run(
    prepared: PreparedStrategy,
    customer: CustomerSnapshot,
    records: list[ContactRecord],
    asked: tuple[PlacementRequest, ...],
    number: int,
) -> tuple[Draft, Decision]:
    request = DecisionRequest(
        decision_id=DecisionId(f"d{number}"),
        customer_id=CustomerId("retail:1"),
        channel="mobile",
        placements=asked,
        now_ms=NOW,
    )
    draft = decide(prepared, request, customer, records, {})
    return draft, settle(prepared, draft, [0] * len(draft.reservation.positions))


def make_strategy(random: Random, offers: int, treatments: int, share: float) -> Strategy:
    """A strategy of which about `share` of the offers pass for the customer drawn from the same generator."""
    info = {
        name: AttributeInfo(
            name=name, type=AttributeType.INT, theme="t", description={}, source="s", default=None, definition=name
        )
        for name in ATTRIBUTES
    }
    limits = [
        ContactLimit(
            id=f"{scope.name.lower()}_{number}", scope=scope, of=None,
            statuses=ContactStatus.RESERVED | ContactStatus.ANY_RESPONSE,
            clock=ContactClock.CONTACT, window=window, limit=limit, code="CAP", text={},
        )
        for number, (scope, window, limit) in enumerate(LIMITS)
    ]  # fmt: skip
    return Strategy(
        name="bench", version=StrategyVersion("v"), time_zone="Asia/Shanghai", currency="CNY", locales=("en",),
        declarations=FeatureDeclarations(time_zone="Asia/Shanghai"), dictionary=info,
        offers=tuple(make_offer(random, number, treatments, share) for number in range(offers)),
        placements={
            id_: Placement(
                id=id_, channel="mobile", max_count=5, fallback_treatment=TreatmentName("f"), fallback_content={}
            )
            for id_ in PLACEMENTS
        },
        consents={
            name: ConsentPurpose(name=name, granted_by_default=True, text={})
            for name in ("marketing", "personalisation")
        },
        suitability=None, contact_limits=tuple(limits), reservation_seconds=600,
        exploration=Exploration(kind="epsilon_greedy", epsilon=0.1), experiment=Experiment(salt="s", shares={}),
        models=("m",), required_models=frozenset(), texts={},
    )  # fmt: skip


def make_offer(random: Random, number: int, treatments: int, share: float) -> Offer:
    name = OfferName(f"offer_{number:04}")
    floor = 1000 * (1 - share ** (1 / 6))
    rules = [
        Rule(id=f"r{place}", when=f"{random.choice(ATTRIBUTES)} >= {int(floor * random.uniform(0.6, 1.4))}", code="NO",
             text={})
        for place in range(6)
    ]  # fmt: skip
    return Offer(
        name=name, group=f"g{number % 10}", issue="acquire", value=random.randrange(1, 50_000),
        base_rate=random.random() / 10, lever=5.0, model="m", title={},
        treatments=tuple(
            Treatment(
                name=TreatmentName(f"{name}.mobile.t{place}"), channel="mobile",
                placements=(PLACEMENTS[place % len(PLACEMENTS)],), content={},
            )
            for place in range(treatments)
        ),
        eligibility=tuple(rules[:2]), applicability=tuple(rules[2:4]), suitability=tuple(rules[4:]),
        reasons=tuple(
            Reason(code=f"W{place}", when=f"{random.choice(ATTRIBUTES)} >= 500", text={"en": "why"})
            for place in range(2)
        ),
        context_weights=(ContextWeight(when=f"{random.choice(ATTRIBUTES)} >= 700", weight=20.0),),
    )  # fmt: skip


def make_record(random: Random, offers: int) -> ContactRecord:
    number = random.randrange(offers)
    moment = float(NOW - random.randrange(40 * 86_400_000))
    return ContactRecord(
        b"\0" * 8, key32(f"offer_{number:04}"), key32(f"g{number % 10}"), key32("acquire"), key32("mobile"),
        int(ContactStatus.IMPRESSION), 0, moment, moment + 600_000, moment, moment,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
