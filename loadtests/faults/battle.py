"""What a fault is given: the system, the load on it, and a place for figures of its own."""

from collections import defaultdict
from dataclasses import dataclass, field

from loadtests.faults.load import Load
from loadtests.faults.system import System


@dataclass(slots=True, kw_only=True)
class Battle:
    """One campaign under way. `problems` are promises that a fault saw broken, which no fold of the log would show."""

    system: System
    load: Load
    problems: list[str] = field(default_factory=list)
    forbidden: set[str] = field(default_factory=set)
    """Versions of strategies and models that must never decide."""
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def named(self, role: str) -> list[str]:
        """The processes of a role."""
        return sorted(name for name in self.system.roles if name.partition("-")[0] == role)

    def expect(self, holds: bool, promise: str) -> None:
        """A promise that must hold now."""
        if not holds:
            self.problems.append(f"{self.load.during}: {promise}")

    def note_figure(self, name: str, value: float) -> None:
        """A figure of this fault, for the report."""
        self.figures[name].append(value)
