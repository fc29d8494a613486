"""What differs between two strategies, as the console shows it: entry by entry, and beside it the files' lines."""

from dataclasses import dataclass

from services.use_cases.authoring.entries import Files
from services.use_cases.governance.desk import GovernanceDesk
from services.use_cases.governance.strategy_diff import FileDiff
from services.use_cases.governance.strategy_diff_entries import EntryChange, entry_changes

MOST_CHANGES = 200
"""Shown at once; more are counted."""
MOST_LINES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """`entries` is empty where only comments and layout differ, or where a file is no YAML; `files` never lies."""

    entries: tuple[EntryChange, ...]
    files: tuple[FileDiff, ...]

    @property
    def shown(self) -> tuple[EntryChange, ...]:
        """As many as fit a page."""
        return self.entries[:MOST_CHANGES]

    @property
    def more(self) -> int:
        """How many are not shown."""
        return max(0, len(self.entries) - MOST_CHANGES)

    @property
    def lines(self) -> tuple[FileDiff, ...]:
        """The files whose lines are shown; those of very large changes are for the command line."""
        return self.files if sum(len(file.lines) for file in self.files) <= MOST_LINES else ()


async def changes_between(governance: GovernanceDesk, before: Files, after: Files) -> Changes:
    """From one to the other, by the same diff as the command line and the API."""
    found = await governance.diff(before, after)
    return Changes(entries=entry_changes(found.changes), files=found.files)
