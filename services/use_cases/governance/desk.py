"""The desk of governance: what is known now, and every act a person can do, each under the rules and in the chain."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from event_schemas.control import DataExport, StrategyAct
from services.ports import ShellError
from services.use_cases.governance import acts
from services.use_cases.governance.acts import SimulationSummary
from services.use_cases.governance.chain import ChainedEvent
from services.use_cases.governance.fold import due
from services.use_cases.governance.log import GovernanceLog
from services.use_cases.governance.rules import approver_refusal
from services.use_cases.governance.state import (
    Decides,
    Draft,
    GovernanceState,
    KillSwitchState,
    Status,
    StrategyRecord,
    SwitchKind,
)
from services.use_cases.governance.strategy_diff import StrategyDiff
from services.use_cases.governance.writer import ActRefused, ChainWriter, valid_fields
from services.use_cases.persons import same_person

Files = Mapping[str, str]
"""File name to its exact text."""


class VersionUnknown(ShellError):
    """No such strategy version, or draft."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFiles:
    """What was found of a strategy's files that load: `errors` are findings of `kairos strategy check` that stop it."""

    version: str
    name: str
    layout: str
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class StrategyFiles(Protocol):
    """Strategies as files: checked, and kept by version."""

    async def check(self, files: Files) -> CheckedFiles:
        """Raises StrategyInvalid with every problem."""
        ...

    async def compare(self, before: Files, after: Files) -> StrategyDiff:
        """What differs; by lines alone where a file is no YAML."""
        ...

    async def of(self, version: str) -> Files:
        """The files kept under the version. Raises StrategyUnknown."""
        ...


Ready = Callable[[str], Awaitable[None]]
"""Whether a version's states are whole and current. Raises SwitchRefused, StoreUnavailable, BusUnavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskTerms:
    """`serving` is what decides where nothing was ever activated. Without `requires_simulation` a version may be
    approved that was never simulated."""

    serving: Callable[[], str | None]
    requires_simulation: bool = True
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))


class GovernanceDesk:
    """`runtime.governance`. Every act raises ActRefused, naming act, version and reason, when it is against the rules,
    and BusUnavailable when the bus did not take it or it is not known whether it did."""

    def __init__(
        self, log: GovernanceLog, writer: ChainWriter, files: StrategyFiles, ready: Ready, terms: DeskTerms
    ) -> None:
        self.log = log
        self._writer = writer
        self._files = files
        self._ready = ready
        self._terms = terms

    def state(self) -> GovernanceState:
        """What every act so far comes to at this moment, as this node has read it; the same value until the next."""
        return due(self.log.state, self._terms.now())

    def active_version(self) -> str | None:
        """What decides for everybody: the active version, or the one of the settings."""
        active = self.state().active
        return self._terms.serving() if active is None else active.version

    async def files(self, version: str) -> Files:
        """A version's files, exactly as submitted, or as first registered. Raises StrategyUnknown."""
        record = self.state().versions.get(version)
        return record.files if record is not None and record.files else await self._files.of(version)

    async def draft_files(self, draft_id: str) -> Files:
        """A draft's whole files. Raises VersionUnknown, StrategyUnknown."""
        draft = self.draft(draft_id)
        base = await self.files(draft.base_version)
        return {name: text for name, text in {**base, **draft.changed}.items() if name not in draft.removed}

    def draft(self, draft_id: str) -> Draft:
        """Raises VersionUnknown."""
        found = self.state().drafts.get(draft_id)
        if found is None:
            raise VersionUnknown(f"there is no draft {draft_id}")
        return found

    async def check(self, files: Files) -> CheckedFiles:
        """Loads and analyses, without doing anything. Raises StrategyInvalid."""
        return await self._files.check(files)

    async def diff(self, before: Files, after: Files) -> StrategyDiff:
        """What differs from one to the other."""
        return await self._files.compare(before, after)

    async def save_draft(
        self, files: Files, *, draft_id: str, title: str, base_version: str, actor: str, revision: int = 0
    ) -> Draft:
        """Keeps these whole files as a draft, begun (`revision` 0) or saved again (the revision it was read at). Raises
        ActRefused when somebody else saved it meanwhile."""
        base, known = await self.files(base_version), self.state().drafts.get(draft_id)
        if (known.revision if known else 0) != revision:
            by = f"{known.actor} saved revision {known.revision}" if known else "it was submitted or thrown away"
            raise ActRefused(f"save draft {draft_id}: {by} since you opened it (revision {revision})")
        editors = known.editors if known else ()
        if not any(same_person(actor, editor) for editor in editors):
            editors = (*editors, actor)
        draft = acts.DraftContent(
            id=draft_id,
            title=title,
            base_version=base_version,
            changed={name: text for name, text in files.items() if base.get(name) != text},
            removed=tuple(sorted(set(base) - set(files))),
            revision=revision + 1,
            actor=actor,
            editors=editors,
        )
        await self._publish_draft(draft, discarded=False)
        return self.draft(draft_id)

    async def discard_draft(self, draft_id: str, *, actor: str) -> None:
        """Throws a draft away. Raises VersionUnknown."""
        await self._publish_draft(acts.ended(self.draft(draft_id), actor), discarded=True)

    async def submit(
        self,
        files: Files,
        *,
        actor: str,
        comment: str | None = None,
        title: str | None = None,
        base_version: str | None = None,
        draft: Draft | None = None,
    ) -> StrategyRecord:
        """Hands whole files in for approval. Raises StrategyInvalid when they do not load, ActRefused when the check
        finds an error."""
        checked = await self.check(files)
        if checked.errors:
            raise ActRefused(f"submit {checked.version}: {len(checked.errors)} errors: {'; '.join(checked.errors[:5])}")
        if self.active_version() == checked.version:
            raise ActRefused(f"submit {checked.version}: it is the active version: nothing differs")
        with valid_fields():
            submission = StrategyAct(
                name=checked.name,
                version=checked.version,
                actor=actor,
                comment=comment,
                files=dict(files),
                title=title or (draft.title if draft else None),
                base_version=base_version or (draft.base_version if draft else self.active_version()),
                draft=draft.id if draft else None,
                edited_by=draft.editors if draft else (),
                checks={"strategy_check": acts.check_text(checked.warnings)},
            )
        await self._write(lambda _, event_id: acts.submitted(submission, event_id, self._terms.now()))
        return self.state().versions[checked.version]

    async def submit_draft(self, draft_id: str, *, actor: str, comment: str | None = None) -> StrategyRecord:
        """Hands a draft in and ends it. Raises VersionUnknown, StrategyInvalid."""
        draft, files = self.draft(draft_id), await self.draft_files(draft_id)
        record = await self.submit(files, actor=actor, comment=comment or draft.comment, draft=draft)
        await self._publish_draft(acts.ended(draft, actor), discarded=True)
        return record

    async def approve(self, version: str, *, actor: str, comment: str | None = None) -> StrategyRecord:
        """A second person's yes. With the setting, only after a simulation against what is active now."""
        record = self._record(version, "approve")
        if record.status is not Status.SUBMITTED:
            raise ActRefused(f"approve {version}: it is {record.status}; only what is submitted can be approved")
        why = approver_refusal(record, actor) or self._unsimulated(version)
        if why is not None:
            raise ActRefused(f"approve {version}: {why}")
        if (made := (await self.check(record.files)).version) != version:
            raise ActRefused(f"approve {version}: its files make {made} in this release")
        return await self._answer("approved", record, actor, comment)

    def approval_refusal(self, version: str, actor: str) -> str | None:
        """Why this person cannot approve the version now; None when they can."""
        record = self.state().versions.get(version)
        if record is None:
            return "it is not known"
        if record.status is not Status.SUBMITTED:
            return f"it is {record.status}"
        return approver_refusal(record, actor) or self._unsimulated(version)

    async def decline(self, version: str, *, actor: str, comment: str | None = None) -> StrategyRecord:
        """A no to a submission."""
        return await self._answer("declined", self._record(version, "decline"), actor, comment)

    async def retire(self, version: str, *, actor: str, comment: str | None = None) -> StrategyRecord:
        """Takes back what was submitted or approved, or ends a canary."""
        return await self._answer("retired", self._record(version, "retire"), actor, comment)

    async def activate(
        self,
        version: str,
        *,
        actor: str,
        share: float | None = None,
        effective_at: datetime | None = None,
        comment: str | None = None,
    ) -> Decides:
        """An approved version decides: for everybody, or for a share (above 0, below 1) as a canary. Raises
        SwitchRefused when its states are not whole or not current."""
        record = self._record(version, "activate")
        with valid_fields():
            act = StrategyAct(
                name=record.name,
                version=version,
                actor=actor,
                comment=comment,
                share=None if share == 1 else share,
                effective_at=effective_at,
            )
        probe = acts.activated(acts.with_previous(act, self._before(self.state())), "probe", self._terms.now())
        acts.require_allowed(self.state(), probe)
        await self._ready(version)
        await self._write(
            lambda state, event_id: acts.activated(
                acts.with_previous(act, self._before(state)), event_id, self._terms.now()
            )
        )
        return self._decides(version)

    async def rollback(self, *, actor: str, comment: str | None = None, version: str | None = None) -> Decides:
        """One step back: ends the canary where there is one, otherwise the version before decides again. With
        `version` only if that is what would be taken back. Raises SwitchRefused, ActRefused."""
        target, taken_back = self._way_back(self.state(), version)
        if self.state().canary is None:  # what decides for the other customers decides already
            await self._ready(target)

        def compose(state: GovernanceState, event_id: str) -> ChainedEvent:
            back_to, before = self._way_back(state, version)
            if back_to != target:
                raise ActRefused(f"roll back {taken_back}: {state.history[-1].about} came between")
            name = next((d.name for d in state.activations if d.version == back_to), back_to.rpartition("-")[0])
            act = StrategyAct(name=name, version=back_to, actor=actor, comment=comment, previous_version=before)
            return acts.rolled_back(act, event_id, self._terms.now())

        await self._write(compose)
        return self._decides(target)

    async def stop(self, kind: SwitchKind, name: str, *, actor: str, comment: str | None = None) -> KillSwitchState:
        """Engages a kill switch: acts on every node within a second."""
        return await self._switch(kind, name, engaged=True, actor=actor, comment=comment)

    async def release(self, kind: SwitchKind, name: str, *, actor: str, comment: str | None = None) -> KillSwitchState:
        """Releases a kill switch."""
        return await self._switch(kind, name, engaged=False, actor=actor, comment=comment)

    async def record_simulation(self, summary: SimulationSummary, *, actor: str, comment: str | None = None) -> None:
        """Holds fast that a version was simulated, and what came out."""
        await self._write(
            lambda _, event_id: acts.simulated(summary, event_id, self._terms.now(), actor=actor, comment=comment)
        )

    async def record_export(
        self, what: str, *, rows: int, actor: str, comment: str, part: str | None = None, attributes: Sequence[str] = ()
    ) -> None:
        """Holds fast that somebody takes data out, before they get it: which part of what, what of each row, how many
        rows, and what for."""
        with valid_fields():
            act = DataExport(
                what=what, part=part, attributes=tuple(attributes), rows=rows, actor=actor, comment=comment
            )
        await self._write(lambda _, event_id: acts.exported(act, event_id, self._terms.now()))

    async def _write(self, compose: Callable[[GovernanceState, str], ChainedEvent]) -> None:
        await self._writer.write(compose)

    async def _switch(
        self, kind: SwitchKind, name: str, *, engaged: bool, actor: str, comment: str | None
    ) -> KillSwitchState:
        await self._write(
            lambda _, event_id: acts.switched(
                acts.kill_switch(kind, name, engaged=engaged, actor=actor, comment=comment),
                event_id,
                self._terms.now(),
            )
        )
        return self.state().kill_switches[kind, name]

    async def _answer(
        self, answer: acts.Answer, record: StrategyRecord, actor: str, comment: str | None
    ) -> StrategyRecord:
        with valid_fields():
            act = StrategyAct(name=record.name, version=record.version, actor=actor, comment=comment)
        await self._write(lambda _, event_id: acts.answered(answer, act, event_id, self._terms.now()))
        return self.state().versions[record.version]

    async def _publish_draft(self, draft: acts.DraftContent, *, discarded: bool) -> None:
        event_id = self._writer.ids.new_id()
        with valid_fields():
            event = acts.drafted(draft, event_id, self._terms.now(), discarded=discarded)
        await self._writer.write_loose(event)

    def _record(self, version: str, act: str) -> StrategyRecord:
        record = self.state().versions.get(version)
        if record is None:
            raise VersionUnknown(f"{act} {version}: no such version was submitted")
        return record

    def _unsimulated(self, version: str) -> str | None:
        active = self.active_version()
        if not self._terms.requires_simulation or active is None:
            return None
        if self.state().simulated_against(version, active) is not None:
            return None
        return f"it was not simulated against the active version {active}; simulate it first"

    def _before(self, state: GovernanceState) -> str | None:
        return self._terms.serving() if state.active is None else state.active.version

    def _way_back(self, state: GovernanceState, version: str | None) -> tuple[str, str]:
        """What would decide again, and what is taken back. Raises ActRefused."""
        if state.canary is not None:
            active, taken_back = self._before(state), state.canary.version
        else:
            active = None if state.previous is None else state.previous.version
            taken_back = "" if state.active is None else state.active.version
        if version is not None and version != taken_back:
            raise ActRefused(f"roll back {version}: it is {'not active' if taken_back else 'nothing'} now")
        if active is None:
            raise ActRefused(f"roll back {taken_back or 'nothing'}: nothing decided before it")
        return active, taken_back

    def _decides(self, version: str) -> Decides:
        state = self.state()
        candidates: Sequence[Decides | None] = (state.scheduled, state.canary, state.active)
        found = next((each for each in candidates if each is not None and each.version == version), None)
        if found is None:
            raise ActRefused(f"{version}: another act came right after")
        return found
