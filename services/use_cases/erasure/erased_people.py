"""Whom the log must not bring back: consulted wherever states are folded, from news, an old log or an archive.

An erased person has no state at all, so that no key and no value names them. That they were erased is kept under their
pseudonym, with the moment. Whoever finds no state asks for that, and folds onto what an erased person's state would
be: nothing from before counts, nothing after counts until a consent is granted anew, and what then comes is a new
customer's.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from decision_engine.identifiers import CustomerId
from services.ports import Clock, Membership, StateWrite, StoreUnavailable
from services.use_cases.erasure.proofs import Erasure, Proofs
from services.use_cases.erasure.pseudonyms import Pseudonyms

ReadProofs = Callable[[], Awaitable[Mapping[str, Erasure]]]
"""Reads the whole topic of erasures. Raises BusUnavailable."""


class ErasureMarks(Protocol):
    """Who was erased and when, by pseudonym, and who is waiting for the store to be gone through. Raises
    StoreUnavailable."""

    async def marks(self, persons: Sequence[str]) -> list[int | None] | None:
        """In the order asked (epoch milliseconds); None where the store has lost what it knew of erasures."""
        ...

    async def mark(self, erased: Mapping[str, int]) -> None:
        """Keeps them; a later moment stands."""
        ...

    async def mark_whole(self) -> None:
        """All that the bus knows of is kept."""
        ...

    async def queue(self, erased: Mapping[str, tuple[CustomerId, int]]) -> None:
        """Those of whom the store is to be rid; who was dealt with already for that moment is not taken in again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredForm:
    """How one kind of stored value says that a person was erased."""

    placeholder: Callable[[int], bytes]
    """What to fold onto where nothing is stored of who was erased then."""
    is_placeholder: Callable[[bytes], bool]
    is_erased: Callable[[bytes], bool]
    """Whether a value says no more than that, so that it need not be stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedPeople:
    """Keeps the erased from coming back into one kind of stored values."""

    pseudonyms: Pseudonyms
    marks: ErasureMarks
    form: StoredForm
    read_proofs: ReadProofs
    proofs: Proofs | None = None
    """Where it is told that an erasure has begun; None where that is another role's to tell, and to see through."""
    clock: Clock | None = None

    async def begin(self, erased: Mapping[CustomerId, int]) -> None:
        """Before anything is folded: from now on nothing from before these moments is taken in. Raises
        StoreUnavailable, BusUnavailable."""
        if self.proofs is None or self.clock is None:
            return
        named = {self.pseudonyms.of(customer): at_ms for customer, at_ms in erased.items()}
        standing = await self._marks(list(named))
        fresh = {p: at for (p, at), mark in zip(named.items(), standing, strict=True) if mark is None or mark < at}
        if fresh:
            await self.proofs.begun(fresh, self.clock.now_ms())
            await self.marks.mark(fresh)

    async def end(self, erased: Mapping[CustomerId, int]) -> None:
        """After the states have gone: the rest of the store is to be gone through. Raises StoreUnavailable."""
        if self.proofs is not None:
            await self.marks.queue({self.pseudonyms.of(c): (c, at_ms) for c, at_ms in erased.items()})

    async def standing(self, customers: Sequence[CustomerId], values: Sequence[bytes | None]) -> list[bytes | None]:
        """The values, with a placeholder where there is none of somebody erased. Raises StoreUnavailable."""
        result = list(values)
        absent = [i for i, value in enumerate(values) if value is None]
        if absent:
            marks = await self._marks([self.pseudonyms.of(customers[i]) for i in absent])
            for i, mark in zip(absent, marks, strict=True):
                if mark is not None:
                    result[i] = self.form.placeholder(mark)
        return result

    async def since(self, customers: Iterable[CustomerId]) -> dict[CustomerId, int]:
        """Those of them who were erased, and when (epoch milliseconds). Raises StoreUnavailable."""
        asked = list(dict.fromkeys(customers))
        marks = await self._marks([self.pseudonyms.of(customer) for customer in asked])
        return {customer: mark for customer, mark in zip(asked, marks, strict=True) if mark is not None}

    async def still_said(self, said: Sequence[Membership]) -> list[Membership]:
        """Without what erased people said before. Raises StoreUnavailable."""
        since = await self.since(one.customer_id for one in said)
        return [one for one in said if one.at_ms > since.get(one.customer_id, -1)]

    def writes(self, writes: Sequence[StateWrite]) -> list[StateWrite]:
        """What to write for these: nothing that only says that somebody was erased."""
        return [one for write in writes if (one := self._write(write)) is not None]

    def _write(self, write: StateWrite) -> StateWrite | None:
        expected = write.expected
        if expected is not None and self.form.is_placeholder(expected):
            expected = None
        if not self.form.is_erased(write.value):
            return write if expected is write.expected else replace(write, expected=expected)
        if expected is None and write.memory is None:
            return None
        return replace(write, expected=expected, value=b"")

    async def _marks(self, persons: Sequence[str]) -> list[int | None]:
        if not persons:
            return []
        found = await self.marks.marks(persons)
        if found is None:
            await self.marks.mark({person: erasure.erased_ms for person, erasure in (await self.read_proofs()).items()})
            await self.marks.mark_whole()
            found = await self.marks.marks(persons)
        if found is None:
            raise StoreUnavailable("the store forgets who was erased as soon as it is told")
        return found
