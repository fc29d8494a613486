"""Where a decision's time goes, from the product's own metrics: the stages of `kairos_decision_stage_seconds`, over a
stretch of a run."""

import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

_SERIES = re.compile(r'^kairos_decision_stage_seconds_(sum|count)\{stage="([^"]+)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stage:
    """Seconds spent in the stage by so many decisions."""

    seconds: float
    decisions: float

    @property
    def mean_us(self) -> float:
        """Microseconds a decision that went through it."""
        return self.seconds * 1e6 / self.decisions if self.decisions else 0.0


def read_stages(page: str) -> dict[str, Stage]:
    """From a metrics page in Prometheus's text format, in the order in which stages appear there."""
    found: dict[str, dict[str, float]] = {}
    for what, stage, value in _SERIES.findall(page):
        found.setdefault(stage, {})[what] = float(value)
    return {stage: Stage(values["sum"], values["count"]) for stage, values in found.items()}


def between(before: Mapping[str, Stage], after: Mapping[str, Stage]) -> dict[str, Stage]:
    """What was spent between two readings, the largest first."""
    nothing = Stage(0.0, 0.0)
    spent = {
        name: Stage(
            stage.seconds - before.get(name, nothing).seconds, stage.decisions - before.get(name, nothing).decisions
        )
        for name, stage in after.items()
    }
    kept = ((name, stage) for name, stage in spent.items() if stage.decisions > 0)
    return dict(sorted(kept, key=lambda item: -item[1].seconds))


def fetch_stages(url: str, headers: Mapping[str, str] | None = None) -> dict[str, Stage]:
    """Of the API at this address now. Raises OSError."""
    request = urllib.request.Request(f"{url}/metrics", headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=10) as response:
        return read_stages(response.read().decode())
