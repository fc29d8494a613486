"""What was in the decisions that `loadtests.replayed_decisions` makes, by their records."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

WANTED_CAUSES = frozenset(
    {"state_unavailable", "state_unreadable", "state_rebuilding", "ledger_unavailable", "ledger_unreadable",
     "links_unavailable", "model_failed", "volumes_rebuilding", "deadline"}
)  # fmt: skip
"""Without each of them among the decisions the run proves less than it says."""


@dataclass(slots=True)
class Contents:
    """What the records say of the decisions."""

    causes: Counter[str] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)
    arms: Counter[str] = field(default_factory=Counter)
    strategies: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    customers: set[str] = field(default_factory=set)
    having: Counter[str] = field(default_factory=Counter)

    def note(self, record: bytes) -> None:
        """Counts one decision."""
        data: dict[str, Any] = orjson.loads(record)["data"]
        self.causes.update(data["degraded_causes"])
        self.channels[data["channel"]] += 1
        self.arms[data["arm"]] += 1
        self.strategies[data["strategy_version"]] += 1
        self.models.update(set(data["models"].values()))
        self.customers.add(data["customer_id"])
        what = ("degraded", "context", "ledger", "volumes", "online", "switches", "known")
        self.having.update(name for name in what if data.get(name))
        self.having.update(["offers"] if any(place.get("options") for place in data["placements"]) else ["no offer"])

    @property
    def lacking(self) -> list[str]:
        """What every run should have, and this one does not."""
        found = {
            "two strategies": len(self.strategies) > 1, "base rates and two models": len(self.models) > 2,
            "channels": len(self.channels) > 3, "arms": len(self.arms) > 3,
        }  # fmt: skip
        wanted = ("degraded", "context", "ledger", "volumes", "online", "switches", "known", "offers")
        return [name for name, has in found.items() if not has] + [name for name in wanted if not self.having[name]]
