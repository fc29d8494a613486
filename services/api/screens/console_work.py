"""What a marketer works in: the active version to look at, or a draft to change, with its files checked."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from decision_engine.strategy import Strategy
from services.api.errors import NOT_FOUND, ApiError
from services.api.runtime import ApiRuntime
from services.use_cases.authoring.draft_check import CheckedFiles, check_files
from services.use_cases.authoring.entries import Entry, Files, Place, Sources
from services.use_cases.authoring.entry_kind import EntryKind
from services.use_cases.authoring.entry_kinds import kinds
from services.use_cases.authoring.rule_editing import RuleEditing
from services.use_cases.authoring.source_nodes import items_at, text_at
from services.use_cases.authoring.tools import AuthoringTools
from services.use_cases.governance.desk import GovernanceDesk
from services.use_cases.governance.state import Draft
from services.use_cases.short_turns import short_turns

ACTIVE = "active"
_KEPT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """`where` is `active` or the draft's id. `strategy` is what the files say, or while they do not load what they
    began with, so that there is something to choose from. `base` are the files the draft began with."""

    where: str
    draft: Draft | None
    base_version: str
    base: Files
    files: Files
    checked: CheckedFiles
    strategy: Strategy
    sources: Sources

    @property
    def editable(self) -> bool:
        """Whether it can be changed: a draft can."""
        return self.draft is not None

    @property
    def path(self) -> str:
        """Where its pages are."""
        return f"/console/in/{self.where}"

    @property
    def locales(self) -> tuple[str, ...]:
        """The languages of its texts."""
        return self.strategy.locales

    def kind(self, name: str) -> EntryKind:
        """A kind of entries in its languages."""
        return kinds(self.locales)[name]

    def entry(self, kind: str, label: str) -> Entry:
        """An entry by name. Raises ApiError (not found)."""
        found = self.sources.entry(self.files, self.kind(kind), label)
        if found is None:
            raise ApiError(NOT_FOUND, f"There is no {kind} {label} here.")
        return found

    def titles(self, section: str, locale: str) -> Mapping[str, str]:
        """Names of a list's entries to their titles."""
        return {
            name: text_at(node, ("title", locale)) or name
            for text in self.files.values()
            for _, node in items_at(self.sources.root(text), (section,))
            if (name := text_at(node, ("name",)))
        }


class Works:
    """Opens and saves what is worked in. Checks are remembered by content."""

    def __init__(self, runtime: ApiRuntime, tools: AuthoringTools, governance: GovernanceDesk) -> None:
        self.runtime = runtime
        self.tools = tools
        self.governance = governance
        self._sources = Sources(tools.read)
        self._checks: OrderedDict[tuple[str, bool], CheckedFiles] = OrderedDict()
        self._editing: OrderedDict[str, RuleEditing] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()
        """Files that were read lately."""

    async def open(self, where: str, revision: str = "") -> Work:
        """`revision` is that at which somebody has seen the draft, if they say so: saving it later than others is
        refused then. Raises ApiError (not found), StrategyUnknown."""
        state = self.governance.state()
        draft = None if where == ACTIVE else state.drafts.get(where)
        if where != ACTIVE and draft is None:
            raise ApiError(NOT_FOUND, "There is no such draft: it was submitted or thrown away.")
        version = self.active_version() if draft is None else draft.base_version
        base = await self.governance.files(version)
        files = base if draft is None else await self.governance.draft_files(draft.id)
        if draft is not None and revision.isdecimal():
            draft = replace(draft, revision=int(revision))
        return await self._work(draft, version, base, files)

    async def save(self, work: Work, files: Files, actor: str) -> Work:
        """Keeps other files as the draft's. Raises ActRefused when somebody else saved it meanwhile."""
        draft = work.draft
        if draft is None:
            raise ApiError(NOT_FOUND, "What is active cannot be changed: begin a draft.")
        if dict(files) == dict(work.files):
            return work
        saved = await self.governance.save_draft(
            files,
            draft_id=draft.id,
            title=draft.title,
            base_version=draft.base_version,
            actor=actor,
            revision=draft.revision,
        )
        return await self._work(saved, work.base_version, work.base, files)

    async def warm(self) -> None:
        """Makes ready what the first page of the console needs. Raises StrategyUnknown."""
        work = await self.open(ACTIVE)
        with short_turns():
            await asyncio.to_thread(self.editing, work.strategy)

    async def thoroughly(self, files: Files) -> CheckedFiles:
        """The check with its findings."""
        return await self._checked(files, thoroughly=True)

    def active_version(self) -> str:
        """What decides for everybody."""
        return self.governance.active_version() or self.runtime.live().prepared.strategy.version

    def editing(self, strategy: Strategy) -> RuleEditing:
        """The rule editor's answers for a strategy."""
        found = self._editing.get(strategy.version)
        if found is None:
            found = self._editing[strategy.version] = RuleEditing(strategy)
            while len(self._editing) > _KEPT:
                self._editing.popitem(last=False)
        return found

    async def _work(self, draft: Draft | None, version: str, base: Files, files: Files) -> Work:
        serving = self.runtime.live().prepared.strategy
        if draft is None and serving.version == version:  # what decides has been loaded, and by the same loader
            checked = CheckedFiles(strategy=serving, remarks=())
            await self._read(files)
        else:
            checked = await self._checked(files, thoroughly=False)
        strategy = checked.strategy or (await self._checked(base, thoroughly=False)).strategy
        return Work(
            where=ACTIVE if draft is None else draft.id,
            draft=draft,
            base_version=version,
            base=base,
            files=files,
            checked=checked,
            strategy=strategy or serving,
            sources=self._sources,
        )

    async def _read(self, files: Files) -> None:
        """Has the files read, once, without holding up whoever else this process serves."""
        key = digest(files)
        if key not in self._seen:
            with short_turns():
                await asyncio.to_thread(self._sources.read_all, files)
            self._seen[key] = None
            while len(self._seen) > _KEPT:
                self._seen.popitem(last=False)

    async def _checked(self, files: Files, *, thoroughly: bool) -> CheckedFiles:
        key = digest(files), thoroughly
        found = self._checks.get(key)
        if found is None:
            with short_turns():
                found = await asyncio.to_thread(check_files, self.tools.load, files, thoroughly=thoroughly)
            await self._read(files)
            self._checks[key] = found
            while len(self._checks) > _KEPT:
                self._checks.popitem(last=False)
        self._checks.move_to_end(key)
        return found


def digest(files: Files) -> str:
    """One hash over names and texts."""
    total = sha256()
    for name in sorted(files):
        total.update(f"{len(name)}:{name}{len(files[name])}:{files[name]}".encode())
    return total.hexdigest()


def place_of(ref: str) -> Place:
    """The place a form names. Raises ApiError (not found)."""
    file, *steps = ref.split("/")
    if not file or not steps:
        raise ApiError(NOT_FOUND, "No such place.")
    return Place(file=file, path=tuple(int(step) if step.isdecimal() else step for step in steps))
