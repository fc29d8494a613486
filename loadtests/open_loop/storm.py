"""What events are to be put onto the bus, and when, as it is handed over to the process that does it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from loadtests.open_loop.schedule import Phase, Spacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """The fields mean what those of a `Plan` do; the rate of `phases` is events a second."""

    phases: Sequence[Phase]
    spacing: Spacing = "poisson"
    customers: int = 2_000
    seed: int = 1
    run: str = "run"
    warm_up_s: float = 2.0
    processors: Sequence[int] = ()

    def as_mapping(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, found: Mapping[str, object]) -> "Storm":
        """What `as_mapping` gave. Raises TypeError on anything else."""
        held = dict(found)
        phases = held.pop("phases")
        if not isinstance(phases, list):
            raise TypeError("phases of a storm are a list")
        return cls(**held, phases=[Phase(**phase) for phase in phases])  # type: ignore[arg-type]
