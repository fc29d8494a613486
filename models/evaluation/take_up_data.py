"""Observations for unprompted take-up: what the service knew of each customer on a day, and who took a loan after.

Snapshots are Parquet files `<YYYY-MM-DD>.parquet` with `customer_id` and one column an attribute, as served on that
day. Labels come from the Berka bank's own loan file (semicolon-separated, dates YYMMDD).
"""

import calendar
import csv
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from decision_engine.features.definitions import AttributeInfo, AttributeType, Value
from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Matrix
from models.errors import EvaluationRefused

_LOAN_FILES = ("loan.asc.gz", "loan.asc")
_TRANSACTIONS = "bank.transaction."
_CUSTOMER_PREFIX = "retail:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All customers' attributes on one day; None where missing."""

    day: date
    customers: tuple[str, ...]
    columns: Mapping[str, Sequence[Value | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Rows of customers who could still take a first loan, and whether they did within the horizon."""

    matrix: Matrix
    labels: NDArray[np.float64]


def read_snapshot(folder: Path, day: date) -> Snapshot:
    """The snapshot of that day. Raises EvaluationRefused when there is none."""
    path = folder / f"{day.isoformat()}.parquet"
    if not path.is_file():
        raise EvaluationRefused(
            f"no snapshot {path}; make them with `kairos replay --data DIR --snapshot-at {day.isoformat()} "
            f"--snapshots {folder}`"
        )
    columns = pq.read_table(path, partitioning=None).to_pydict()
    customers = columns.pop("customer_id", None)
    if customers is None:
        raise EvaluationRefused(f"{path} has no column customer_id")
    return Snapshot(day=day, customers=tuple(str(customer) for customer in customers), columns=columns)


def read_first_loans(data: Path) -> dict[str, date]:
    """Customer to the day of the first loan. Raises EvaluationRefused when the file is absent or of another form."""
    path = next((data / name for name in _LOAN_FILES if (data / name).is_file()), None)
    if path is None:
        raise EvaluationRefused(
            f"no {_LOAN_FILES[0]} in {data}: give the folder of the Berka data with --labels-from or KAIROS_DATA"
        )
    first: dict[str, date] = {}
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for row in csv.DictReader(StringIO(content.decode("latin-1")), delimiter=";"):
            customer = f"{_CUSTOMER_PREFIX}{int(row['account_id'])}"
            granted = datetime.strptime(f"19{row['date']}", "%Y%m%d").date()  # noqa: DTZ007 (a date, no moment)
            first[customer] = min(granted, first.get(customer, granted))
    except (KeyError, ValueError, OSError) as error:
        raise EvaluationRefused(f"{path} is not the loan file of the Berka data: {error!r}") from error
    return first


def attribute_schema(snapshots: Sequence[Snapshot], wanted: frozenset[str]) -> FeatureSchema:
    """The wanted attributes of the snapshots as columns; texts become categories."""
    columns = []
    for name in sorted(wanted & set(snapshots[0].columns)):
        values = [value for snapshot in snapshots for value in snapshot.columns.get(name, ())]
        texts = {value for value in values if isinstance(value, str)}
        if any(value is not None for value in values):
            categories = tuple(sorted(texts)) if texts else None
            columns.append(Column(name=name, source=ColumnSource.ATTRIBUTE, categories=categories))
    return FeatureSchema(tuple(columns))


def observe(snapshot: Snapshot, first_loans: Mapping[str, date], schema: FeatureSchema, months: int) -> Observations:
    """The customers without a loan up to the day; positive who got the first within so many months after it."""
    horizon = months_later(snapshot.day, months)
    kept = [i for i, c in enumerate(snapshot.customers) if first_loans.get(c, date.max) > snapshot.day]
    matrix = np.full((len(kept), len(schema.columns)), np.nan)
    for position, column in enumerate(schema.columns):
        codes = None if column.categories is None else {text: i for i, text in enumerate(column.categories)}
        values = snapshot.columns.get(column.name, (None,) * len(snapshot.customers))
        matrix[:, position] = [_number(values[i], codes) for i in kept]
    labels = np.array([float(first_loans.get(snapshot.customers[i], date.max) <= horizon) for i in kept])
    return Observations(matrix=matrix, labels=labels)


def months_later(day: date, months: int) -> date:
    """The same day of the month so many months on, or that month's last."""
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def learnable(dictionary: Mapping[str, AttributeInfo]) -> frozenset[str]:
    """All attributes but moments, which only tell the snapshot's day."""
    return frozenset(i.name for i in dictionary.values() if i.type is not AttributeType.TIMESTAMP)


def without_transactions(dictionary: Mapping[str, AttributeInfo]) -> frozenset[str]:
    """The learnable attributes that no transaction has a part in, not even through a derived feature."""
    tainted = {info.name for info in dictionary.values() if info.source.startswith(_TRANSACTIONS)}
    derived = [info for info in dictionary.values() if info.source == "derived"]
    for _ in derived:  # a derived feature may use another one
        tainted |= {info.name for info in derived if tainted & _names(info.definition)}
    return learnable(dictionary) - tainted


def _names(expression: str) -> set[str]:
    cleaned = "".join(c if c.isalnum() or c == "_" else " " for c in expression)
    return set(cleaned.split())


def _number(value: Value | None, codes: Mapping[str, int] | None) -> float:
    if value is None:
        return float("nan")
    if codes is not None:
        return float(codes.get(value, float("nan"))) if isinstance(value, str) else float("nan")
    return float("nan") if isinstance(value, str) else float(value)
