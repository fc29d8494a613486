"""What the acts come to: record by record from the log to `GovernanceState`. Pure, but for the chain it reads along."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from event_schemas.codec import DecodeError, Event, decode
from event_schemas.control import (
    ACTIVE_SUBJECT,
    DataExported,
    KillSwitchSet,
    StrategyAct,
    StrategyActivated,
    StrategyApproved,
    StrategyDeclined,
    StrategyDrafted,
    StrategyRetired,
    StrategyRolledBack,
    StrategySimulated,
    StrategySubmitted,
)
from event_schemas.topics import CONTROL
from services.ports import Delivery
from services.use_cases.governance.chain import Chain, ChainedEvent, Link, Verdict, is_chained
from services.use_cases.governance.history import entry
from services.use_cases.governance.rules import refusal
from services.use_cases.governance.state import (
    Decides,
    Draft,
    GovernanceState,
    KillSwitchState,
    Simulation,
    Status,
    StrategyRecord,
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one record did: `link` where it belongs to the chain, `refused` where the rules forbid it, `loose` where it
    concerns governance and stands outside of the chain."""

    state: GovernanceState
    link: Link | None = None
    refused: str | None = None
    loose: StrategyDrafted | StrategyActivated | StrategyRolledBack | None = None

    @property
    def effective(self) -> bool:
        """Whether an act of the chain took effect."""
        return self.link is not None and self.link.verdict is Verdict.VALID and self.refused is None


@dataclass(slots=True)
class GovernanceFold:
    """Takes the records of the control topic, those of one partition in their order."""

    chain: Chain = field(default_factory=Chain)
    state: GovernanceState = field(default_factory=GovernanceState)
    _texts: dict[str, str] = field(default_factory=dict)
    """File texts once each: versions share most of theirs."""

    def take(self, delivery: Delivery) -> Taken:
        """The state after one more record."""
        if is_chained(delivery):
            return self._take_link(self.chain.take(delivery.value))
        event = _loose(delivery)
        if event is not None:
            self.state = _with_loose(self.state, event)
        return Taken(self.state, loose=event)

    def _take_link(self, link: Link) -> Taken:
        event, state, why = link.event, self.state, None
        if link.verdict is Verdict.VALID and event is not None:
            state = due(state, event.time)
            why = refusal(state, event)
            state = state if why is not None else _applied(state, self._shared(event), link.sequence)
        faults = (*state.faults, f"record {link.record}: {link.reason}") if link.faulty else state.faults
        history = (*state.history, entry(link, why))
        self.state = replace(state, head=self.chain.head, history=history, faults=faults)
        return Taken(self.state, link, why)

    def _shared(self, event: ChainedEvent) -> ChainedEvent:
        if not isinstance(event, StrategySubmitted) or not event.data.files:
            return event
        files = {name: self._texts.setdefault(text, text) for name, text in event.data.files.items()}
        return event.model_copy(update={"data": event.data.model_copy(update={"files": files})})


def due(state: GovernanceState, now: datetime) -> GovernanceState:
    """The state as of a moment: what was scheduled for before it has taken effect."""
    coming = state.scheduled
    if coming is None or coming.effective_at is None or coming.effective_at > now:
        return state
    return _taken(replace(state, scheduled=None), coming)


def _loose(delivery: Delivery) -> StrategyDrafted | StrategyActivated | StrategyRolledBack | None:
    """What concerns governance outside of the chain: drafts, and switches of before there was one."""
    key = delivery.key or b""
    if delivery.topic != CONTROL or not key.startswith((b"draft:", ACTIVE_SUBJECT.encode())) or delivery.value is None:
        return None
    try:
        event: Event = decode(delivery.value, delivery.headers)
    except DecodeError:
        return None
    return event if isinstance(event, StrategyDrafted | StrategyActivated | StrategyRolledBack) else None


def _with_loose(
    state: GovernanceState, event: StrategyDrafted | StrategyActivated | StrategyRolledBack
) -> GovernanceState:
    if isinstance(event, StrategyDrafted):
        return replace(state, drafts=_with_draft(state.drafts, event))
    if event.subject != ACTIVE_SUBJECT or event.data.previous_hash is not None:
        return state
    return replace(state, before_chain=_decides(event, 0))


def _with_draft(drafts: Mapping[str, Draft], event: StrategyDrafted) -> Mapping[str, Draft]:
    data, others = event.data, {name: draft for name, draft in drafts.items() if name != event.data.draft}
    if data.discarded:
        return MappingProxyType(others)
    draft = Draft(
        id=data.draft,
        title=data.title,
        base_version=data.base_version,
        changed=MappingProxyType(dict(data.changed)),
        removed=data.removed,
        revision=data.revision,
        actor=data.actor,
        editors=data.editors or (data.actor,),
        at=event.time,
        comment=data.comment,
    )
    return MappingProxyType({**others, data.draft: draft})


def _applied(state: GovernanceState, event: ChainedEvent, sequence: int) -> GovernanceState:
    if isinstance(event, StrategySubmitted):
        return _submitted(state, event)
    if isinstance(event, StrategySimulated):
        return _simulated(state, event)
    if isinstance(event, KillSwitchSet):
        return _switched(state, event, sequence)
    if isinstance(event, StrategyActivated):
        return _activated(state, event, sequence)
    if isinstance(event, StrategyRolledBack):
        return _rolled_back(state, event, sequence)
    if isinstance(event, DataExported):
        return state  # it stands in the history, and changes nothing
    return _answered(state, event)


def _submitted(state: GovernanceState, event: StrategySubmitted) -> GovernanceState:
    act = event.data
    record = StrategyRecord(
        version=act.version,
        name=act.name,
        status=Status.SUBMITTED,
        title=act.title,
        base_version=act.base_version,
        draft=act.draft,
        files=MappingProxyType(dict(act.files or {})),
        checks=MappingProxyType(dict(act.checks)),
        submitted_by=act.actor,
        submitted_at=event.time,
        edited_by=act.edited_by,
        comment=act.comment,
        changed_at=event.time,
    )
    return replace(_with_record(state, record), governed=True)


def _answered(state: GovernanceState, event: StrategyApproved | StrategyDeclined | StrategyRetired) -> GovernanceState:
    act = event.data
    record = replace(state.versions[act.version], changed_at=event.time)
    if isinstance(event, StrategyApproved):
        record = replace(record, status=Status.APPROVED, approved_by=act.actor, approved_at=event.time)
    elif isinstance(event, StrategyDeclined):
        record = replace(
            record, status=Status.DECLINED, declined_by=act.actor, declined_at=event.time, declined_why=act.comment
        )
    else:
        record = replace(record, status=Status.RETIRED)
        state = replace(
            state,
            canary=None if _is(state.canary, act.version) else state.canary,
            scheduled=None if _is(state.scheduled, act.version) else state.scheduled,
        )
    return _with_record(state, record)


def _simulated(state: GovernanceState, event: StrategySimulated) -> GovernanceState:
    data = event.data
    simulation = Simulation(
        version=data.version,
        compared_with=data.compared_with,
        since=data.since,
        until=data.until,
        decisions=data.decisions,
        figures=MappingProxyType(dict(data.figures)),
        report_digest=data.report_digest,
        actor=data.actor,
        at=event.time,
    )
    known = (*state.simulations.get(data.version, ()), simulation)
    return replace(state, simulations=MappingProxyType({**state.simulations, data.version: known}))


def _switched(state: GovernanceState, event: KillSwitchSet, sequence: int) -> GovernanceState:
    data = event.data
    switch = KillSwitchState(
        kind=data.kind,
        name=data.name,
        engaged=data.engaged,
        actor=data.actor,
        at=event.time,
        comment=data.comment,
        sequence=sequence,
    )
    return replace(state, kill_switches=MappingProxyType({**state.kill_switches, (data.kind, data.name): switch}))


def _activated(state: GovernanceState, event: StrategyActivated, sequence: int) -> GovernanceState:
    act, decides = event.data, _decides(event, sequence)
    state = replace(state, scheduled=None, decided=state.decided | _before(act))
    if decides.effective_at is not None and decides.effective_at > event.time:
        return replace(state, scheduled=decides)
    return _taken(state, decides)


def _taken(state: GovernanceState, decides: Decides) -> GovernanceState:
    """From now on it decides."""
    if decides.share is not None:
        return _with_record(replace(state, canary=decides), _deciding(state, decides, Status.CANARY))
    state = _without_canary(state, decides)
    return _now_active(state, state.activations or _first(state, decides), decides)


def _rolled_back(state: GovernanceState, event: StrategyRolledBack, sequence: int) -> GovernanceState:
    """To the version named: what became active after it is taken away; a canary ends in any case."""
    decides = replace(_decides(event, sequence), rolled_back=True)
    state = _without_canary(replace(state, scheduled=None, decided=state.decided | _before(event.data)), decides)
    if state.active is not None and state.active.version == decides.version:
        return state
    names = [known.version for known in state.activations]
    below = state.activations[: names.index(decides.version)] if decides.version in names else ()
    return _now_active(state, below, decides)


def _now_active(state: GovernanceState, below: tuple[Decides, ...], decides: Decides) -> GovernanceState:
    before, kept = state.active, tuple(known for known in below if known.version != decides.version)
    decided = state.decided | {decides.version}
    state = replace(state, activations=(*kept, decides), decided=decided)
    if before is not None and before.version != decides.version:
        state = _retired(state, before.version, decides.at)
    return _with_record(state, _deciding(state, decides, Status.ACTIVE))


def _deciding(state: GovernanceState, decides: Decides, status: Status) -> StrategyRecord:
    """The version as it begins to decide, also one that operations activated without any submission."""
    known = state.versions.get(decides.version) or StrategyRecord(
        version=decides.version, name=decides.name, status=status, changed_at=decides.at
    )
    return replace(known, status=status, activated_by=decides.actor, activated_at=decides.at, changed_at=decides.at)


def _retired(state: GovernanceState, version: str, at: datetime) -> GovernanceState:
    known = state.versions.get(version)
    return state if known is None else _with_record(state, replace(known, status=Status.RETIRED, changed_at=at))


def _without_canary(state: GovernanceState, decides: Decides) -> GovernanceState:
    canary = state.canary
    if canary is not None and canary.version != decides.version:
        state = _retired(state, canary.version, decides.at)
    return replace(state, canary=None)


def _is(decides: Decides | None, version: str) -> bool:
    return decides is not None and decides.version == version


def _before(act: StrategyAct) -> frozenset[str]:
    return frozenset({act.previous_version} if act.previous_version else ())


def _first(state: GovernanceState, decides: Decides) -> tuple[Decides, ...]:
    """What decided before the first act of the chain: known from before it, or named by the act."""
    previous, known = decides.previous_version, state.before_chain
    if previous is None or previous == decides.version:
        return ()
    if known is not None and known.version == previous:
        return (known,)
    return (Decides(version=previous, name=decides.name, actor="settings", at=decides.at),)


def _decides(event: StrategyActivated | StrategyRolledBack, sequence: int) -> Decides:
    act = event.data
    return Decides(
        version=act.version,
        name=act.name,
        actor=act.actor,
        at=event.time,
        share=None if act.share is None or act.share >= 1 else act.share,
        effective_at=act.effective_at,
        previous_version=act.previous_version,
        rolled_back=isinstance(event, StrategyRolledBack),
        sequence=sequence,
    )


def _with_record(state: GovernanceState, record: StrategyRecord) -> GovernanceState:
    return replace(state, versions=MappingProxyType({**state.versions, record.version: record}))
