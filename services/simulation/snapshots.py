"""Snapshots of all customers as the service itself reads them: one Parquet file a moment, one row a customer.

A snapshot waits until the state builder has applied everything published up to its moment, which the states say
themselves: each carries the last offset applied of every topic.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pyarrow as pa
import pyarrow.parquet as pq

from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.definitions import Value
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.state import decode_state
from decision_engine.identifiers import CustomerId
from event_schemas.topics import STATE_TOPICS
from services.ports import ShellError, StateStore, StoreUnavailable
from services.simulation.replay import LatestPositions

CHUNK = 500
"""Customers read at once."""
POLL_SECONDS = 0.05


class StatesBehind(ShellError):
    """The states did not catch up with what was published in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateReader:
    """Reads the states of one strategy's features from the store that serves decisions."""

    store: StateStore
    features: CompiledFeatures

    async def wait_until_applied(self, published: LatestPositions, timeout_s: float) -> None:
        """Returns when every customer's state holds the last event published about that customer.

        Raises StatesBehind naming how many are missing.
        """
        deadline = monotonic() + timeout_s
        behind = sorted(published.offsets)
        while behind:
            behind = await self._behind(behind, published)
            if behind and monotonic() > deadline:
                raise StatesBehind(
                    f"after {timeout_s:g} s the states of {len(behind)} customers (such as {behind[0]}) lack published "
                    "events; is the state builder running on the same namespace and strategy?"
                )
            if behind:
                await asyncio.sleep(POLL_SECONDS)

    async def attributes(self, customers: Sequence[str], at_ms: int) -> dict[str, dict[str, Value]]:
        """Every known customer's attributes as of a moment, as a decision would read them."""
        result: dict[str, dict[str, Value]] = {}
        for chunk in _chunks(customers):
            for customer, value in zip(chunk, await self._load(chunk), strict=True):
                if value is not None:
                    result[customer] = dict(read_snapshot(self.features, value, at_ms).attributes)
        return result

    async def _behind(self, customers: Sequence[str], published: LatestPositions) -> list[str]:
        late: list[str] = []
        for chunk in _chunks(customers):
            for customer, value in zip(chunk, await self._load(chunk), strict=True):
                if not self._holds(value, published.offsets[customer]):
                    late.append(customer)
        return late

    async def _load(self, chunk: Sequence[str]) -> list[bytes | None]:
        try:
            return await self.store.load_many([CustomerId(customer) for customer in chunk])
        except StoreUnavailable:
            await asyncio.sleep(POLL_SECONDS)
            return await self.store.load_many([CustomerId(customer) for customer in chunk])

    def _holds(self, value: bytes | None, wanted: dict[str, int]) -> bool:
        if value is None:
            return False
        # Topics the customer never had an event of may have no position yet.
        applied = dict(zip(STATE_TOPICS, decode_state(value, self.features.layout_bytes).positions, strict=False))
        return all(applied.get(topic, -1) >= offset for topic, offset in wanted.items())


def write_snapshot(path: Path, rows: dict[str, dict[str, Value]], names: Iterable[str]) -> None:
    """One row a customer: `customer_id` and all attributes, null where missing. The file appears whole."""
    columns: dict[str, list[Value | None]] = {"customer_id": list(rows)}
    for name in names:
        columns[name] = [row.get(name) for row in rows.values()]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    pq.write_table(pa.table({name: pa.array(_alike(values)) for name, values in columns.items()}), beside)
    beside.replace(path)


def _alike(values: list[Value | None]) -> list[Value | None]:
    """A column mixing whole and broken numbers becomes one of floats, which Parquet wants."""
    if any(isinstance(value, float) for value in values):
        return [float(value) if isinstance(value, int) and not isinstance(value, bool) else value for value in values]
    return values


def _chunks(customers: Sequence[str]) -> Iterable[Sequence[str]]:
    return (customers[start : start + CHUNK] for start in range(0, len(customers), CHUNK))
