"""Looking through the history: by person, kind of act, what it was about, outcome and days; newest first, by pages."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, tzinfo

from services.use_cases.governance.state import GovernanceState, HistoryEntry
from services.use_cases.persons import person

PAGE_ACTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """What is looked for; what is empty is not asked about. `about` is part of a version, or of `kind:name`. Both days
    belong to the period, by the bank's clock."""

    person: str = ""
    kind: str = ""
    about: str = ""
    outcome: str = ""
    since: date | None = None
    until: date | None = None
    before: int | None = None
    """Only records before this one: the next page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """`total` counts what fits the query on all pages; `older` is `before` of the next page, if there is one."""

    acts: tuple[HistoryEntry, ...]
    total: int
    older: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryChoices:
    """What the history has, to choose from."""

    persons: tuple[str, ...]
    kinds: tuple[str, ...]
    about: tuple[str, ...]


def search(state: GovernanceState, query: HistoryQuery, zone: tzinfo, acts: int = PAGE_ACTS) -> HistoryPage:
    """A page of the acts that fit, newest first. Unreadable records fit only where neither who nor when is asked."""
    found = [line for line in reversed(state.history) if _fits(line, query, zone)]
    rest = found if query.before is None else [line for line in found if line.record < query.before]
    shown = tuple(rest[:acts])
    return HistoryPage(acts=shown, total=len(found), older=shown[-1].record if len(rest) > len(shown) else None)


def choices(state: GovernanceState) -> HistoryChoices:
    """Everybody who acted, every kind of act, everything acted upon; the newest first where there is an order."""
    lines = tuple(reversed(state.history))
    return HistoryChoices(
        persons=tuple(sorted(_distinct(line.actor for line in lines), key=person)),
        kinds=tuple(sorted(_distinct(line.type for line in lines))),
        about=_distinct(line.about for line in lines),
    )


def _fits(line: HistoryEntry, query: HistoryQuery, zone: tzinfo) -> bool:
    if query.person and person(query.person) not in person(line.actor):
        return False
    if (query.kind and line.type != query.kind) or (query.outcome and line.outcome != query.outcome):
        return False
    if query.about.casefold() not in line.about.casefold():
        return False
    if query.since is None and query.until is None:
        return True
    if line.at is None:
        return False
    day = line.at.astimezone(zone).date()
    return (query.since is None or day >= query.since) and (query.until is None or day <= query.until)


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))
