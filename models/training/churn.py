"""Churn: who will have left at the end of a horizon, learnt from what the service knew of everybody on earlier days.

A row is a customer on a snapshot's day who has not left; the label is whether the strategy's condition of having left
holds in the snapshot that many days later. Left out are customers who refused personalisation, who have left already,
who are not there any more, and of whom the later snapshot cannot tell. The score's own attribute and all that is
derived from it are no inputs: the model would learn from itself.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from pathlib import Path

import numpy as np

from decision_engine.conditions.check import checked_condition
from decision_engine.conditions.evaluation import Facts, Missing, compile_expression
from decision_engine.features.definitions import AttributeInfo, AttributeType, Value
from decision_engine.model_training import ModelTraining
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from models.decision_log.design_matrix import MOST_CATEGORIES, ExampleSet
from models.decision_log.input_meanings import InputMeaning
from models.decision_log.labelled_rows import Progress
from models.decision_log.state_snapshots import StateSnapshot, read_states, snapshot_days
from models.errors import TrainingRefused
from models.manifest import Manifest
from models.registry import ModelRegistry
from models.snapshot_matrix import snapshot_matrix
from models.training.disclosure import disclosure_of
from models.training.fit import FittedModel, fit_model
from models.training.settings import FitSettings
from models.training.settings_of import declared
from models.training.time_split import HELD_OUT_SHARE

DAY_MS = 86_400_000
_COVERED = 0.5
"""A text whose frequent values make up less is an identifier: it names people, it does not describe them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnQuery:
    """What to learn from: the declaration, the folder of snapshots, the strategy's dictionary, the bank's time zone,
    what no model may see, and the inputs in words."""

    training: ModelTraining
    snapshots: Path
    dictionary: Mapping[str, AttributeInfo]
    zone: tzinfo
    excluded: frozenset[str]
    meanings: Mapping[tuple[ColumnSource, str], InputMeaning]


@dataclass(frozen=True, slots=True)
class _Observed:
    """The rows of one day that have a label."""

    snapshot: StateSnapshot
    rows: tuple[int, ...]
    labels: tuple[bool, ...]


def train_churn(
    query: ChurnQuery, settings: FitSettings, registry: ModelRegistry, created_at: datetime, progress: Progress
) -> Manifest:
    """Reads, labels, fits, judges and registers. Raises TrainingRefused and RegistryError."""
    fitted = fit_churn(query, settings, progress)
    manifest = registry.save(fitted.draft, fitted.files, created_at)
    progress(f"registered {manifest.version}")
    return manifest


def fit_churn(query: ChurnQuery, settings: FitSettings, progress: Progress) -> FittedModel:
    """Fits the model on the labelled days as the strategy declares it. Raises TrainingRefused."""
    training = query.training
    observed = _observed(query, progress)
    examples = _example_set(query, observed)
    names = [groups.attribute for groups in training.protected]
    people = (day.snapshot.attributes(row, names) for day in observed for row in day.rows)
    withheld = _withheld(query)
    disclosure = disclosure_of(training, query.meanings, withheld, people)
    seconds = training.horizon_days * 86_400
    return fit_model(training.name, examples, seconds, declared(settings, training), progress, disclosure)


def own_attributes(training: ModelTraining, dictionary: Mapping[str, AttributeInfo]) -> frozenset[str]:
    """The attribute the score is written to, and whatever is derived from it."""
    own = {training.score} if training.score else set()
    derived = [info for info in dictionary.values() if info.source == "derived"]
    for _ in derived:  # one may be derived from another
        more = {info.name for info in derived if own & _words(info.definition)} - own
        if not more:
            break
        own |= more
    return frozenset(own)


def has_left(training: ModelTraining, dictionary: Mapping[str, AttributeInfo]) -> Callable[[Facts], Value | Missing]:
    """The strategy's condition of having left, ready to be asked."""
    types = {name: info.type for name, info in dictionary.items()}
    return compile_expression(checked_condition(training.leaves, types))


def _observed(query: ChurnQuery, progress: Progress) -> list[_Observed]:
    """Every day whose outcome is known, in order. Raises TrainingRefused when there are fewer than three."""
    horizon = timedelta(days=query.training.horizon_days)
    days = set(snapshot_days(query.snapshots))
    usable = sorted(day for day in days if day + horizon in days)
    if len(usable) < 3:
        raise TrainingRefused(
            f"{query.training.name}: {len(usable)} snapshots in {query.snapshots} have another {horizon.days} days "
            "after them; three at least are needed, to learn, to calibrate and to judge. Write more with "
            "`kairos snapshot --at DAY`"
        )
    left = has_left(query.training, query.dictionary)
    read: dict[date, StateSnapshot] = {}
    observed = []
    for day in usable:
        for wanted in (day, day + horizon):
            read.setdefault(wanted, read_states(query.snapshots, wanted, query.zone))
        observed.append(_label(read[day], read[day + horizon], left))
        progress(f"{day}: {len(observed[-1].rows):,} customers, {sum(observed[-1].labels):,} left by {day + horizon}")
        read = {kept: snapshot for kept, snapshot in read.items() if kept > day}
    return observed


def _label(now: StateSnapshot, later: StateSnapshot, left: Callable[[Facts], Value | Missing]) -> _Observed:
    place = {customer: row for row, customer in enumerate(later.customers)}
    rows, labels = [], []
    for row, customer in enumerate(now.customers):
        after = place.get(customer)
        if after is None or not now.personalised[row] or _asked(now, row, left) is True:
            continue
        answer = _asked(later, after, left)
        if isinstance(answer, bool):
            rows.append(row)
            labels.append(answer)
    return _Observed(now, tuple(rows), tuple(labels))


def _asked(snapshot: StateSnapshot, row: int, left: Callable[[Facts], Value | Missing]) -> Value | Missing:
    attributes = snapshot.attributes(row, snapshot.columns)
    return left(Facts(attributes, snapshot.holdings[row], snapshot.at_ms))


def _example_set(query: ChurnQuery, observed: Sequence[_Observed]) -> ExampleSet:
    schema = _schema(query, observed)
    matrix = np.concatenate([snapshot_matrix(day.snapshot, schema, day.rows) for day in observed])
    labels = np.array([float(label) for day in observed for label in day.labels])
    moments = np.concatenate([np.full(len(day.rows), day.snapshot.at_ms, np.int64) for day in observed])
    # The reference to beat is the rate of the days before: what one would guess of everybody.
    before = labels[: max(1, int(labels.size * (1 - HELD_OUT_SHARE) ** 2))]
    return ExampleSet(
        schema=schema,
        matrix=matrix,
        labels=labels,
        base_rates=np.full(labels.size, (before.sum() + 0.5) / (before.size + 1)),
        decided_ms=moments,
        label=f"has left within {query.training.horizon_days} days: {query.training.leaves}",
        overlap_ms=query.training.horizon_days * DAY_MS,
    )


def _schema(query: ChurnQuery, observed: Sequence[_Observed]) -> FeatureSchema:
    """The attributes of the earlier days; the last fifth has no say in what is a category."""
    known = [day.snapshot for day in observed[: max(1, int(len(observed) * (1 - HELD_OUT_SHARE)))]]
    withheld = _withheld(query)
    columns = []
    for name in sorted(set(query.dictionary) - withheld):
        values = [value for snapshot in known for value in snapshot.columns.get(name, ()) if value is not None]
        if not values:
            continue
        if query.dictionary[name].type is not AttributeType.STRING:
            columns.append(Column(name=name, source=ColumnSource.ATTRIBUTE))
            continue
        frequent = Counter(map(str, values)).most_common(MOST_CATEGORIES)
        if sum(count for _, count in frequent) >= _COVERED * len(values):
            categories = tuple(sorted(text for text, _ in frequent))
            columns.append(Column(name=name, source=ColumnSource.ATTRIBUTE, categories=categories))
    return FeatureSchema(tuple(columns))


def _withheld(query: ChurnQuery) -> frozenset[str]:
    """What is no input: the strategy's, the groups the model is judged between, the score itself."""
    protected = {groups.attribute for groups in query.training.protected}
    return query.excluded | protected | own_attributes(query.training, query.dictionary)


def _words(expression: str) -> set[str]:
    cleaned = "".join(c if c.isalnum() or c == "_" else " " for c in expression)
    return set(cleaned.split())
