"""The console's frame: its places, and how its routes answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.responses import Response

from decision_engine.errors import StrategyInvalid
from services.api.authentication import ApiScope
from services.api.screens.console_work import ACTIVE, Work, Works
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.ports import BusUnavailable, ShellError, StoreUnavailable
from services.use_cases.authoring.source_edits import EditRefused
from services.use_cases.authoring.source_nodes import SourceUnreadable

PLACES: tuple[tuple[str, str], ...] = (
    ("offers", "/console/work/{where}/offers"),
    ("caps", "/console/work/{where}/caps"),
    ("levers", "/console/work/{where}/levers"),
    ("experiments", "/console/work/{where}/experiments"),
    ("drafts", "/console/drafts"),
    ("approvals", "/console/approvals"),
    ("switches", "/console/switches"),
)
"""Pages of the console by name and path, in the order of the navigation."""
MORE_PLACES: tuple[tuple[str, str], ...] = ()
"""Pages that look at what happened, behind these."""


_JOBS_KEPT = 100


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not done, in words."""

    text: str


class Console:
    """Renders the console's pages inside its frame."""

    def __init__(self, desk: Desk, works: Works) -> None:
        self.desk = desk
        self.works = works
        self.governance = works.governance
        self.jobs: dict[str, str] = {}
        """The newest simulation of each version that was begun on this node."""

    def page(self, visit: Visit, template: str, place: str, work: Work | None = None, **values: object) -> Response:
        """A whole page at one of the places."""
        around: dict[str, Any] = {**self._around(visit, place, work), **values}
        return self.desk.page(visit, template, **around)

    def fragment(self, visit: Visit, template: str, work: Work | None = None, **values: object) -> Response:
        """A part of a page."""
        around: dict[str, Any] = {**self._around(visit, "", work), **values}
        return self.desk.fragment(visit, template, **around)

    def refused(self, visit: Visit, refusal: str) -> Response:
        """A refusal, to be shown at its place."""
        return self.desk.fragment(visit, "console/refused.html", refusal=refusal)

    async def attempt(self, act: Callable[[], Awaitable[object]]) -> Refusal | None:
        """Does it; what is against the rules or cannot be done now is an answer, not an error."""
        try:
            await act()
        except (BusUnavailable, StoreUnavailable):
            raise
        except StrategyInvalid as error:
            return Refusal("\n".join(str(problem) for problem in error.problems[:10]))
        except (ShellError, EditRefused) as error:
            return Refusal(str(error))
        except SourceUnreadable as error:
            return Refusal(f"{error} (line {error.line})")
        return None

    def remember_job(self, version: str, job_id: str) -> None:
        """Keeps in mind which simulation of the version was begun last here, for the newest hundred versions."""
        self.jobs.pop(version, None)
        self.jobs[version] = job_id
        while len(self.jobs) > _JOBS_KEPT:
            del self.jobs[next(iter(self.jobs))]

    def stopped(self) -> frozenset[str]:
        """Names of the offers and groups that a kill switch holds back."""
        return frozenset(s.name for s in self.governance.state().engaged if s.kind in ("offer", "group"))

    def _in_words(self, when: str, locale: str) -> str:
        """A condition in plain words, as far as what is active knows its names; empty where it cannot be read."""
        strategy = self.works.runtime.live().prepared.strategy
        return self.works.editing(strategy).said(when, locale) or ""

    def _around(self, visit: Visit, place: str, work: Work | None) -> Mapping[str, object]:
        where = ACTIVE if work is None else work.where
        state = self.governance.state()
        return {
            "place": place,
            "work": work,
            "places": [(name, path.format(where=where)) for name, path in PLACES],
            "more_places": MORE_PLACES,
            "waiting": sum(record.status == "submitted" for record in state.versions.values()),
            "open_drafts": len(state.drafts),
            "stopped_now": len(state.engaged),
            "may": {scope.value for scope in visit.client.scopes},
            "may_author": ApiScope.AUTHOR in visit.client.scopes,
            "in_words": lambda when: self._in_words(when, visit.locale),
        }


def go(path: str) -> Response:
    """Sends the browser on."""
    return Response("", headers={"x-kairos-go": path})
