"""The Portuguese bank's telephone offers (UCI Bank Marketing), as rows for training: 45,211 calls from May 2008 on.

`duration`, how long the call lasted, is known only after it and never read. The file has day and month but no year;
it is ordered by date, so a year begins where the month falls. Within a day the order is the file's.
"""

import csv
import io
import os
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from models.decision_log.design_matrix import ExampleSet

ARCHIVE = Path(os.environ.get("KAIROS_DATA", "../shared/data")) / "bank_marketing" / "bank.zip"
FIRST_YEAR = 2008
_FILE = "bank-full.csv"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TEXTS = ("job", "marital", "education", "default", "housing", "loan", "contact", "month", "poutcome")
COLUMNS = (
    *("age", "job", "marital", "education", "default", "balance", "housing", "loan", "contact", "day", "month"),
    *("campaign", "pdays", "previous", "poutcome"),
)
CALENDAR = frozenset({"day", "month"})
"""These move with the calendar."""


@dataclass(frozen=True, slots=True)
class Calls:
    """All calls in the file's order, with the year each was made in."""

    examples: ExampleSet
    years: NDArray[np.intp]

    def __len__(self) -> int:
        return int(self.years.size)

    def between(self, start: int, stop: int) -> ExampleSet:
        """The calls at these positions; the reference to beat is their own share of acceptances."""
        rows, labels = slice(start, stop), self.examples.labels[start:stop]
        return ExampleSet(
            schema=self.examples.schema,
            matrix=self.examples.matrix[rows],
            labels=labels,
            base_rates=np.full(labels.size, float(labels.mean())),
            decided_ms=self.examples.decided_ms[rows],
            label=self.examples.label,
        )


def read_calls(archive: Path = ARCHIVE) -> Calls:
    """Reads the archive. Raises FileNotFoundError where it is not."""
    with zipfile.ZipFile(archive) as packed, packed.open(_FILE) as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8"), delimiter=";"))
    years = _years([_MONTHS.index(row["month"]) for row in rows])
    labels = np.array([float(row["y"] == "yes") for row in rows])
    columns = tuple(_column(name, rows) for name in COLUMNS)
    return Calls(
        ExampleSet(
            schema=FeatureSchema(columns),
            matrix=np.column_stack([_values(column, rows) for column in columns]),
            labels=labels,
            base_rates=np.full(labels.size, float(labels.mean())),
            decided_ms=_moments(rows, years),
            label="the customer took out a term deposit",
        ),
        years,
    )


def _years(months: list[int]) -> NDArray[np.intp]:
    fell = np.diff(np.array(months), prepend=months[0]) < 0
    return FIRST_YEAR + np.cumsum(fell)


def _moments(rows: list[dict[str, str]], years: NDArray[np.intp]) -> NDArray[np.int64]:
    """Noon of the day, and a second for every call before it on the day."""
    days = [
        datetime(int(year), _MONTHS.index(row["month"]) + 1, int(row["day"]), 12, tzinfo=UTC)
        for row, year in zip(rows, years, strict=True)
    ]
    moments, started = np.empty(len(days), np.int64), 0
    for place, day in enumerate(days):
        started = place if place and day != days[place - 1] else started
        moments[place] = round(day.timestamp() * 1000) + 1000 * (place - started)
    return moments


def _column(name: str, rows: list[dict[str, str]]) -> Column:
    categories = tuple(sorted({row[name] for row in rows})) if name in _TEXTS else None
    return Column(name=name, source=ColumnSource.ATTRIBUTE, categories=categories)


def _values(column: Column, rows: list[dict[str, str]]) -> NDArray[np.float64]:
    texts = [row[column.name] for row in rows]
    if column.categories is not None:
        codes = {text: float(code) for code, text in enumerate(column.categories)}
        return np.array([codes[text] for text in texts])
    values = np.array(texts, dtype=np.float64)
    # -1 days since the last campaign means that there was none.
    return np.where(values < 0, np.nan, values) if column.name == "pdays" else values
