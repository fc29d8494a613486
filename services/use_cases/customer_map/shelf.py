"""Where snapshots of all customers stand, and how a new one is made."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from services.ports import ShellError
from services.use_cases.customer_map.segmented import Snapshot


class SnapshotUnreadable(ShellError):
    """There is no snapshot of that day, or it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """A snapshot that is being made (`failed` None), or could not be made, and why."""

    day: date
    failed: str | None = None


class SnapshotShelf(Protocol):
    """The snapshots of one folder. Reading takes a while and files: not for the event loop."""

    def days(self) -> list[date]:
        """The days there are snapshots of, in order."""
        ...

    def stamp(self, day: date) -> int:
        """Another number once the snapshot of the day is another one. Raises SnapshotUnreadable."""
        ...

    def read(self, day: date, names: Iterable[str]) -> Snapshot:
        """The snapshot with these attributes. Raises SnapshotUnreadable."""
        ...

    def attributes(self, day: date) -> list[str]:
        """The attributes the snapshot has. Raises SnapshotUnreadable."""
        ...

    def make(self, day: date) -> bool:
        """Begins to make one in the background; False while another is being made."""
        ...

    def making(self) -> Making | None:
        """What is being made, or failed last; None where neither."""
        ...
