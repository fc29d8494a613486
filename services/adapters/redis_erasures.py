"""Who was erased, by pseudonym; who is waiting for the store to be gone through; and how far each erasure has come."""

from collections.abc import Mapping, Sequence

import orjson

from decision_engine.identifiers import CustomerId
from services.adapters.redis_client import Command, RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import items_of
from services.use_cases.erasure.proofs import Erasure, Performed

_ASKED_AT_ONCE = 1_000
_PATIENT_SECONDS = 10.0
PROGRESS_SECONDS = 400 * 86_400
"""How long the store tells how far an erasure came; the bus keeps the proof."""
_REQUESTED = "requested"


class RedisErasures:
    """Implements `erasure.erased_people.ErasureMarks`, `erasure.request_erasure.ErasureProgress`, the sweeper's queue.
    Marks are kept for `kept_days` (0: for ever). Raises StoreUnavailable."""

    def __init__(self, client: RedisClient, namespace: str, *, kept_days: int = 0) -> None:
        self._client = client
        self._namespace = namespace
        self._keys = RedisKeys(namespace, "").divided(client.tags)
        self._expiry: tuple[str | int, ...] = ("EX", kept_days * 86_400) if kept_days else ()

    async def marks(self, persons: Sequence[str]) -> list[int | None] | None:
        """In the order asked (epoch milliseconds); None where the store has lost what it knew of erasures."""
        known = dict.fromkeys(self._keys.of_part(person).erasures_known for person in persons)
        commands: list[Command] = [("EXISTS", name) for name in known]
        commands += [("GET", self._keys.erased(person)) for person in persons]
        replies = await self._client.execute_many(commands, _PATIENT_SECONDS)
        whole, values = replies[: len(known)], replies[len(known) :]
        if not all(whole):
            return None
        return [int(value) if isinstance(value, bytes) else None for value in values]

    async def mark(self, erased: Mapping[str, int]) -> None:
        """Keeps them; a later moment stands."""
        persons = list(erased)
        for start in range(0, len(persons), _ASKED_AT_ONCE):
            chosen = persons[start : start + _ASKED_AT_ONCE]
            standing = await self._client.execute_many(
                [("GET", self._keys.erased(p)) for p in chosen], _PATIENT_SECONDS
            )
            commands: list[Command] = [
                ("SET", self._keys.erased(person), erased[person], *self._expiry)
                for person, value in zip(chosen, standing, strict=True)
                if not (isinstance(value, bytes) and int(value) >= erased[person])
            ]
            if commands:
                await self._client.execute_many(commands, _PATIENT_SECONDS)

    async def mark_whole(self) -> None:
        """All that the bus knows of is kept."""
        await self._client.execute_many([("SET", own.erasures_known, "1") for own in self._keys.parts])

    async def queue(self, erased: Mapping[str, tuple[CustomerId, int]]) -> None:
        """Those of whom the store is to be rid; who was dealt with already for that moment is not taken in again."""
        for person, (customer_id, erased_ms) in erased.items():
            known = await self.progress(person)
            store = None if known is None else known.places.get("store")
            if store is None or store.left or store.erased_ms < erased_ms:
                await self._client.execute("HSET", self._queue(person), person, orjson.dumps([customer_id, erased_ms]))

    async def queued(self) -> dict[str, tuple[CustomerId, int]]:
        """Whom the store is to be rid of, by pseudonym: their id, and up to when. It stands there only until then."""
        replies = await self._client.execute_many([("HGETALL", own.erasing) for own in self._keys.parts])
        flat = [item for reply in replies for item in items_of(reply)]
        found: dict[str, tuple[CustomerId, int]] = {}
        for person, value in zip(flat[::2], flat[1::2], strict=True):
            if isinstance(person, bytes) and isinstance(value, bytes):
                customer_id, erased_ms = orjson.loads(value)
                found[person.decode()] = CustomerId(customer_id), erased_ms
        return found

    async def dequeue(self, person: str, customer_id: CustomerId, erased_ms: int) -> None:
        """The store is rid of them; who was erased once more meanwhile stays in the queue."""
        value = await self._client.execute("HGET", self._queue(person), person)
        if value == orjson.dumps([customer_id, erased_ms]):
            await self._client.execute("HDEL", self._queue(person), person)

    async def lease(self, node: str, seconds: int) -> bool:
        """Whether this node is the one that goes through the store, for so long."""
        held = await self._client.execute("SET", self._lease, node, "NX", "GET", "EX", seconds)
        if held == node.encode():
            await self._client.execute("EXPIRE", self._lease, seconds)
            return True
        return held is None

    async def requested(self, person: str, erased_ms: int) -> None:
        """Somebody asked for it."""
        await self._note(person, _REQUESTED, {"erased_ms": erased_ms})

    async def performed(self, person: str, account: Performed) -> None:
        """A place was gone through; of several looks at one erasure the numbers add up."""
        known = await self.progress(person) or Erasure(account.erased_ms)
        if account.erased_ms > known.erased_ms:
            known = Erasure(account.erased_ms)
        known.take(account)
        if (total := known.places.get(account.place)) is not None:
            document = {
                "erased_ms": total.erased_ms,
                "at_ms": total.at_ms,
                "removed": dict(total.removed),
                "left": total.left,
            }
            await self._note(person, account.place, document)

    async def progress(self, person: str) -> Erasure | None:
        """How far it has come; None where nobody asked and nothing happened."""
        flat = items_of(await self._client.execute("HGETALL", self._progress(person)))
        noted = {
            name.decode(): orjson.loads(value)
            for name, value in zip(flat[::2], flat[1::2], strict=True)
            if isinstance(name, bytes) and isinstance(value, bytes)
        }
        if not noted:
            return None
        erasure = Erasure(max(document["erased_ms"] for document in noted.values()))
        for place, document in noted.items():
            if place != _REQUESTED:
                erasure.take(Performed(place=place, **document))
        return erasure

    async def _note(self, person: str, name: str, document: Mapping[str, object]) -> None:
        key = self._progress(person)
        await self._client.execute_many(
            [("HSET", key, name, orjson.dumps(document)), ("EXPIRE", key, PROGRESS_SECONDS)]
        )

    def _progress(self, person: str) -> str:
        return f"{self._namespace}:erasure:{person}"

    def _queue(self, person: str) -> str:
        return self._keys.of_part(person).erasing

    @property
    def _lease(self) -> str:
        return f"{self._namespace}:erasing-by"
