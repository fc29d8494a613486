"""What the analysis of a strategy has to say, and where."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error is something that can never do what it is there for; a warning, something probably not meant."""

    ERROR = "error"
    WARNING = "warning"


class FindingKind(StrEnum):
    """What was found."""

    NEVER_HOLDS = "never_holds"
    """A rule that is true for no one."""
    OFFER_IMPOSSIBLE = "offer_impossible"
    """The gates of an offer, all scopes merged, contradict each other."""
    SWITCHED_OFF = "switched_off"
    """A rule that is plainly false."""
    ALWAYS_HOLDS = "always_holds"
    """A rule that refuses no one."""
    SHADOWED = "shadowed"
    """A rule that an earlier rule of the offer implies: it can never be the first to refuse."""
    DUPLICATE = "duplicate"
    """The same condition twice among the rules of an offer."""
    DEAD_PART = "dead_part"
    """One alternative of a condition that is true for no one."""
    UNREACHABLE = "unreachable"
    """A reason or context weight that never counts, on its own or because the offer's rules exclude it."""


_ERRORS = frozenset({FindingKind.NEVER_HOLDS, FindingKind.OFFER_IMPOSSIBLE})


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the strategy; without a document `file` is empty and `line` 0."""

    path: str
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One result of the analysis."""

    kind: FindingKind
    place: Place
    message: str

    @property
    def severity(self) -> Severity:
        """Errors stop a strategy, warnings are printed."""
        return Severity.ERROR if self.kind in _ERRORS else Severity.WARNING

    def __str__(self) -> str:
        where = f"{self.place.file}:{self.place.line}: " if self.place.file else ""
        return f"{where}{self.place.path}: {self.severity}: {self.message}"
