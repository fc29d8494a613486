"""The console's frame: its places, and how its routes answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.responses import Response

from decision_engine.errors import StrategyInvalid
from services.api.authentication import ApiScope
from services.api.screens.console_refusals import refusal_in_words
from services.api.screens.console_work import ACTIVE, Work, Works
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.ports import BusUnavailable, ShellError, StoreUnavailable
from services.use_cases.authoring.source_edits import EditRefused
from services.use_cases.authoring.source_nodes import SourceUnreadable

PLACES: tuple[tuple[str, str], ...] = (
    ("offers", "/console/in/{where}/offers"),
    ("caps", "/console/in/{where}/caps"),
    ("levers", "/console/in/{where}/levers"),
    ("triggers", "/console/in/{where}/triggers"),
    ("experiments", "/console/in/{where}/experiments"),
    ("portrait", "/console/in/{where}/portrait"),
    ("drafts", "/console/drafts"),
    ("approvals", "/console/approvals"),
    ("switches", "/console/switches"),
)
"""Pages of the console by name and path, in the order of the navigation."""
MORE_PLACES: tuple[tuple[str, str], ...] = (
    ("results", "/console/results"),
    ("volumes", "/console/volumes"),
    ("models", "/console/models"),
    ("decisions", "/console/decisions"),
    ("history", "/console/history"),
)
"""Pages that look at what happened, behind these."""
_SCOPES = {"history": ApiScope.AUDIT}
"""What a page asks for, where that is more than reading."""


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
        return self.desk.fragment(visit, "console/refused.html", refusal=self.said(visit, refusal))

    def said(self, visit: Visit, refusal: str) -> str:
        """A refusal of governance in the visit's language."""
        return refusal_in_words(self.desk.words, visit.locale, refusal)

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
            "more_places": [row for row in MORE_PLACES if _SCOPES.get(row[0], ApiScope.READ) in visit.client.scopes],
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
