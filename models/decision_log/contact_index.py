"""How many options of an archive were seen, and when first, without reading what was read before.

Every file is read once. A repeated impression changes nothing, so a file that others were merged into may be read over
them; when files have gone that no other holds (a day was forgotten, an archiver began a part anew), all is read anew.
An option is known by 128 bits of its tracking id: 24 bytes an option in all.
"""

from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from decision_engine.outcomes import Outcome
from event_schemas.envelope import epoch_ms
from event_schemas.topics import RESPONSES
from models.decision_log.archive_files import ArchiveFile, finished_files, read_rows, without_merged
from models.decision_log.labelled_rows import LogQuery

_KEY_BYTES = 16
_MOST_APART = 50_000
"""Options kept apart before they are sorted in among the others."""


class ContactIndex:
    """Knows the archives it was asked about. Not to be used by two threads at once."""

    def __init__(self) -> None:
        self._archives: dict[Path, _Contacts] = {}

    def closed(self, query: LogQuery) -> int:
        """How many options of any model were first seen in the query's period and have their window behind them: a
        bound on its labelled rows."""
        contacts = self._read(query)
        return contacts.seen(query.period.since_ms or 0, contacts.newest_ms - query.attribution_seconds * 1000 + 1)

    def seen(self, query: LogQuery, until_ms: int) -> int:
        """How many options of any model were first seen in the query's period and before that moment."""
        return self._read(query).seen(query.period.since_ms or 0, until_ms)

    def _read(self, query: LogQuery) -> "_Contacts":
        found = self._archives.get(query.archive)
        present = finished_files(query.archive, RESPONSES)
        if found is None or not found.still_there(present):
            found = self._archives[query.archive] = _Contacts()
        for file in without_merged(present):
            found.take(file)
        return found


class _Contacts:
    """The first moment of every option seen in the files taken, and the newest moment of any response."""

    def __init__(self) -> None:
        self.newest_ms = 0
        self._files: set[ArchiveFile] = set()
        self._keys: NDArray[np.bytes_] = np.empty(0, f"S{_KEY_BYTES}")
        self._first_ms: NDArray[np.int64] = np.empty(0, np.int64)
        self._apart: dict[bytes, int] = {}

    def still_there(self, present: Iterable[ArchiveFile]) -> bool:
        """Whether every file taken is there yet, or is held whole by one that is."""
        by_part: dict[tuple[str, int], list[ArchiveFile]] = {}
        for file in present:
            by_part.setdefault((file.day, file.partition), []).append(file)
        return all(
            any(whole.first <= file.first and file.last <= whole.last for whole in by_part.get(part, ()))
            for file in self._files
            for part in ((file.day, file.partition),)
        )

    def take(self, file: ArchiveFile) -> None:
        """Reads a file not read before."""
        if file in self._files:
            return
        fresh: dict[bytes, int] = {}
        for row in read_rows(file, ("time", "tracking_id", "outcome")):
            moment, tracking_id = row["time"], row["tracking_id"]
            if not isinstance(moment, datetime):
                continue
            at_ms = epoch_ms(moment)
            self.newest_ms = max(self.newest_ms, at_ms)
            if row["outcome"] == Outcome.IMPRESSION and isinstance(tracking_id, str):
                key = blake2b(tracking_id.encode(), digest_size=_KEY_BYTES).digest()
                fresh[key] = min(at_ms, fresh.get(key, at_ms))
        self._note(fresh)
        self._files.add(file)

    def seen(self, since_ms: int, until_ms: int) -> int:
        """Options first seen from that moment on and before the other."""
        sorted_in = int(((self._first_ms >= since_ms) & (self._first_ms < until_ms)).sum())
        return sorted_in + sum(since_ms <= at_ms < until_ms for at_ms in self._apart.values())

    def _note(self, fresh: dict[bytes, int]) -> None:
        if not fresh:
            return
        keys = np.array(list(fresh), f"S{_KEY_BYTES}")
        places = np.minimum(np.searchsorted(self._keys, keys), max(0, self._keys.size - 1))
        known = self._keys[places] == keys if self._keys.size else np.zeros(keys.size, np.bool_)
        moments = np.fromiter(fresh.values(), np.int64, keys.size)
        # Within one file every key stands once, so no place is written twice.
        self._first_ms[places[known]] = np.minimum(self._first_ms[places[known]], moments[known])
        for (key, at_ms), sorted_in in zip(fresh.items(), known.tolist(), strict=True):
            if not sorted_in:
                self._apart[key] = min(at_ms, self._apart.get(key, at_ms))
        if len(self._apart) > max(_MOST_APART, self._keys.size // 20):
            self._sort_in()

    def _sort_in(self) -> None:
        keys = np.concatenate([self._keys, np.array(list(self._apart), self._keys.dtype)])
        first_ms = np.concatenate([self._first_ms, np.fromiter(self._apart.values(), np.int64, len(self._apart))])
        order = np.argsort(keys, kind="stable")
        self._keys, self._first_ms = keys[order], first_ms[order]
        self._apart.clear()
