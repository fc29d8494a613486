"""Every customer of a snapshot with the segments they are in: the strategy's own conditions, compiled as for decisions.

Whoever does not want to be profiled is counted, and is in no segment, no list and no flow.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from decision_engine.conditions.check import NOW, checked_condition
from decision_engine.conditions.evaluation import Facts, Missing, compile_expression
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.model_training import Family
from decision_engine.strategy import Strategy
from decision_engine.tags import Segment

VALUES = ("aum", "balance", "contribution_score")
"""What a customer is worth, where nothing else is asked for: the first of these that the strategy has."""


class Snapshot(Protocol):
    """All customers as of `at_ms` (epoch milliseconds), by column; None where missing."""

    @property
    def day(self) -> date: ...

    @property
    def at_ms(self) -> int: ...

    @property
    def customers(self) -> Sequence[str]: ...

    @property
    def holdings(self) -> Sequence[frozenset[str]]: ...

    @property
    def personalised(self) -> Sequence[bool]: ...

    @property
    def columns(self) -> Mapping[str, Sequence[Value | None]]: ...


@dataclass(frozen=True, slots=True)
class Question:
    """A compiled condition and the attributes it reads."""

    holds: Callable[[Facts], Value | Missing]
    names: tuple[str, ...]

    @classmethod
    def of(cls, text: str, types: Mapping[str, AttributeType]) -> "Question":
        """Compiles a condition that the strategy's loading has checked."""
        checked = checked_condition(text, types)
        return cls(compile_expression(checked), tuple(name for name in checked.names if name != NOW))


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentConditions:
    """The segments of a strategy, ready to be asked of a snapshot."""

    segments: tuple[Segment, ...]
    questions: Mapping[str, Question]
    """By segment; in an order in which each comes after those that it names."""
    left: Question | None
    """Whether a customer has left, as the training of the churn model says."""
    score: str | None
    """The attribute that holds the churn score, in percent."""

    @classmethod
    def of(cls, strategy: Strategy) -> "SegmentConditions":
        """Compiles the conditions."""
        types = {name: info.type for name, info in strategy.dictionary.items()}
        churn = next((training for training in strategy.trainings if training.family is Family.CHURN), None)
        return cls(
            segments=strategy.segments,
            questions=_ordered({segment.name: Question.of(segment.when, types) for segment in strategy.segments}),
            left=None if churn is None or not churn.leaves else Question.of(churn.leaves, types),
            score=None if churn is None else churn.score,
        )

    @property
    def names(self) -> frozenset[str]:
        """The attributes a snapshot is asked for."""
        asked = {name for question in self.questions.values() for name in question.names}
        asked |= set() if self.left is None else set(self.left.names)
        asked |= {self.score} if self.score else set()
        return frozenset(asked - {segment.attribute for segment in self.segments})


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmented:
    """The customers of a snapshot who may be profiled. `masks` has a bit for each segment, in the strategy's order;
    `left` and `scores` are None where nothing says so. `unprofiled` is how many were left out, `missing` which
    attributes the snapshot does not have."""

    day: date
    segments: tuple[Segment, ...]
    customers: tuple[str, ...]
    masks: tuple[int, ...]
    values: tuple[float | None, ...]
    scores: tuple[float | None, ...]
    left: tuple[bool, ...]
    unprofiled: int
    missing: tuple[str, ...]

    def bit(self, name: str) -> int:
        """The bit of a segment. Raises KeyError."""
        for number, segment in enumerate(self.segments):
            if segment.name == name:
                return 1 << number
        raise KeyError(name)

    def names(self, mask: int) -> tuple[str, ...]:
        """The segments of a mask, in the strategy's order."""
        return tuple(segment.name for number, segment in enumerate(self.segments) if mask >> number & 1)


def segmented(snapshot: Snapshot, conditions: SegmentConditions, value: str | None) -> Segmented:
    """Asks the conditions of every customer who may be profiled. `value` is the attribute of worth, None for none."""
    place = {segment.name: number for number, segment in enumerate(conditions.segments)}
    steps = [
        (question, 1 << place[name], conditions.segments[place[name]].attribute)
        for name, question in conditions.questions.items()
    ]
    columns = {name: snapshot.columns[name] for name in conditions.names if name in snapshot.columns}
    rows = [row for row, allowed in enumerate(snapshot.personalised) if allowed]
    masks, left = [], []
    for row in rows:
        attributes: dict[str, Value] = {
            name: known for name, column in columns.items() if (known := column[row]) is not None
        }
        facts = Facts(attributes, snapshot.holdings[row], snapshot.at_ms)
        mask = 0
        for question, bit, attribute in steps:
            belongs = question.holds(facts) is True
            attributes[attribute] = belongs
            mask |= bit if belongs else 0
        masks.append(mask)
        left.append(conditions.left is not None and conditions.left.holds(facts) is True)
    return Segmented(
        day=snapshot.day,
        segments=conditions.segments,
        customers=tuple(snapshot.customers[row] for row in rows),
        masks=tuple(masks),
        values=_numbers(snapshot, value, rows),
        scores=_numbers(snapshot, conditions.score, rows),
        left=tuple(left),
        unprofiled=len(snapshot.personalised) - len(rows),
        missing=tuple(sorted(conditions.names - columns.keys())),
    )


def _numbers(snapshot: Snapshot, name: str | None, rows: Sequence[int]) -> tuple[float | None, ...]:
    column = None if name is None else snapshot.columns.get(name)
    if column is None:
        return (None,) * len(rows)
    return tuple(float(known) if isinstance(known := column[row], int | float) else None for row in rows)


def _ordered(questions: Mapping[str, Question]) -> dict[str, Question]:
    """Each after those whose attribute it names; the strategy's loading has refused circles."""
    ordered: dict[str, Question] = {}

    def place(name: str) -> None:
        if name in ordered:
            return
        for asked in questions[name].names:
            other = asked.removeprefix("segment_")
            if other != asked and other in questions and other != name:
                place(other)
        ordered[name] = questions[name]

    for name in questions:
        place(name)
    return ordered
