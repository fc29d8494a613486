"""From examples to numbers: which columns there are, and their values exactly as the engine computes them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import Value
from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Matrix
from models.decision_log.examples import LABEL, Example, LoggedDecision, OfferFacts

MOST_CATEGORIES = 64
"""Rarer texts are missing values: a category seen a few times teaches noise."""

OFFER_TEXTS = ("offer", "group", "issue")
OFFER_NUMBERS = ("base_rate", "value")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleSet:
    """Rows ready for fitting, in time order. `base_rates` are the offers' declared rates, the reference to beat.
    `label` says what a positive is; a label that stays open for `overlap_ms` after its row keeps the parts of the split
    that far apart (0: not)."""

    schema: FeatureSchema
    matrix: Matrix
    labels: NDArray[np.float64]
    base_rates: NDArray[np.float64]
    decided_ms: NDArray[np.int64]
    label: str = LABEL
    overlap_ms: int = 0
    customers: NDArray[np.str_] | None = None
    """Whose rows they are, where that is known: rows of one customer say less than rows of many."""
    delays_ms: NDArray[np.float64] | None = None
    """From the first impression to the acceptance, NaN without one, where that is known."""


def derive_schema(examples: Sequence[Example], excluded: frozenset[str] = frozenset()) -> FeatureSchema:
    """The columns these examples can fill: every served attribute but the excluded, request and offer facts."""
    decisions = [example.decision for example in examples]
    columns = [
        *_value_columns((d.attributes for d in decisions), ColumnSource.ATTRIBUTE, excluded),
        _texts_column("channel", ColumnSource.CONTEXT, (d.channel for d in decisions)),
        Column(name="hour", source=ColumnSource.CONTEXT),
        Column(name="weekday", source=ColumnSource.CONTEXT),
        *_value_columns(
            (d.context for d in decisions), ColumnSource.CONTEXT, frozenset({"channel", "hour", "weekday"})
        ),
        *(
            _texts_column(name, ColumnSource.OFFER, (str(getattr(example.offer, name)) for example in examples))
            for name in OFFER_TEXTS
        ),
        *(Column(name=name, source=ColumnSource.OFFER) for name in OFFER_NUMBERS),
        *_offer_attribute_columns(examples),
    ]
    return FeatureSchema(tuple(columns))


def build_examples(examples: Sequence[Example], schema: FeatureSchema, zone: tzinfo) -> ExampleSet:
    """The examples as a matrix over these columns; `zone` is the bank's time zone, for hour and weekday."""
    return ExampleSet(
        schema=schema,
        matrix=build_matrix([(example.decision, example.offer) for example in examples], schema, zone),
        labels=np.array([float(example.accepted) for example in examples]),
        base_rates=np.array([example.offer.base_rate for example in examples]),
        decided_ms=np.array([example.decision.decided_ms for example in examples], dtype=np.int64),
        customers=np.array([example.decision.customer_id for example in examples], dtype=np.str_),
        delays_ms=np.array([np.nan if example.delay_ms is None else example.delay_ms for example in examples]),
    )


def build_matrix(rows: Sequence[tuple[LoggedDecision, OfferFacts]], schema: FeatureSchema, zone: tzinfo) -> Matrix:
    """One row for each pair of decision and offer; what is missing or an unseen category is NaN."""
    matrix = np.full((len(rows), len(schema.columns)), np.nan)
    decisions, offers = [decision for decision, _ in rows], [offer for _, offer in rows]
    stamped = _stamped(decisions, schema, zone)
    for position, column in enumerate(schema.columns):
        name = column.name
        if column.source is ColumnSource.ATTRIBUTE:
            values: Sequence[Value | None] = [decision.attributes.get(name) for decision in decisions]
        elif column.source is ColumnSource.OFFER:
            values = _of_offers(name, offers)
        else:
            values = stamped.get(name) or [decision.context.get(name) for decision in decisions]
        matrix[:, position] = _numbers(values, column.categories)
    return matrix


def _stamped(decisions: Sequence[LoggedDecision], schema: FeatureSchema, zone: tzinfo) -> dict[str, list[Value | None]]:
    """What every decision is stamped with, of the columns that are asked for."""
    wanted = {column.name for column in schema.columns if column.source is ColumnSource.CONTEXT}
    found: dict[str, list[Value | None]] = {"channel": [decision.channel for decision in decisions]}
    if wanted & {"hour", "weekday"}:
        moments = [datetime.fromtimestamp(decision.decided_ms / 1000, UTC).astimezone(zone) for decision in decisions]
        found["hour"] = [moment.hour for moment in moments]
        found["weekday"] = [moment.weekday() for moment in moments]
    return found


def _of_offers(name: str, offers: Sequence[OfferFacts]) -> list[Value | None]:
    """A fact of each row's offer, looked up once an offer."""
    own = name in OFFER_TEXTS or name in OFFER_NUMBERS
    facts = {id(offer): offer for offer in offers}
    known: dict[int, Value | None] = {
        key: getattr(offer, name) if own else offer.attributes.get(name) for key, offer in facts.items()
    }
    return [known[id(offer)] for offer in offers]


def _numbers(values: Sequence[Value | None], categories: Sequence[str] | None) -> NDArray[np.float64]:
    """Codes of categories, or numbers; a text among numbers and a number among texts are missing."""
    if categories is not None:
        code = {text: float(place) for place, text in enumerate(categories)}.get
        return np.array([np.nan if value is None else code(value, np.nan) for value in values], np.float64)  # type: ignore[arg-type]
    if str in set(map(type, values)):
        values = [None if isinstance(value, str) else value for value in values]
    return np.array(values, np.float64)  # None becomes NaN


def _value_columns(
    mappings: Iterable[Mapping[str, Value]], source: ColumnSource, excluded: frozenset[str]
) -> list[Column]:
    """A column for every name; one whose values are texts is categorical, one that mixes both is left out."""
    numeric: set[str] = set()
    texts: dict[str, Counter[str]] = {}
    for mapping in mappings:
        for name, value in mapping.items():
            if isinstance(value, str):
                texts.setdefault(name, Counter())[value] += 1
            else:
                numeric.add(name)
    names = (numeric | set(texts)) - (numeric & set(texts)) - excluded
    return [
        Column(name=name, source=source, categories=_frequent(texts[name]) if name in texts else None)
        for name in sorted(names)
    ]


def _texts_column(name: str, source: ColumnSource, values: Iterable[str]) -> Column:
    return Column(name=name, source=source, categories=_frequent(Counter(values)))


def _offer_attribute_columns(examples: Sequence[Example]) -> list[Column]:
    names = {name for example in examples for name in example.offer.attributes}
    return [Column(name=name, source=ColumnSource.OFFER) for name in sorted(names)]


def _frequent(counts: Counter[str]) -> tuple[str, ...]:
    kept = sorted(counts, key=lambda text: (-counts[text], text))[:MOST_CATEGORIES]
    return tuple(sorted(kept))
