"""The read model of governance: what every act so far comes to. Plain values; folding is in `transitions`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from services.use_cases.governance.chain import NOTHING, Head

SwitchKind = Literal["offer", "group", "model", "strategy", "channel"]


class Status(StrEnum):
    """Where a strategy version stands. Drafts are no versions yet: they have no fixed content."""

    SUBMITTED = "submitted"
    APPROVED = "approved"
    DECLINED = "declined"
    CANARY = "canary"
    """Decides for a share of the customers."""
    ACTIVE = "active"
    RETIRED = "retired"
    """Was active, approved or submitted, and is no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What somebody is writing: how it differs from the version it began with."""

    id: str
    title: str
    base_version: str
    changed: Mapping[str, str]
    """File name to text."""
    removed: tuple[str, ...]
    revision: int
    actor: str
    """Who saved it last."""
    editors: tuple[str, ...]
    at: datetime
    comment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What a version would have done on recorded days, beside another."""

    version: str
    compared_with: str
    since: datetime
    until: datetime
    decisions: int
    figures: Mapping[str, float]
    report_digest: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyRecord:
    """A version that governance knows: who did what with it, and when. `files` is empty for one that was never
    submitted, only activated by operations."""

    version: str
    name: str
    status: Status
    title: str | None = None
    base_version: str | None = None
    draft: str | None = None
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """File name to its exact text."""
    checks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    submitted_by: str | None = None
    submitted_at: datetime | None = None
    edited_by: tuple[str, ...] = ()
    comment: str | None = None
    """Of the submission."""
    approved_by: str | None = None
    approved_at: datetime | None = None
    declined_by: str | None = None
    declined_at: datetime | None = None
    declined_why: str | None = None
    activated_by: str | None = None
    activated_at: datetime | None = None
    changed_at: datetime
    """When anything was last done with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decides:
    """A version that decides: for everybody, or as a canary for a share of the customers."""

    version: str
    name: str
    actor: str
    at: datetime
    share: float | None = None
    """None is everybody."""
    effective_at: datetime | None = None
    """Not before; None is at once."""
    previous_version: str | None = None
    """What decided before, as the act says."""
    rolled_back: bool = False
    """Whether it decides again after a rollback."""
    sequence: int = 0
    """Of the act; 0 for an act of before the chain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KillSwitchState:
    """Something that is stopped, or was and is released."""

    kind: SwitchKind
    name: str
    engaged: bool
    actor: str
    at: datetime
    comment: str | None = None
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One line of the history: who did what, when, why, and what became of it."""

    record: int
    sequence: int
    hash: str
    outcome: Literal["valid", "void", "broken", "refused"]
    """`refused`: well chained, but against the rules; it has no effect."""
    reason: str | None
    """Why it has no effect."""
    event_id: str
    type: str
    """Without the prefix, such as `strategy.approved`."""
    about: str
    """The version, `kind:name` of a kill switch, or `export:what`."""
    actor: str
    at: datetime | None
    comment: str | None = None
    share: float | None = None
    engaged: bool | None = None
    previous_version: str | None = None
    effective_at: datetime | None = None
    """From when on an activation counts, where that was to be later."""
    exported: Mapping[str, object] | None = None
    """Of an export: `rows`, `part`, `attributes`."""
    report_digest: str | None = None
    """Of a simulation: the SHA-256 of its report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernanceState:
    """Everything governance knows at one moment. Never changed; the next act makes another."""

    head: Head = NOTHING
    governed: bool = False
    """Whether a version was ever submitted: from then on only approved ones, or ones that decided before, decide."""
    versions: Mapping[str, StrategyRecord] = field(default_factory=dict)
    """By version, in the order in which they first came."""
    drafts: Mapping[str, Draft] = field(default_factory=dict)
    simulations: Mapping[str, tuple[Simulation, ...]] = field(default_factory=dict)
    """By version, oldest first; also of versions not submitted yet."""
    activations: tuple[Decides, ...] = ()
    """What decided for everybody, the one that does last; a rollback takes the last away."""
    decided: frozenset[str] = frozenset()
    """Every version that ever decided for everybody."""
    canary: Decides | None = None
    scheduled: Decides | None = None
    """What will decide from its `effective_at` on; any activation or rollback before then takes its place."""
    before_chain: Decides | None = None
    """What an act of before the chain made active."""
    kill_switches: Mapping[tuple[SwitchKind, str], KillSwitchState] = field(default_factory=dict)
    history: tuple[HistoryEntry, ...] = ()
    """Oldest first."""
    faults: tuple[str, ...] = ()
    """What shows that the log is not what it was; empty for a sound chain."""

    @property
    def active(self) -> Decides | None:
        """What decides for everybody else than the canary's share; None: the strategy of the settings."""
        return self.activations[-1] if self.activations else self.before_chain

    @property
    def previous(self) -> Decides | None:
        """What decided before, and would again after a rollback."""
        return self.activations[-2] if len(self.activations) > 1 else None

    @property
    def engaged(self) -> tuple[KillSwitchState, ...]:
        """The kill switches that stop something now."""
        return tuple(switch for switch in self.kill_switches.values() if switch.engaged)

    def simulated_against(self, version: str, other: str) -> Simulation | None:
        """The newest recorded simulation of exactly this version against the other."""
        found = [s for s in self.simulations.get(version, ()) if s.compared_with == other]
        return found[-1] if found else None
