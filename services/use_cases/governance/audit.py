"""The log of acts as it stands on the bus: whether it is what it was, and its exact bytes."""

from collections.abc import Sequence
from typing import Protocol

from services.use_cases.governance.chain import Chain, Head, Link
from services.use_cases.governance.history import entry

Records = Sequence[bytes | None]
"""The records of the chain, in their order; None is one whose content was deleted."""


class AuditLog(Protocol):
    """The log itself, read anew, and what is kept of it elsewhere."""

    async def records(self) -> list[bytes | None]:
        """Raises BusUnavailable, ControlUnread."""
        ...

    async def kept_head(self) -> Head | None:
        """How far the chain went, as the store has it. Raises StoreUnavailable."""
        ...


def verified(records: Records, kept: Head | None, known: str | None) -> tuple[list[str], Head]:
    """What is wrong, line by line, and how far the chain goes. `kept` is the head as the store has it, `known` the hash
    of an act as somebody noted it."""
    chain, found = Chain(), []
    for value in records:
        link = chain.take(value)
        if link.faulty:
            found.append(_fault(link))
    contradiction = None if kept is None else chain.contradiction(kept)
    if contradiction is not None:
        found.append(f"the head kept in the store contradicts: {contradiction}")
    if known is not None and not chain.holds(known):
        found.append(f"no act has the hash {known}: it was changed or removed")
    return found, chain.head


def exported_lines(records: Records) -> bytes:
    """The records byte for byte, one a line; an empty line for one whose content was deleted."""
    return b"".join((value or b"") + b"\n" for value in records)


def not_as_written(records: Records) -> list[int]:
    """The records, counted from 1, of which a line cannot give the bytes back."""
    return [number for number, value in enumerate(records, start=1) if value is None or b"\n" in value]


def _fault(link: Link) -> str:
    line = entry(link, None)
    what = f"{line.type} {line.about} by {line.actor}: " if line.type else ""
    return f"record {link.record}: {what}{link.reason}"
