"""The error tree of the engine: exceptions are for broken promises, data problems are values."""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import error as StructError  # noqa: N812 - the library's name is lower case

DAMAGE = (ArithmeticError, AttributeError, LookupError, RecursionError, StructError, TypeError, ValueError)
"""What reading bytes raises that were written by us and are not what was written any more."""


class DecisionEngineError(Exception):
    """Base of every error the engine raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault in a strategy: where it is, what is wrong, and what would mend it."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path}: {self.message}"


class StrategyInvalid(DecisionEngineError):
    """The strategy has problems; all of them are listed at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StateUnreadable(DecisionEngineError):
    """A stored customer state is not of the layout these features write."""


class SchemaMismatch(DecisionEngineError):
    """A model was fitted on other columns than the strategy can supply."""
