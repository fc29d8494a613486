"""Who works on a lead, for all to see: one mark a lead, and what each person has closed."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Protocol

import orjson


class Stage(StrEnum):
    """How far a lead has come."""

    TAKEN = "taken"
    """Somebody follows it up."""
    DONE = "done"
    """It was followed up."""
    NOT_NOW = "not_now"
    """It was laid aside, for a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """`by` is the person; `result` what came of it: an outcome of the talk, or the reason for laying it aside."""

    stage: Stage
    by: str
    at_ms: int
    result: str | None = None
    offer: str | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nobody needs to follow the lead up any more."""
        return self.stage is not Stage.TAKEN

    def encoded(self) -> bytes:
        """As it is kept."""
        return orjson.dumps(asdict(self))


def read_mark(value: bytes) -> Mark:
    """The mark of what was kept."""
    data = orjson.loads(value)
    return Mark(**{**data, "stage": Stage(data["stage"])})


class LeadMarks(Protocol):
    """Marks by lead, the same on every node. Raises StoreUnavailable."""

    async def swap(self, lead_id: str, expected: bytes | None, wanted: bytes | None, seconds: int) -> bytes | None:
        """Puts `wanted` (None: nothing) in place of `expected` (None: nothing) in one step, to be kept for so long.
        What stands there afterwards: other than `wanted`, another was faster."""
        ...

    async def read(self, lead_ids: list[str]) -> list[bytes | None]:
        """The marks, in the order asked."""
        ...

    async def changes(self) -> int:
        """A number that is another one once any mark was changed."""
        ...

    async def note(self, person: str, entry: bytes) -> None:
        """Puts something a person has closed on top of that person's list, which is bounded."""
        ...

    async def noted(self, person: str) -> list[bytes]:
        """What a person has closed, the newest first."""
        ...
