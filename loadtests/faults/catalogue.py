"""Every kind of fault by name, and the plan of a campaign: which come, in which order, by the seed alone."""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from loadtests.faults import (
    kinds_archive,
    kinds_broker,
    kinds_clients,
    kinds_events,
    kinds_governance,
    kinds_long,
    kinds_processes,
    kinds_store,
)
from loadtests.faults.kinds_network import CONDITIONS, LONG_CONDITIONS, Fault, spoilt

LONG = "long"
"""The group whose kinds last up to minutes: they come only where they are asked for."""
FAULT_S = 90.0
LONG_FAULT_S = 300.0

_MODULES = {
    "processes": (
        kinds_processes,
        ("api_killed", "builder_killed", "all_builders_killed", "pacer_killed", "archiver_killed", "attributor_killed",
         "builder_zombie", "api_frozen", "api_terminated", "builder_terminated", "clock_jump"),
    ),
    "store": (
        kinds_store,
        ("store_killed_with_file", "store_killed_without_file", "store_flushed", "store_paused", "store_stopped",
         "store_out_of_memory", "store_refuses_writes", "store_cut", "progress_key_deleted", "idempotency_lost",
         "stale_replica_promoted", "ledger_spoilt"),
    ),
    "broker": (kinds_broker, ("broker_stopped", "broker_cut", "broker_killed")),
    "events": (
        kinds_events,
        ("repeated_events", "reordered_events", "late_events", "future_events", "malformed_events",
         "oversized_events", "hostile_events"),
    ),
    "clients": (
        kinds_clients,
        ("same_request_at_once", "same_response_again", "cap_of_one_raced", "burst", "vanishing_clients",
         "slow_clients", "hostile_bodies"),
    ),
    "governance": (kinds_governance, ("bad_strategy", "unapproved_strategy", "bad_model", "malformed_control")),
    "archive": (kinds_archive, ("archive_disk_full",)),
    LONG: (
        kinds_long,
        ("broker_away_a_minute", "twenty_rebalances", "replica_far_behind", "killed_between_write_and_commit",
         "few_handles_and_little_memory"),
    ),
}  # fmt: skip
_DURABLE_ONLY = frozenset({"broker_killed"})
"""The embedded broker keeps its log in memory: killed, it has lost what nothing can bring back."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault. `group` is what `--kinds` names; `long` ones come only where they or their group is named."""

    name: str
    group: str
    fault: Fault

    @property
    def long(self) -> bool:
        """Whether it lasts too long for a campaign that did not ask for it."""
        return self.group == LONG

    @property
    def most_s(self) -> float:
        """How long it may take until all is put right."""
        return LONG_FAULT_S if self.long else FAULT_S

    @property
    def meaning(self) -> str:
        """In a sentence."""
        return (self.fault.__doc__ or "").strip().splitlines()[0]


def kinds(*, durable_broker: bool) -> dict[str, Kind]:
    """All that this broker can bear."""
    found = [Kind(name, group, getattr(module, name)) for group, (module, names) in _MODULES.items() for name in names]
    found += [
        Kind(f"{place}_{condition}", group, spoilt(place, condition))
        for group, conditions in (("network", CONDITIONS), (LONG, LONG_CONDITIONS))
        for place in ("store", "broker")
        for condition in conditions
    ]
    return {kind.name: kind for kind in found if durable_broker or kind.name not in _DURABLE_ONLY}


def plan(available: Mapping[str, Kind], wanted: Collection[str], faults: int, seed: int) -> list[Kind]:
    """So many faults over the wanted kinds and groups (none named: all but the long), each kind as often as any other,
    in an order drawn anew for every round. Raises ValueError for a name that is no kind and no group."""
    groups = {kind.group for kind in available.values()}
    if unknown := [name for name in wanted if name not in available and name not in groups]:
        raise ValueError(f"no kind and no group of kinds: {', '.join(unknown)}; there are {', '.join(sorted(groups))}")
    chosen = [k for k in available.values() if (k.name in wanted or k.group in wanted if wanted else not k.long)]
    draw = random.Random(seed)
    drawn: list[Kind] = []
    while len(drawn) < faults:
        drawn += draw.sample(chosen, k=len(chosen))
    return drawn[:faults]
