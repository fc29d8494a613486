"""How a condition can be wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

from decision_engine.errors import DecisionEngineError


@dataclass(frozen=True, slots=True)
class ConditionProblem:
    """One fault of a condition; `position` counts characters of its text from 0."""

    message: str
    position: int

    def __str__(self) -> str:
        return f"{self.message} (at character {self.position + 1})"


class ConditionError(DecisionEngineError):
    """The condition cannot be read, or its names and types do not fit."""

    def __init__(self, message: str, position: int) -> None:
        self.message = message
        self.position = position
        self.problems: tuple[ConditionProblem, ...] = (ConditionProblem(message, position),)
        super().__init__(str(self.problems[0]))

    @classmethod
    def of(cls, problems: Sequence[ConditionProblem]) -> "ConditionError":
        """One error that lists all the problems (at least one)."""
        error = cls(problems[0].message, problems[0].position)
        error.problems = tuple(problems)
        error.args = ("; ".join(str(problem) for problem in problems),)
        return error
