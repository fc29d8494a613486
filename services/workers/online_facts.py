"""From records of the bus to what online learning wants to know: options offered, seen, accepted."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from decision_engine.outcomes import Outcome
from event_schemas.codec import DecodeError, decode
from event_schemas.responses import ResponseRecorded
from event_schemas.topics import DECISIONS, RESPONSES
from models.online.book import Book
from models.online.evidence import CellKey
from models.online.tables import exposure_of
from services.ports import Delivery
from services.use_cases.wire_time import epoch_ms

TOPICS = (DECISIONS, RESPONSES)
_ACCEPTING = frozenset({Outcome.ACCEPT, Outcome.CONVERT})


class OnlineFactUnreadable(ValueError):
    """A record that says nothing online learning can use, though it should."""


@dataclass(frozen=True, slots=True)
class OfferedOption:
    """An option of a decision that used beliefs."""

    tracking_id: str
    cell: CellKey
    exposure: float


@dataclass(frozen=True, slots=True)
class Offered:
    """The options of one decision."""

    at_ms: int
    options: tuple[OfferedOption, ...]

    def enter(self, book: Book) -> None:
        """Takes them into the book."""
        for option in self.options:
            book.decided(option.tracking_id, option.cell, option.exposure, self.at_ms)


@dataclass(frozen=True, slots=True)
class Answered:
    """An option was seen or accepted."""

    at_ms: int
    tracking_id: str
    is_acceptance: bool

    def enter(self, book: Book) -> None:
        """Takes it into the book."""
        (book.accepted if self.is_acceptance else book.seen)(self.tracking_id, self.at_ms)


OnlineFact = Offered | Answered


def read_fact(delivery: Delivery) -> OnlineFact | None:
    """What a record says; None for what does not matter. Raises OnlineFactUnreadable."""
    if delivery.value is None:
        return None
    if delivery.topic == DECISIONS:
        return _offered(delivery.value) if b'"online":' in delivery.value else None
    try:
        event = decode(delivery.value, delivery.headers)
    except DecodeError as error:
        raise OnlineFactUnreadable(str(error)) from error
    if not isinstance(event, ResponseRecorded):
        return None
    outcome = Outcome(event.data.outcome)
    if outcome is not Outcome.IMPRESSION and outcome not in _ACCEPTING:
        return None
    return Answered(event.time_ms, event.data.tracking_id, outcome in _ACCEPTING)


def _offered(value: bytes) -> Offered | None:
    """A decision record has tens of kilobytes, of which a few fields matter; being our own, it is not checked whole."""
    try:
        data = orjson.loads(value)["data"]
        used = data.get("online")
        if used is None:  # the word stands somewhere else
            return None
        multipliers = dict(zip(used["treatments"], used["multipliers"], strict=True))
        options = tuple(
            _option(option, used, multipliers)
            for placement in data["placements"]
            for option in placement.get("options", ())
            if option["treatment"] in multipliers and not option.get("mandatory")
        )
        return Offered(epoch_ms(data["time"]), options)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OnlineFactUnreadable(f"no decision record: {error!r}") from error


def _option(
    option: Mapping[str, str], used: Mapping[str, Mapping[str, float]], multipliers: Mapping[str, float]
) -> OfferedOption:
    offer, treatment = option["offer"], option["treatment"]
    exposure = exposure_of(float(used["base"][offer]), float(multipliers[treatment]))
    if not 0.0 <= exposure <= 1.0 / float(multipliers[treatment]):
        raise ValueError(f"the propensity of {offer} is none")
    cell = CellKey(str(used["versions"][offer]), treatment, str(used["segment"]))
    return OfferedOption(option["tracking_id"], cell, exposure)
