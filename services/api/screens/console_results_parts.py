"""What the pages about results share: how a part that could not be read is answered, and what things are called."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi.responses import Response

from decision_engine.strategy import Strategy
from services.api.screens.console_frame import Console
from services.api.screens.formats import localized
from services.api.screens.visits import Visit
from services.use_cases.explain_decision import ArchiveBusy
from services.use_cases.observing.funnel_log import LogTooLarge
from services.use_cases.observing.results_reading import NothingArchived, NotJudged, ReadingFailed

_FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (NothingArchived, "nothing"),
    (NotJudged, "not_judged"),
    (LogTooLarge, "too_large"),
    (ArchiveBusy, "busy"),
    (ReadingFailed, "failed"),
)


async def answered(console: Console, visit: Visit, read: Callable[[], Awaitable[Response]]) -> Response:
    """What was read; where that was not possible, why, in its place."""
    try:
        return await read()
    except tuple(kind for kind, _ in _FAULTS) as error:
        fault = next(name for kind, name in _FAULTS if isinstance(error, kind))
        return console.fragment(visit, "console/results_fault.html", fault=fault, detail=str(error))


def names_of(strategy: Strategy, locale: str) -> Mapping[str, str]:
    """Titles of offers and segments, and what limits of the contact policy say, by name."""
    named = {str(offer.name): localized(offer.title, locale, offer.name) for offer in strategy.offers}
    named |= {segment.name: localized(segment.title, locale, segment.name) for segment in strategy.segments}
    for offer in strategy.offers:
        for number, treatment in enumerate(offer.treatments):
            named[str(treatment.name)] = f"{named[str(offer.name)]} · {str(treatment.name).partition('.')[2] or number}"
    return named
