"""Snapshots of all customers' states for those who write them and those who learn from them.

`<folder>/<YYYY-MM-DD>.parquet`, one row a customer as of the end of that local day: `customer_id`, `holdings`
(products), `personalised` (whether personal data may be used), and every attribute, null where missing, as a decision
would have read them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from decision_engine.features.definitions import Value
from models.errors import TrainingRefused

CUSTOMER, HOLDINGS, PERSONALISED = "customer_id", "holdings", "personalised"
_NAME = re.compile(r"\d{4}-\d{2}-\d{2}\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRow:
    """One customer."""

    customer_id: str
    holdings: frozenset[str]
    personalised: bool
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSnapshot:
    """All customers as of `at_ms` (epoch milliseconds, the end of the day), by column; None where missing."""

    day: date
    at_ms: int
    customers: tuple[str, ...]
    holdings: tuple[frozenset[str], ...]
    personalised: tuple[bool, ...]
    columns: Mapping[str, Sequence[Value | None]]

    def attributes(self, row: int, names: Iterable[str]) -> dict[str, Value]:
        """Those of one customer's attributes that are known."""
        found = ((name, self.columns[name][row]) for name in names if name in self.columns)
        return {name: value for name, value in found if value is not None}


def end_of_day(day: date, zone: tzinfo) -> int:
    """The last millisecond of a local day."""
    after = day + timedelta(days=1)
    return round(datetime(after.year, after.month, after.day, tzinfo=zone).timestamp() * 1000) - 1


def write_states(folder: Path, day: date, rows: Sequence[SnapshotRow]) -> Path:
    """Writes the snapshot of a day; the file appears whole."""
    names = sorted({name for row in rows for name in row.attributes})
    columns: dict[str, pa.Array] = {
        CUSTOMER: pa.array([row.customer_id for row in rows], pa.string()),
        HOLDINGS: pa.array([sorted(row.holdings) for row in rows], pa.list_(pa.string())),
        PERSONALISED: pa.array([row.personalised for row in rows], pa.bool_()),
    }
    for name in names:
        columns[name] = _column([row.attributes.get(name) for row in rows])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{day.isoformat()}.parquet"
    beside = path.with_suffix(".new")
    pq.write_table(pa.table(columns), beside)
    beside.replace(path)
    return path


def snapshot_days(folder: Path) -> list[date]:
    """The days there are snapshots of, in order."""
    found = [path.name for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(date.fromisoformat(name.removesuffix(".parquet")) for name in found)


def read_states(folder: Path, day: date, zone: tzinfo, names: Iterable[str] | None = None) -> StateSnapshot:
    """The snapshot of a day; with `names` only those of its attributes. Raises TrainingRefused when it is not there or
    does not say who may be profiled."""
    path = folder / f"{day.isoformat()}.parquet"
    try:
        wanted = None if names is None else _present(path, {CUSTOMER, HOLDINGS, PERSONALISED, *names})
        columns = pq.read_table(path, partitioning=None, columns=wanted).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise TrainingRefused(f"{path} cannot be read as a snapshot: {error}") from error
    if missing := [name for name in (CUSTOMER, HOLDINGS, PERSONALISED) if name not in columns]:
        raise TrainingRefused(
            f"{path} has no column {', '.join(missing)}: without it nobody's consent is known; write snapshots with "
            "`kairos snapshot`"
        )
    return StateSnapshot(
        day=day,
        at_ms=end_of_day(day, zone),
        customers=tuple(map(str, columns.pop(CUSTOMER))),
        holdings=tuple(frozenset(held or ()) for held in columns.pop(HOLDINGS)),
        personalised=tuple(bool(said) for said in columns.pop(PERSONALISED)),
        columns=columns,
    )


def snapshot_columns(folder: Path, day: date) -> list[str]:
    """The attributes a snapshot has, in order. Raises OSError."""
    fixed = {CUSTOMER, HOLDINGS, PERSONALISED}
    return sorted(set(pq.read_schema(folder / f"{day.isoformat()}.parquet").names) - fixed)


def _present(path: Path, names: set[str]) -> list[str]:
    return sorted(names & set(pq.read_schema(path).names))


def _column(values: Sequence[Value | None]) -> pa.Array:
    """A column mixing whole and broken numbers becomes one of floats, which Parquet wants."""
    if any(isinstance(value, float) for value in values):
        return pa.array([float(value) if isinstance(value, int | float) else None for value in values], pa.float64())
    return pa.array(values)
