"""Many questions decided together give the drafts that the engine makes of each alone, bit for bit."""

from dataclasses import fields, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from decision_engine.alike import DIFFERENT, Likeness, likeness
from decision_engine.arbitration import Ranking
from decision_engine.contact_ledger import ContactRecord
from decision_engine.customer import UNKNOWN_CUSTOMER, CustomerSnapshot
from decision_engine.deciding_together import Question, Together, decide_together
from decision_engine.decision import DecisionRequest, PlacementRequest
from decision_engine.draft import Draft
from decision_engine.engine import LEDGER_UNAVAILABLE, decide, prepare, settle
from decision_engine.exploration import RANDOM_ORDER
from decision_engine.features.definitions import AttributeType
from decision_engine.identifiers import CustomerId, DecisionId, StrategyVersion, key32
from decision_engine.online import OnlineLearning, OnlineTable, Row
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Matrix
from decision_engine.strategy import Strategy
from decision_engine.volume_view import VolumeStanding
from services.adapters.file_strategy_source import load_strategy_file

DECLARED = load_strategy_file(Path(__file__).parents[3] / "deploy" / "strategies" / "demo_bank")
LEARNING = OnlineLearning(half_life_seconds=86_400, window_seconds=3600, steps=(3600,), segments=("seniors", "minors"))
STRATEGY = replace(DECLARED, online=LEARNING)
PREPARED = prepare(STRATEGY)
NOW = 1_795_254_600_000
DAY = 86_400_000


class Hashing:
    """Answers every row with a number made of all its columns, so that a wrong row cannot go unseen."""

    version = "hashing-1"
    schema = FeatureSchema(
        (
            Column(name="age", source=ColumnSource.ATTRIBUTE),
            Column(name="balance", source=ColumnSource.ATTRIBUTE),
            Column(name="hour", source=ColumnSource.CONTEXT),
            Column(name="base_rate", source=ColumnSource.OFFER),
            Column(name="value", source=ColumnSource.OFFER),
        )
    )

    def score(self, matrix: Matrix) -> Any:
        # Column by column: a matrix product may round otherwise where there are more rows.
        mixed = sum(np.nan_to_num(matrix[:, n]) * w for n, w in enumerate((0.0137, 1e-7, 0.021, 3.1, 1e-5)))
        return np.abs(np.modf(mixed)[0]) * 0.3


class FailingForMinors(Hashing):
    version = "failing-1"

    def score(self, matrix: Matrix) -> Any:
        if (matrix[:, 0] < 18).any():
            raise ValueError("no minors")
        return super().score(matrix)


def random_table(draw: Random) -> OnlineTable:
    names = tuple(treatment.name for offer in STRATEGY.offers for treatment in offer.treatments)
    named = tuple(sorted(draw.sample(names, len(names) // 2)))

    def row() -> Row:
        return Row(
            multipliers=np.array([draw.uniform(0.3, 3.0) for _ in named]),
            shapes=np.array([draw.uniform(1.0, 9.0) for _ in named]),
        )

    rows = {(Hashing.version, segment): row() for segment in ("seniors", "")}
    return OnlineTable(treatments=named, unseen=row(), rows=rows, as_of_ms=NOW)


def random_value(draw: Random, kind: AttributeType) -> Any:
    match kind:
        case AttributeType.BOOL:
            return draw.random() < 0.5
        case AttributeType.INT:
            return draw.choice([0, 1, 2, 5, 17, 40, 65, 10_000, 6_000_000])
        case AttributeType.DOUBLE:
            return draw.choice([0.0, 0.3, 1.5, 80.0])
        case AttributeType.TIMESTAMP:
            return NOW - draw.randrange(-5, 900) * DAY
        case _:
            return draw.choice(["female", "male", "beijing", "company", "platinum", "C3", "zzz"])


def random_customer(draw: Random) -> CustomerSnapshot:
    if draw.random() < 0.05:
        return UNKNOWN_CUSTOMER
    products = sorted({str(offer.product) for offer in STRATEGY.offers if offer.product})
    return CustomerSnapshot(
        known=True,
        attributes={
            name: random_value(draw, info.type) for name, info in STRATEGY.dictionary.items() if draw.random() < 0.9
        },
        holdings=frozenset(draw.sample(products, draw.randrange(4))),
        consents={name: draw.random() < 0.9 for name in STRATEGY.consents if draw.random() < 0.8},
        newest_event_ms=NOW - 1000,
    )


def random_contact(draw: Random) -> ContactRecord:
    offer = draw.choice(STRATEGY.offers)
    at = float(NOW - draw.randrange(30 * DAY))
    return ContactRecord(
        tracking=draw.randbytes(8),
        offer=key32(offer.name),
        group=key32(offer.group),
        issue=key32(offer.issue),
        channel=key32(draw.choice(["mobile", "sms"])),
        status=draw.choice([1, 3, 7, 11]),
        flags=0,
        reserved_ms=at,
        expires_ms=at + 600_000,
        contact_ms=at,
        outcome_ms=at,
    )


def random_switches(draw: Random) -> tuple[str, ...]:
    offers = draw.sample(STRATEGY.offers, 2)
    named = [f"offer:{offers[0].name}", f"group:{offers[1].group}", "model:cross_sell", "channel:mobile"]
    named += [f"strategy:{STRATEGY.name}", f"strategy:{STRATEGY.version}"]
    weights = [8, 4, 4, 1, 1, 1]
    return tuple(sorted(set(draw.choices(named, weights, k=draw.randrange(1, 3)))))


def random_question(draw: Random, number: int, scorers: Any) -> Question:
    places = list(STRATEGY.placements.values())
    place = draw.choice(places)
    beside = [other for other in places if other.channel == place.channel and other.id != place.id]
    asked = [place, *draw.sample(beside, draw.randrange(len(beside) + 1))]
    volumes = {
        volume.id: VolumeStanding(draw.choice([0, 1, 50]), draw.random() < 0.5, draw.choice([0.0, 0.0, 30.0]))
        for volume in STRATEGY.volumes
        if draw.random() < 0.7
    }
    request = DecisionRequest(
        decision_id=DecisionId(f"D{draw.random()}"),
        customer_id=CustomerId(f"retail:{number}"),
        channel=place.channel,
        placements=tuple(PlacementRequest(id=each.id, count=draw.randrange(1, 4)) for each in asked),
        now_ms=NOW + draw.randrange(DAY),
        context={"page": draw.choice(["cards", "loans"])} if draw.random() < 0.5 else {},
        allow_duplicates=draw.random() < 0.1,
        online=random_table(draw) if draw.random() < 0.5 else None,
        degraded_causes=(LEDGER_UNAVAILABLE,) if draw.random() < 0.05 else (),
        switches=random_switches(draw) if draw.random() < 0.3 else (),
    )
    records = [random_contact(draw) for _ in range(draw.randrange(25))]
    return Question(request, random_customer(draw), records, scorers, volumes if draw.random() < 0.6 else {})


def require_equal(one: Any, other: Any, where: str) -> None:
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), where
    elif hasattr(one, "__dataclass_fields__") and where != ".request":
        for each in fields(one):
            require_equal(getattr(one, each.name), getattr(other, each.name), f"{where}.{each.name}")
    elif isinstance(one, Ranking):
        for name in one._fields:
            require_equal(getattr(one, name), getattr(other, name), f"{where}.{name}")
    else:
        assert one == other, where


def require_as_alone(prepared: PreparedStrategy, question: Question, draft: Draft) -> int:
    """Compares with the engine; answers how many options are offered."""
    alone = decide(prepared, *question)
    for name in ("personalised", "truth", "falls", "held_out", "held_back", "reservation", "volumes"):
        require_equal(getattr(alone, name), getattr(draft, name), f".{name}")
    require_equal(alone.ranking, draft.ranking, ".ranking")
    for name in ("propensity", "versions", "causes", "failed", "model_of"):
        require_equal(getattr(alone.scores, name), getattr(draft.scores, name), f".scores.{name}")
    assert (alone.scores.online is None) == (draft.scores.online is None)
    taken = [0 if position else None for position in alone.reservation.positions]
    expected, found = settle(prepared, alone, taken), settle(prepared, draft, taken)
    assert tuple(expected.candidates) == tuple(found.candidates)
    assert expected.placements == found.placements
    assert expected.online == found.online
    return sum(len(placement.options) for placement in found.placements)


SCORERS: list[dict[str, Any]] = [
    {},
    {"cross_sell": Hashing()},
    {"cross_sell": FailingForMinors()},
    {"cross_sell": Hashing(), "acquisition": Hashing()},
]


@pytest.mark.parametrize("scorers", SCORERS)
def test_drafts_and_decisions_are_those_of_the_engine(scorers: Any) -> None:
    draw = Random(11)
    questions = [random_question(draw, number, scorers) for number in range(150)]
    drafts = decide_together(PREPARED, questions)
    assert sum(require_as_alone(PREPARED, *each) for each in zip(questions, drafts, strict=True)) > 50


def changed(**changes: Any) -> Strategy:
    """The strategy with every third offer changed."""
    offers = [replace(o, **changes) if number % 3 == 0 else o for number, o in enumerate(STRATEGY.offers)]
    return replace(STRATEGY, offers=tuple(offers), version=StrategyVersion("another"))


@pytest.mark.parametrize("scorers", SCORERS)
@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (changed(lever=25.0, context_weights=()), Likeness(gates=True, scores=True)),
        (replace(STRATEGY, exploration=RANDOM_ORDER), Likeness(gates=True, scores=True)),
        (changed(value=123, base_rate=0.07), Likeness(gates=True, scores=False)),
        (changed(eligibility=()), DIFFERENT),
        (replace(STRATEGY, contact_limits=STRATEGY.contact_limits[1:]), DIFFERENT),
        (changed(available_until_ms=NOW), DIFFERENT),
    ],
)
def test_who_decides_beside_another_decides_as_alone(scorers: Any, other: Strategy, alike: Likeness) -> None:
    assert likeness(STRATEGY, other) == alike
    draw = Random(17)
    questions = [random_question(draw, number, scorers) for number in range(60)]
    # Contacts, volumes and models may have become others meanwhile.
    mine = [
        question._replace(
            records=question.records[1:] if draw.random() < 0.3 else list(question.records),
            volumes={} if draw.random() < 0.2 else dict(question.volumes),
            scorers={} if draw.random() < 0.2 else dict(question.scorers),
        )
        for question in questions
    ]
    prepared = prepare(other)
    found = Together(prepared, mine, beside=Together(PREPARED, questions), alike=alike).drafts
    assert sum(require_as_alone(prepared, *each) for each in zip(mine, found, strict=True)) > 20


def test_what_is_known_of_the_conditions_is_used() -> None:
    draw = Random(5)
    questions = [random_question(draw, number, {}) for number in range(20)]
    truth = PREPARED.conditions.evaluate_all([(each.request, each.snapshot) for each in questions])
    given = decide_together(PREPARED, questions, truth)
    assert [draft.reservation for draft in given] == [
        draft.reservation for draft in decide_together(PREPARED, questions)
    ]
    nothing_holds = decide_together(PREPARED, questions, np.zeros_like(truth))
    assert sum(len(each.reservation.positions) for each in nothing_holds) < sum(
        len(each.reservation.positions) for each in given
    )


def test_no_questions_are_no_drafts() -> None:
    assert decide_together(PREPARED, []) == []
