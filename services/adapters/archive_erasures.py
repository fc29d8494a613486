"""Erased people in the archive and in snapshots: whose records are not taken in, and whose are taken out.

The archiver meets an erasure where it stands in the log. Before the position that covers it is written, every file
that holds the person is replaced by one without them, under the same name: readers see the one or the other, offsets
stay what they were, and after a crash the erasure is met again. What is remembered of it names nobody:
`_erasures.jsonl` holds pseudonyms, and what was done.
"""

import json
import os
import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from event_schemas.envelope import epoch_ms
from event_schemas.topics import DEAD_LETTERS
from models.decision_log.archive_files import finished_files
from services.use_cases.erasure.proofs import ARCHIVE, SNAPSHOTS, Performed
from services.use_cases.erasure.pseudonyms import Pseudonyms

NOTES = "_erasures.jsonl"
_DAY_MS = 86_400_000
_ERASED, _CONSENT, _OWN = "bank.customer.erased", "bank.consent.changed", "nbo."
_CUSTOMER = "customer_id"
_PERSON = re.compile(r"(?<![A-Za-z0-9_:-])(?:retail|corp):[A-Za-z0-9_-]{1,64}(?![A-Za-z0-9_-])")
_ROWS = 5_000
Row = Mapping[str, object]


@dataclass(slots=True)
class _Known:
    """When somebody was erased, and when they came back (epoch milliseconds)."""

    erased_ms: int
    back_ms: int | None = None


@dataclass(slots=True)
class ArchiveErasures:
    """For one archive and one folder of snapshots; used by the archive's only writer."""

    root: Path
    snapshots: Path
    pseudonyms: Pseudonyms
    now_ms: Callable[[], int]
    _known: dict[str, _Known] = field(default_factory=dict)
    _pending: dict[str, int] = field(default_factory=dict)
    """Ids of those to be taken out, and up to when."""
    _untold: list[tuple[str, Performed]] = field(default_factory=list)

    def open(self) -> None:
        """Reads what was noted before."""
        self._known, self._untold, told = {}, [], 0
        path = self.root / NOTES
        for line in path.read_bytes().splitlines() if path.is_file() else ():
            try:
                noted = orjson.loads(line)
            except ValueError:
                continue  # the last line of a process that was killed; what it says is met again
            told = noted.get("told", told)
            if "place" in noted:
                self._untold.append(_account(noted))
            elif "person" in noted:
                self._take(noted["person"], noted.get("erased_ms"), noted.get("back_ms"))
        self._untold = self._untold[told:]

    def admits(self, topic: str, row: Row) -> bool:
        """Whether a record is to be archived; notes erasures and returns as they pass."""
        kind, subject, moment = row.get("type"), row.get("subject"), row.get("time")
        if isinstance(subject, str) and isinstance(moment, datetime) and row.get("key") == subject:
            if kind == _ERASED:
                self._erase(subject, epoch_ms(moment))
            elif kind == _CONSENT:
                self._consented(subject, epoch_ms(moment), row.get("value"))
        return not self._known or not any(self._drops(person, topic, row) for person in _people(topic, row))

    def carry_out(self) -> None:
        """Takes those met since out of every file."""
        if not self._pending:
            return
        persons, self._pending = dict(self._pending), {}
        accounts = {(person, place): Counter[str]() for person in persons for place in (ARCHIVE, SNAPSHOTS)}
        left: Counter[tuple[str, str]] = Counter()
        for topic_folder in sorted(self.root.glob("topic=*")):
            topic = topic_folder.name.removeprefix("topic=")
            for file in finished_files(self.root, topic):
                self._clean(file.path, partial(self._lost, topic, persons), ARCHIVE, accounts, left)
        for path in sorted(self.snapshots.rglob("*.parquet")) if self.snapshots.is_dir() else ():
            if not path.name.startswith(".") and _CUSTOMER in pq.read_schema(path).names:
                self._clean(path, partial(_shown, _day_ms(path), persons), SNAPSHOTS, accounts, left)
        now_ms = self.now_ms()
        for (person, place), removed in accounts.items():
            account = Performed(
                place=place,
                erased_ms=persons[person],
                at_ms=now_ms,
                removed=dict(removed),
                left=left[person, place],
            )
            self._untold.append((self.pseudonyms.of(person), account))
            self._note({"person": self.pseudonyms.of(person), **_document(account)})

    def untold(self) -> list[tuple[str, Performed]]:
        """What was done and has not been told the bus, by pseudonym."""
        return list(self._untold)

    def told(self, number: int) -> None:
        """The first so many of those have been told."""
        del self._untold[:number]
        lines = (self.root / NOTES).read_bytes().splitlines()
        done = sum(b'"place"' in line for line in lines) - len(self._untold)
        self._note({"told": done})

    def _erase(self, customer_id: str, at_ms: int) -> None:
        person = self.pseudonyms.of(customer_id)
        self._pending[customer_id] = max(at_ms, self._pending.get(customer_id, 0))
        known = self._known.get(person)
        if known is None or known.erased_ms < at_ms:
            self._take(person, at_ms, None)
            self._note({"person": person, "erased_ms": at_ms})

    def _consented(self, customer_id: str, at_ms: int, value: object) -> None:
        known = self._known.get(self.pseudonyms.of(customer_id)) if self._known else None
        if known is None or at_ms <= known.erased_ms or (known.back_ms is not None and known.back_ms <= at_ms):
            return
        if isinstance(value, str) and _granted(value):
            person = self.pseudonyms.of(customer_id)
            known.back_ms = at_ms
            self._note({"person": person, "back_ms": at_ms})

    def _take(self, person: str, erased_ms: int | None, back_ms: int | None) -> None:
        known = self._known.get(person)
        if erased_ms is not None:
            self._known[person] = _Known(erased_ms)
        elif known is not None:
            known.back_ms = back_ms

    def _drops(self, customer_id: str, topic: str, row: Row) -> bool:
        known = self._known.get(self.pseudonyms.of(customer_id))
        if known is None:
            return False
        moment, kind = row.get("time"), row.get("type")
        at_ms = epoch_ms(moment) if isinstance(moment, datetime) else None
        if topic == DEAD_LETTERS:
            return known.back_ms is None or (at_ms is not None and at_ms < known.back_ms)
        if at_ms is None or at_ms <= known.erased_ms:
            return True
        if isinstance(kind, str) and kind.startswith(_OWN):
            return False  # what we decided since; nothing of before is in it
        return known.back_ms is None or at_ms < known.back_ms

    def _lost(self, topic: str, persons: Mapping[str, int], row: Row) -> str | None:
        people = (person for person in _people(topic, row) if person in persons)
        return next((person for person in people if self._drops(person, topic, row)), None)

    def _clean(
        self,
        path: Path,
        lost: Callable[[Row], str | None],
        place: str,
        accounts: Mapping[tuple[str, str], Counter[str]],
        left: Counter[tuple[str, str]],
    ) -> None:
        """Replaces the file by one without these people's rows, if it has any."""
        persons = {person for person, _ in accounts}
        found = _rows_of(path, persons, lost)
        if not found:
            return
        _rewrite(path, {number for numbers in found.values() for number in numbers})
        for person, numbers in found.items():
            accounts[person, place].update({"records": len(numbers), "files": 1})
        for person, numbers in _rows_of(path, persons, lost).items():
            left[person, place] += len(numbers)

    def _note(self, document: Mapping[str, object]) -> None:
        with (self.root / NOTES).open("ab") as notes:
            notes.write(json.dumps(document).encode() + b"\n")
            notes.flush()
            os.fsync(notes.fileno())


def _rows_of(path: Path, persons: Iterable[str], lost: Callable[[Row], str | None]) -> dict[str, list[int]]:
    """Numbers of the rows that go, by person. Whose rows cannot be lost is told by two columns, unread otherwise."""
    wanted, found = pa.array(sorted(persons), pa.string()), defaultdict[str, list[int]](list)
    with pq.ParquetFile(path) as file:
        present = set(file.schema_arrow.names)
        of_archive = "subject" in present
        columns = [name for name in ("key", "subject", "type", "time", "value", _CUSTOMER) if name in present]
        names = [name for name in ("key", "subject", _CUSTOMER) if name in present]
        start = 0
        for batch in file.iter_batches(batch_size=_ROWS, columns=names):
            masks = [pc.is_in(batch.column(name), value_set=wanted) for name in names]
            if of_archive:
                # Of records without a customer for a subject (unreadable ones, dead letters) the text has to be read.
                about = pc.match_substring_regex(batch.column("subject"), "^(retail|corp):")
                masks.append(pc.invert(pc.coalesce(about, pa.scalar(False))))  # noqa: FBT003 - a value, not a switch
            mask = masks[0]
            for other in masks[1:]:
                mask = pc.or_(mask, other)
            numbers = [start + i for i in pc.indices_nonzero(mask).to_pylist()]
            start += batch.num_rows
            if numbers:
                _judge(path, numbers, columns, lost, found)
    return dict(found)


def _judge(
    path: Path, numbers: list[int], columns: list[str], lost: Callable[[Row], str | None], found: dict[str, list[int]]
) -> None:
    wanted, start = set(numbers), 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
            inside = [number - start for number in numbers if start <= number < start + batch.num_rows]
            for place, row in zip(inside, batch.take(pa.array(inside, pa.int64())).to_pylist(), strict=True):
                if start + place in wanted and (person := lost(row)) is not None:
                    found[person].append(start + place)
            start += batch.num_rows


def _rewrite(path: Path, gone: set[int]) -> None:
    """The same file without these rows, whole or not at all."""
    unfinished, start = path.with_name(f".{path.name}"), 0
    with pq.ParquetFile(path) as file, pq.ParquetWriter(unfinished, file.schema_arrow, compression="zstd") as writer:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number)
            kept = [place for place in range(table.num_rows) if start + place not in gone]
            writer.write_table(table.take(pa.array(kept, pa.int64())))
            start += table.num_rows
    _sync(unfinished)
    unfinished.rename(path)
    _sync(path.parent)


def _people(topic: str, row: Row) -> set[str]:
    """Whom a record is about: its key and its subject; of one without a subject, and of a dead letter, all it names."""
    key, subject, value = row.get("key"), row.get("subject"), row.get("value")
    people = {name for name in (key, subject) if isinstance(name, str)}
    if (subject is None or topic == DEAD_LETTERS) and isinstance(value, str):
        people |= set(_PERSON.findall(value))
        if topic == DEAD_LETTERS:
            people |= set(_PERSON.findall(_letter(value)))
    return people


def _letter(value: str) -> str:
    """What a dead letter carries, as far as it is text."""
    try:
        data = orjson.loads(value)["data"]
        parts = [b64decode(data.get(name) or "") for name in ("key_base64", "payload_base64")]
    except (ValueError, KeyError, TypeError, AttributeError, NotBase64):
        return ""
    return "\n".join(part.decode(errors="replace") for part in parts)


def _shown(day_ms: int | None, persons: Mapping[str, int], row: Row) -> str | None:
    """Whose row of a snapshot goes: one of a day that the erasure may lie after."""
    person = row.get(_CUSTOMER)
    if not isinstance(person, str) or person not in persons:
        return None
    return person if day_ms is None or day_ms <= persons[person] + _DAY_MS else None


def _day_ms(path: Path) -> int | None:
    try:
        return (date.fromisoformat(path.stem) - date(1970, 1, 1)).days * _DAY_MS
    except ValueError:
        return None


def _granted(value: str) -> bool:
    try:
        data = orjson.loads(value)["data"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(data, dict) and data.get("granted") is True


def _document(account: Performed) -> dict[str, object]:
    return {
        "place": account.place,
        "erased_ms": account.erased_ms,
        "at_ms": account.at_ms,
        "removed": dict(account.removed),
        "left": account.left,
    }


def _account(noted: Mapping[str, object]) -> tuple[str, Performed]:
    fields = {name: noted[name] for name in ("place", "erased_ms", "at_ms", "removed", "left")}
    return str(noted["person"]), Performed(**fields)  # type: ignore[arg-type]  # as `_document` wrote them


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
