"""What processor time and memory processes under load take, over a stretch of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic

from loadtests.server_processes import processor_seconds, resident_mib


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor seconds over the stretch, and memory at its end."""

    processor_s: float
    resident_mib: float


class Meter:
    """Reads the processes' times now; `since` tells what they have spent since then. A process that has ended by then
    is left out. Raises OSError for one that is not there now (Linux)."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = processes
        self._begun = {name: processor_seconds(pid) for name, pid in processes.items()}
        self._at = monotonic()

    def since(self) -> tuple[float, dict[str, Usage]]:
        """Seconds passed, and what each has spent in them."""
        passed = monotonic() - self._at
        found = {}
        for name, pid in self._processes.items():
            try:
                found[name] = Usage(processor_seconds(pid) - self._begun[name], resident_mib(pid))
            except OSError:
                continue
        return passed, found
