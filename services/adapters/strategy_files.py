"""Strategies as files for the desk of governance: checked as `kairos strategy check` does, and kept as they came."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from decision_engine.errors import StrategyInvalid
from decision_engine.features.compiled import compile_features
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.identifiers import StrategyVersion
from decision_engine.strategy import Strategy
from decision_engine.strategy_loading.analysis import analyse
from decision_engine.strategy_loading.analysis_findings import Severity
from decision_engine.strategy_loading.document import Node
from event_schemas.codec import Event
from event_schemas.control import StrategySubmitted
from services.adapters.strategy_versions import StrategyNotKept, StrategyVersions, require_file_names
from services.use_cases.governance.desk import CheckedFiles
from services.use_cases.governance.strategy_diff import StrategyDiff, strategy_diff

Load = Callable[[Mapping[str, str]], tuple[Strategy, Node]]
"""Reads a strategy from its files, with its document. Raises StrategyInvalid."""
ReadDocument = Callable[[Mapping[str, str]], Node | None]
"""Reads the document in the files, whether or not it makes a strategy; None where a file is no YAML."""
_log = logging.getLogger(__name__)


class CheckedStrategyFiles:
    """Implements `governance.desk.StrategyFiles`."""

    def __init__(self, versions: StrategyVersions, load: Load, read: ReadDocument) -> None:
        self._versions = versions
        self._load = load
        self._read = read

    async def check(self, files: Mapping[str, str]) -> CheckedFiles:
        """Loads and analyses in a thread. Raises StrategyInvalid naming files as they are called here."""
        return await asyncio.to_thread(self._check, dict(files))

    async def compare(self, before: Mapping[str, str], after: Mapping[str, str]) -> StrategyDiff:
        """What differs, by lines alone where a file is no YAML."""
        return await asyncio.to_thread(self._compare, before, after)

    async def of(self, version: str) -> Mapping[str, str]:
        """The files as registered. Raises StrategyUnknown."""
        return await asyncio.to_thread(self._versions.texts, version)

    def _compare(self, before: Mapping[str, str], after: Mapping[str, str]) -> StrategyDiff:
        old, new = self._read(before), self._read(after)
        return strategy_diff(before, after, None if old is None or new is None else (old, new))

    def _check(self, files: Mapping[str, str]) -> CheckedFiles:
        require_file_names(files)
        strategy, document = self._load(files)
        found = [(finding.severity, str(finding)) for finding in analyse(strategy, document)]
        return CheckedFiles(
            version=strategy.version,
            name=strategy.name,
            layout=compile_features(strategy.declarations, EVENT_FIELDS).layout,
            errors=tuple(text for severity, text in found if severity is Severity.ERROR),
            warnings=tuple(text for severity, text in found if severity is not Severity.ERROR),
        )


class KeptSubmissions:
    """Keeps what was submitted in the archive of strategies, so that this node can load it. In the background: a kill
    switch must not wait for it."""

    def __init__(self, versions: StrategyVersions) -> None:
        self._versions = versions
        self._under_way: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def on_submitted(self, event: Event) -> None:
        """To be subscribed to submissions that took effect."""
        if isinstance(event, StrategySubmitted) and event.data.files:
            task = asyncio.create_task(self._keep(event.data.version, event.data.files), name="keep-strategy")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def settled(self) -> None:
        """Returns when everything that came so far is kept, or cannot be."""
        with suppress(asyncio.CancelledError):
            while self._under_way:
                await asyncio.gather(*self._under_way)

    async def _keep(self, version: str, files: Mapping[str, str]) -> None:
        try:
            async with self._turn:
                await asyncio.to_thread(self._versions.register_texts, StrategyVersion(version), files)
        except (StrategyNotKept, StrategyInvalid) as error:
            _log.error("a submitted strategy is not kept here: %s", error, extra={"action": "governance"})
