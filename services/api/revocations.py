"""Who is let in no more, before their tokens or keys end by themselves: a file that is read again when it changes.

```json
{"tokens": ["<jti>"], "keys": ["<kid>"], "clients": ["mobile-app"]}
```

What cannot be read lets nobody back in: the last list stays in force, and `revocations_read_total` tells of it.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.ports import Metrics, SettingsInvalid
from services.use_cases.running_beside import running_beside

LOOK_SECONDS = 5.0
"""How often the file is looked at."""
MOST_BYTES = 4 * 1024 * 1024
_FIELDS = ("tokens", "keys", "clients")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """Ids of tokens (`jti`), ids of the issuer's keys (`kid`), and names of clients."""

    tokens: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()


def read_revoked(text: bytes) -> Revoked:
    """The list of such a file. Raises ValueError naming the field; values are never shown."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {type(error).__name__}") from error
    if not isinstance(document, dict) or set(document) - set(_FIELDS):
        raise ValueError(f"must be an object of {', '.join(_FIELDS)}, each a list, and nothing else")
    found = {}
    for name in _FIELDS:
        entries = document.get(name, [])
        if not isinstance(entries, list) or not all(isinstance(entry, str) and entry for entry in entries):
            raise ValueError(f"{name}: must be a list of texts")
        found[name] = frozenset(entries)
    return Revoked(**found)


class Revocations:
    """The list in force. Without a file nobody is on it."""

    def __init__(self, path: Path | None = None, metrics: Metrics | None = None) -> None:
        self._path = path
        self._metrics = metrics
        self._seen: tuple[int, int, int] | None = None
        self.revoked = Revoked()

    def client(self, name: str) -> bool:
        """Whether the client is let in no more."""
        return name in self.revoked.clients

    def token(self, token_id: str | None, key_id: str) -> bool:
        """Whether the token is taken no more, or nothing that this key has signed."""
        return token_id in self.revoked.tokens or key_id in self.revoked.keys

    def start(self) -> None:
        """Reads the file for the first time. Raises SettingsInvalid: who was shut out must not come in by a restart."""
        if self._path is None:
            return
        try:
            self._read(self._path)
        except (OSError, ValueError) as error:
            raise SettingsInvalid(f"KAIROS_REVOKED_FILE: {self._path} cannot be read: {_said(error)}") from error

    def refresh(self) -> None:
        """Reads the file again if it was written anew; what fails is logged, and the last list stays in force."""
        if self._path is None:
            return
        try:
            if self._read(self._path):
                self._count("read")
                _log.info("another list of the revoked is in force", extra={"action": "revocations"})
        except (OSError, ValueError) as error:
            self._count("failed")
            _log.error("the revoked cannot be read: %s", _said(error), extra={"action": "the last list stays in force"})

    @asynccontextmanager
    async def following(self, every_s: float = LOOK_SECONDS) -> AsyncIterator["Revocations"]:
        """Read now, and looked at again and again until leaving. Raises SettingsInvalid."""
        await asyncio.to_thread(self.start)
        if self._path is None:
            yield self
            return
        async with running_beside(self._follow(every_s), "following-revocations"):
            yield self

    async def _follow(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.refresh)

    def _read(self, path: Path) -> bool:
        """Whether there was something new. A file that is put in place of another has another number, as mounted
        secrets have."""
        stands = path.stat()
        seen = (stands.st_ino, stands.st_mtime_ns, stands.st_size)
        if seen == self._seen:
            return False
        with path.open("rb") as file:
            self.revoked = read_revoked(file.read(MOST_BYTES + 1))
        self._seen = seen
        return True

    def _count(self, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.count("revocations_read_total", outcome=outcome)


def _said(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
