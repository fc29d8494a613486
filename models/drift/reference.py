"""What a version's training rows looked like: `reference.json` in its folder, which later rows are compared with.

Columns are counted over all rows the version was made of, scores over those it was only judged on, as scores of rows
that were learnt from are too sure of themselves.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import Column
from models.decision_log.design_matrix import ExampleSet
from models.drift.stability import Bins, category_bins, effective_rows, numeric_bins
from models.errors import ManifestInvalid

Vector = NDArray[np.float64]

REFERENCE_FILE = "reference.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Bins and how many rows of training were in each. `effective` is how many independent rows they are worth."""

    bins: Bins
    counts: tuple[float, ...]
    effective: float

    @property
    def missing(self) -> float:
        """The share of missing values."""
        return self.counts[-1] / max(1.0, sum(self.counts))


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnReference:
    """A column's distribution, where it comes from, and its part of the splits' gain (None: not known)."""

    name: str
    source: str
    distribution: Distribution
    importance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """All of it. `delays` are milliseconds from the first impression to the acceptance; None where nobody recorded
    them."""

    rows: int
    positives: int
    columns: tuple[ColumnReference, ...]
    scores: Distribution
    delays: Distribution | None = None

    @property
    def response_rate(self) -> float:
        """Positives a row."""
        return self.positives / self.rows


def reference_of(
    examples: ExampleSet, scores: Vector, judged: slice, gains: Sequence[float] | None = None
) -> Reference:
    """The reference of a version fitted on these rows. `scores` are of the rows `judged`; `gains` one a column."""
    total = sum(gains) if gains else 0.0
    worth = effective_of(examples.customers, examples.labels.size)
    columns = tuple(
        ColumnReference(
            name=column.name,
            source=column.source.value,
            distribution=_distribution(_column_bins(column, values), values, worth),
            importance=gains[place] / total if gains and total else None,
        )
        for place, (column, values) in enumerate(zip(examples.schema.columns, examples.matrix.T, strict=True))
    )
    judged_customers = None if examples.customers is None else examples.customers[judged]
    return Reference(
        rows=int(examples.labels.size),
        positives=int(examples.labels.sum()),
        columns=columns,
        scores=_distribution(numeric_bins(scores), scores, effective_of(judged_customers, scores.size)),
        delays=_delays(examples),
    )


def effective_of(customers: NDArray[np.str_] | None, rows: int) -> float:
    """How many independent rows there are; all of them where it is not known whose they are."""
    if customers is None or not customers.size:
        return float(rows)
    return effective_rows(np.unique(customers, return_counts=True)[1])


def encode_reference(reference: Reference) -> bytes:
    """The reference as JSON."""
    body = {
        "format": _FORMAT,
        "rows": reference.rows,
        "positives": reference.positives,
        "columns": [
            {
                "name": column.name,
                "source": column.source,
                "importance": column.importance,
                **_distribution_mapping(column.distribution),
            }
            for column in reference.columns
        ],
        "scores": _distribution_mapping(reference.scores),
        "delays": None if reference.delays is None else _distribution_mapping(reference.delays),
    }
    return json.dumps(body, indent=1).encode() + b"\n"


def decode_reference(text: bytes) -> Reference:
    """The reference of that JSON. Raises ManifestInvalid."""
    try:
        body = json.loads(text)
        if body["format"] != _FORMAT:
            raise ValueError(f"format {body['format']} is not {_FORMAT}")
        return Reference(
            rows=int(body["rows"]),
            positives=int(body["positives"]),
            columns=tuple(
                ColumnReference(
                    name=str(column["name"]),
                    source=str(column["source"]),
                    importance=None if column["importance"] is None else float(column["importance"]),
                    distribution=_distribution_from(column),
                )
                for column in body["columns"]
            ),
            scores=_distribution_from(body["scores"]),
            delays=None if body["delays"] is None else _distribution_from(body["delays"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ManifestInvalid(f"{REFERENCE_FILE} cannot be read: {type(error).__name__}: {error}") from error


def _column_bins(column: Column, values: Vector) -> Bins:
    return numeric_bins(values) if column.categories is None else category_bins(values)


def _distribution(bins: Bins, values: Vector, effective: float) -> Distribution:
    return Distribution(bins=bins, counts=tuple(bins.counts(values).tolist()), effective=effective)


def _delays(examples: ExampleSet) -> Distribution | None:
    if examples.delays_ms is None:
        return None
    known = examples.delays_ms[~np.isnan(examples.delays_ms)]
    return _distribution(numeric_bins(known), known, float(known.size))


def _distribution_mapping(distribution: Distribution) -> dict[str, object]:
    codes = distribution.bins.codes
    return {
        "edges": list(distribution.bins.edges),
        "codes": None if codes is None else list(codes),
        "counts": list(distribution.counts),
        "effective": distribution.effective,
    }


def _distribution_from(body: Mapping[str, object]) -> Distribution:
    edges, codes, counts, effective = (body[name] for name in ("edges", "codes", "counts", "effective"))
    if not isinstance(edges, list) or not isinstance(counts, list) or not isinstance(effective, int | float):
        raise TypeError("edges and counts must be lists, effective a number")
    bins = Bins(
        edges=tuple(float(edge) for edge in edges),
        codes=tuple(int(code) for code in codes) if isinstance(codes, list) else None,
    )
    if len(counts) != bins.size:
        raise ValueError(f"{len(counts)} counts for {bins.size} bins")
    return Distribution(bins=bins, counts=tuple(float(count) for count in counts), effective=float(effective))
