"""Reads the Starbucks log: ten offers, the members of an app, and what happened hour by hour (JSON lines, gzip).

At hours 0, 168 and 336 every person was dealt one of ten offers (0.075 each) or none (0.25), whoever they were. Times
are whole hours since the log began; within an hour the file's order holds, deals first. The log ends before hour 408.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

from services.ports import ShellError

WAVES = (0, 168, 336)
LOG_END = 408
"""Hours; the log is complete up to here."""
OFFERED, NOTHING = 0.075, 0.25
"""The chances of each offer, and of none."""
UNKNOWN_AGE = 118
FILES = ("portfolio", "profile", "transcript")


class StarbucksUnreadable(ShellError):
    """The folder does not hold the Starbucks files, or one of them is not what it should be."""


class Kind(StrEnum):
    """What can happen, in the words of the file."""

    RECEIVED = "offer received"
    VIEWED = "offer viewed"
    COMPLETED = "offer completed"
    TRANSACTION = "transaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedOffer:
    """One of the ten offers; money in dollars."""

    id: str
    type: str
    difficulty: int
    reward: int
    days: int

    @property
    def name(self) -> str:
        """The name it has in the strategy."""
        if self.type == "informational":
            return f"informational_{self.days}d"
        worth = f"{self.difficulty}" if self.type == "bogo" else f"{self.difficulty}_{self.reward}"
        return f"{self.type}_{worth}_{self.days}d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A member; age, gender and income (dollars a year) are unknown together."""

    id: str
    joined: date
    age: int | None
    gender: str | None
    income: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One line of the transcript: `hour`, and its `position` in the file. `offer` is an offer's id, empty for a
    transaction; `cents` its amount; `reward` what a completion earned, dollars."""

    hour: int
    position: int
    kind: Kind
    person: str
    offer: str
    cents: int
    reward: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StarbucksLog:
    """Offers by id, persons in the order of the file, and everything that happened in order."""

    offers: Mapping[str, LoggedOffer]
    people: tuple[Person, ...]
    happenings: tuple[Happening, ...]


def read_starbucks(folder: Path, people: int | None = None) -> StarbucksLog:
    """The log, of the first `people` persons of the file when given. Raises StarbucksUnreadable."""
    missing = [name for name in FILES if not _path(folder, name).is_file()]
    if missing:
        raise StarbucksUnreadable(f"{folder} lacks {', '.join(f'{name}.jsonl.gz' for name in missing)}")
    try:
        offers = {offer.id: offer for offer in map(_offer, _rows(folder, "portfolio"))}
        members = tuple(map(_person, _rows(folder, "profile")))[:people]
        known = {person.id for person in members}
        rows = enumerate(_rows(folder, "transcript"))
        happenings = tuple(_happening(position, row) for position, row in rows if row["person"] in known)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StarbucksUnreadable(f"{folder} cannot be read: {type(error).__name__}: {error}") from error
    if any(later.hour < earlier.hour for earlier, later in pairwise(happenings)):
        raise StarbucksUnreadable(f"{_path(folder, 'transcript')} is not in order of time")
    return StarbucksLog(offers=offers, people=members, happenings=happenings)


def _offer(row: Mapping[str, object]) -> LoggedOffer:
    return LoggedOffer(
        id=str(row["id"]),
        type=str(row["offer_type"]),
        difficulty=_whole(row["difficulty"]),
        reward=_whole(row["reward"]),
        days=_whole(row["duration"]),
    )


def _person(row: Mapping[str, object]) -> Person:
    joined, age, income = str(row["became_member_on"]), _whole(row["age"]), row["income"]
    return Person(
        id=str(row["id"]),
        joined=date(int(joined[:4]), int(joined[4:6]), int(joined[6:])),
        age=None if age == UNKNOWN_AGE else age,
        gender=None if row["gender"] is None else str(row["gender"]),
        income=None if income is None else _whole(income),
    )


def _happening(position: int, row: Mapping[str, object]) -> Happening:
    value = row["value"]
    if not isinstance(value, dict):
        raise TypeError(f"line {position + 1} of the transcript has no value")
    return Happening(
        hour=_whole(row["time"]),
        position=position,
        kind=Kind(str(row["event"])),
        person=str(row["person"]),
        offer=str(value.get("offer id") or value.get("offer_id") or ""),
        cents=round(float(str(value.get("amount", 0))) * 100),
        reward=_whole(value.get("reward", 0)),
    )


def _whole(value: object) -> int:
    return round(float(str(value)))


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.jsonl.gz"


def _rows(folder: Path, name: str) -> Iterator[dict[str, object]]:
    with gzip.open(_path(folder, name), "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError(f"{name} holds a line that is no object")
            yield row
