"""The events of governance, made from plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from event_schemas.control import (
    ACTIVE_SUBJECT,
    DataExport,
    DataExported,
    KillSwitch,
    KillSwitchSet,
    StrategyAct,
    StrategyActivated,
    StrategyApproved,
    StrategyDeclined,
    StrategyDraft,
    StrategyDrafted,
    StrategyRetired,
    StrategyRolledBack,
    StrategySimulated,
    StrategySimulation,
    StrategySubmitted,
)
from services.use_cases.governance.chain import ChainedEvent
from services.use_cases.governance.rules import refusal
from services.use_cases.governance.state import Draft, GovernanceState, SwitchKind
from services.use_cases.governance.writer import ActRefused

SOURCE = "kairos/governance"
Answer = Literal["approved", "declined", "retired"]
_SHOWN_WARNINGS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftContent:
    """A draft as it is to be kept."""

    id: str
    title: str
    base_version: str
    changed: Mapping[str, str]
    removed: tuple[str, ...]
    revision: int
    actor: str
    editors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationSummary:
    """What a simulation came to: the version tried, the one beside it, the days, and the key figures by name."""

    name: str
    version: str
    compared_with: str
    since: datetime
    until: datetime
    decisions: int
    figures: Mapping[str, float]
    report_digest: str


def ended(draft: Draft, actor: str) -> DraftContent:
    """The draft as it ends: nothing of its content is kept."""
    return DraftContent(
        id=draft.id,
        title=draft.title,
        base_version=draft.base_version,
        changed={},
        removed=(),
        revision=draft.revision + 1,
        actor=actor,
        editors=draft.editors,
    )


def drafted(draft: DraftContent, event_id: str, at: datetime, *, discarded: bool) -> StrategyDrafted:
    """A draft saved, or ended."""
    data = StrategyDraft(
        draft=draft.id,
        title=draft.title,
        base_version=draft.base_version,
        changed=dict(draft.changed),
        removed=draft.removed,
        revision=draft.revision,
        actor=draft.actor,
        editors=draft.editors,
        discarded=discarded,
    )
    return StrategyDrafted(id=event_id, source=SOURCE, subject=f"draft:{draft.id}", time=at, data=data)


def submitted(act: StrategyAct, event_id: str, at: datetime) -> StrategySubmitted:
    """Whole files handed in."""
    return StrategySubmitted(id=event_id, source=SOURCE, subject=_subject(act.version), time=at, data=act)


def answered(
    answer: Answer, act: StrategyAct, event_id: str, at: datetime
) -> StrategyApproved | StrategyDeclined | StrategyRetired:
    """A person's answer to a submission."""
    made = _ANSWERS[answer]
    return made(id=event_id, source=SOURCE, subject=_subject(act.version), time=at, data=act)


_ANSWERS: Mapping[Answer, type[StrategyApproved | StrategyDeclined | StrategyRetired]] = {
    "approved": StrategyApproved,
    "declined": StrategyDeclined,
    "retired": StrategyRetired,
}


def activated(act: StrategyAct, event_id: str, at: datetime, source: str = SOURCE) -> StrategyActivated:
    """A version decides, for everybody or a share."""
    return StrategyActivated(id=event_id, source=source, subject=ACTIVE_SUBJECT, time=at, data=act)


def rolled_back(act: StrategyAct, event_id: str, at: datetime, source: str = SOURCE) -> StrategyRolledBack:
    """A version decides again."""
    return StrategyRolledBack(id=event_id, source=source, subject=ACTIVE_SUBJECT, time=at, data=act)


def simulated(
    summary: SimulationSummary, event_id: str, at: datetime, *, actor: str, comment: str | None
) -> StrategySimulated:
    """A simulation held fast."""
    data = StrategySimulation(
        name=summary.name,
        version=summary.version,
        compared_with=summary.compared_with,
        since=summary.since,
        until=summary.until,
        decisions=summary.decisions,
        figures=dict(summary.figures),
        report_digest=summary.report_digest,
        actor=actor,
        comment=comment,
    )
    return StrategySimulated(id=event_id, source=SOURCE, subject=_subject(summary.version), time=at, data=data)


def kill_switch(kind: SwitchKind, name: str, *, engaged: bool, actor: str, comment: str | None) -> KillSwitch:
    """What a switch says."""
    return KillSwitch(kind=kind, name=name, engaged=engaged, actor=actor, comment=comment)


def switched(act: KillSwitch, event_id: str, at: datetime) -> KillSwitchSet:
    """A kill switch engaged or released."""
    subject = f"kill_switch:{act.kind}:{act.name}"[:128]
    return KillSwitchSet(id=event_id, source=SOURCE, subject=subject, time=at, data=act)


def exported(act: DataExport, event_id: str, at: datetime) -> DataExported:
    """Data taken out."""
    return DataExported(id=event_id, source=SOURCE, subject=f"export:{act.what}", time=at, data=act)


def with_previous(act: StrategyAct, previous: str | None) -> StrategyAct:
    """The act with what decided before."""
    return act.model_copy(update={"previous_version": None if previous == act.version else previous})


def require_allowed(state: GovernanceState, event: ChainedEvent) -> None:
    """Raises ActRefused."""
    why = refusal(state, event)
    if why is not None:
        raise ActRefused(why)


def check_text(warnings: Sequence[str]) -> str:
    """What the check found, short enough to keep."""
    if not warnings:
        return "sound"
    more = len(warnings) - _SHOWN_WARNINGS
    shown = "\n".join([*warnings[:_SHOWN_WARNINGS], *([f"and {more} more"] if more > 0 else [])])
    return f"{len(warnings)} warnings\n{shown}"[:4_000]


def _subject(version: str) -> str:
    return f"strategy:{version}"[:128]
