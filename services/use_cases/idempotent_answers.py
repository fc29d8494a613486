"""One answer a request id: whoever asks the same again, here or at another node, gets the same bytes.

The store decides whose answer it is: an attempt claims the key with a value of its own, and its answer takes the place
of that claim or of nothing. An attempt that does not know whether it has the key asks again before it answers. What the
store has not taken when the answer leaves this process remembers, until it has.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from services.ports import DecisionStore, IdempotencyClaim, ShellError

_ANSWER = b"answer:"
"""Stands before a kept answer; anything else under a key is a claim still being worked on."""
_CLAIM = b"claim:"
_HASH_BYTES = 16
_POLL_S = 0.005
REMEMBERED_S = 60.0
"""How long this process gives an answer again that the store has not taken."""
MAX_REMEMBERED = 2_000
"""Such answers at once; the oldest make room."""


class IdempotencyConflict(ShellError):
    """The request id was used before with another body."""


class DecisionInFlight(ShellError):
    """The same request is being answered elsewhere and did not finish in time."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A request being answered by this process, for others with the same key to wait on."""

    body_hash: bytes
    answer: "asyncio.Future[bytes]"


@dataclass(frozen=True, slots=True)
class _Remembered:
    body_hash: bytes
    answer: bytes
    until_s: float


def claim_of(key: str, body_hash: bytes, attempt: str) -> IdempotencyClaim:
    """The claim of one attempt, named by an id that no other has; it tells the body too, so that another body need not
    wait to be refused."""
    return IdempotencyClaim(key=key, value=_CLAIM + _padded(body_hash) + attempt.encode())


def kept_answer(body_hash: bytes, answer: bytes) -> bytes:
    """The form in which an answer is kept under its idempotency key."""
    return _ANSWER + _padded(body_hash) + answer


def _padded(body_hash: bytes) -> bytes:
    return body_hash[:_HASH_BYTES].ljust(_HASH_BYTES, b"\0")


def is_answer(kept: bytes) -> bool:
    """Whether what stands under a key is an answer, rather than a claim that is being worked on or was left behind."""
    return kept.startswith(_ANSWER)


def opened(kept: bytes, body_hash: bytes) -> bytes | None:
    """The answer, or None while the key is only claimed. Raises IdempotencyConflict."""
    for kind in (_ANSWER, _CLAIM):
        if kept.startswith(kind):
            end = len(kind) + _HASH_BYTES
            if kept[len(kind) : end] != _padded(body_hash):
                raise IdempotencyConflict
            return kept[end:] if kind == _ANSWER else None
    return None


class IdempotentAnswers:
    """Joins equal requests: within the process on a future, across processes by watching the store."""

    def __init__(self, store: DecisionStore) -> None:
        self._store = store
        self._flights: dict[str, Flight] = {}
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()

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

    def remember(self, key: str, body_hash: bytes, answer: bytes) -> None:
        """Gives this answer again although the store may not have it."""
        self._remembered[key] = _Remembered(body_hash, answer, perf_counter() + REMEMBERED_S)
        self._remembered.move_to_end(key)
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def remembered(self, key: str, body_hash: bytes) -> bytes | None:
        """What this process has answered and the store may not have. Raises IdempotencyConflict."""
        found = self._remembered.get(key) if self._remembered else None
        if found is None:
            return None
        if perf_counter() >= found.until_s:
            del self._remembered[key]
            return None
        if found.body_hash != body_hash:
            raise IdempotencyConflict
        return found.answer

    def forget(self, key: str) -> None:
        """The store has the key's answer, this one or another attempt's: from now on it tells."""
        self._remembered.pop(key, None)

    async def earlier(self, key: str, kept: bytes, body_hash: bytes, deadline_s: float) -> bytes:
        """The answer behind what another request left under the key, waiting for it while the budget lasts.
        Raises IdempotencyConflict, DecisionInFlight, StoreUnavailable."""
        while (answer := opened(kept, body_hash)) is None:
            if perf_counter() + _POLL_S >= deadline_s:
                raise DecisionInFlight
            await asyncio.sleep(_POLL_S)
            try:
                async with asyncio.timeout(max(0.0, deadline_s - perf_counter())):
                    kept = await self._store.claimed(key) or b""
            except TimeoutError:
                raise DecisionInFlight from None
        return answer
