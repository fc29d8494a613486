"""One answer a request id: whoever asks the same again, here or at another node, gets the same bytes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from services.ports import DecisionStore, ShellError

_ANSWER = b"answer:"
"""Stands before a kept answer; anything else under a key is a claim still being worked on."""
_HASH_BYTES = 16
_POLL_S = 0.005


class IdempotencyConflict(ShellError):
    """The request id was used before with another body."""


class DecisionInFlight(ShellError):
    """The same request is being answered elsewhere and did not finish in time."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A request being answered by this process, for others with the same key to wait on."""

    body_hash: bytes
    answer: "asyncio.Future[bytes]"


def kept_answer(body_hash: bytes, answer: bytes) -> bytes:
    """The form in which an answer is kept under its idempotency key."""
    return _ANSWER + body_hash[:_HASH_BYTES].ljust(_HASH_BYTES, b"\0") + answer


def _opened(kept: bytes, body_hash: bytes) -> bytes | None:
    """The answer, or None while the key is only claimed. Raises IdempotencyConflict."""
    if not kept.startswith(_ANSWER):
        return None
    start = len(_ANSWER)
    if kept[start : start + _HASH_BYTES] != body_hash[:_HASH_BYTES].ljust(_HASH_BYTES, b"\0"):
        raise IdempotencyConflict
    return kept[start + _HASH_BYTES :]


class IdempotentAnswers:
    """Joins equal requests: within the process on a future, across processes by watching the store."""

    def __init__(self, store: DecisionStore) -> None:
        self._store = store
        self._flights: dict[str, Flight] = {}

    def flight(self, key: str) -> Flight | None:
        """The request with this key that this process is answering now."""
        return self._flights.get(key)

    @contextmanager
    def flying(self, key: str, body_hash: bytes) -> Iterator[Flight]:
        """Lets others join while the body runs; one that ends without an answer sends them away."""
        flight = Flight(body_hash, asyncio.get_running_loop().create_future())
        self._flights[key] = flight
        try:
            yield flight
        finally:
            del self._flights[key]
            flight.answer.cancel()

    async def join(self, flight: Flight, body_hash: bytes, deadline_s: float) -> bytes:
        """The answer of a request under way here. Raises IdempotencyConflict, DecisionInFlight."""
        if flight.body_hash != body_hash:
            raise IdempotencyConflict
        done, _ = await asyncio.wait({flight.answer}, timeout=max(0.0, deadline_s - perf_counter()))
        if not done or flight.answer.cancelled():
            raise DecisionInFlight
        return flight.answer.result()

    async def earlier(self, key: str, kept: bytes, body_hash: bytes, deadline_s: float) -> bytes:
        """The answer behind what another request left under the key, waiting for it while the budget lasts.
        Raises IdempotencyConflict, DecisionInFlight, StoreUnavailable."""
        while (answer := _opened(kept, body_hash)) is None:
            if perf_counter() + _POLL_S >= deadline_s:
                raise DecisionInFlight
            await asyncio.sleep(_POLL_S)
            kept = await self._store.claimed(key) or b""
        return answer
