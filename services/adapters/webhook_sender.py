"""Posts messages to one receiver over HTTP: signed, in bounded time, following nowhere, reading little."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from services.ports import SettingsInvalid
from services.use_cases.outbound_messages import OutboundMessage, Receipt
from services.use_cases.webhook_signature import SecretInvalid, read_secret, signed_headers

_CONNECT_SECONDS = 3.0
_MOST_ANSWER_BYTES = 16 * 1024
"""An answer that is longer is not read to its end; only its status counts."""
_GONE = 410
_USER_AGENT = "kairos-deliver/1"


class SecretFile:
    """One or two secrets, a line each, the newest first. Read again whenever the file has changed, so that keys are
    changed without a restart. Raises SettingsInvalid at the start; later a faulty file leaves the last good keys."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed_ns = path.stat().st_mtime_ns if path.is_file() else 0
        self._keys = self._read()

    def keys(self) -> tuple[bytes, ...]:
        """The keys to sign with."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
            if changed_ns != self._changed_ns:
                self._keys, self._changed_ns = self._read(), changed_ns
        except (OSError, SettingsInvalid):
            pass  # the last good keys stay: half a file is no reason to stop delivering
        return self._keys

    def _read(self) -> tuple[bytes, ...]:
        try:
            lines = [line for line in self._path.read_text().splitlines() if line.strip()]
            keys = tuple(read_secret(line) for line in lines)
        except (OSError, UnicodeDecodeError, SecretInvalid) as error:
            raise SettingsInvalid(
                f"{self._path}: must hold one or two secrets, a line each: whsec_ and base64 of 24 to 64 bytes"
            ) from error
        if not 1 <= len(keys) <= 2:
            raise SettingsInvalid(f"{self._path}: must hold one or two secrets, it holds {len(keys)}")
        return keys


class WebhookSender:
    """Implements the sender of `workers.deliver`."""

    def __init__(self, client: httpx.AsyncClient, url: str, secrets: SecretFile, timeout_s: float) -> None:
        self._client = client
        self._url = url
        self._secrets = secrets
        self._timeout_s = timeout_s

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, secrets: SecretFile, *, timeout_s: float, connections: int
    ) -> AsyncIterator["WebhookSender"]:
        """A sender with connections of its own, closed on leaving."""
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        timeout = httpx.Timeout(timeout_s, connect=min(_CONNECT_SECONDS, timeout_s))
        # No proxy, no netrc: a receiver is where the file says and nowhere else.
        async with httpx.AsyncClient(timeout=timeout, limits=limits, follow_redirects=False, trust_env=False) as client:
            yield cls(client, url, secrets, timeout_s)

    async def send(self, message: OutboundMessage) -> Receipt:
        """One try. Never raises but when cancelled."""
        headers = signed_headers(self._secrets.keys(), message.id, int(time.time()), message.value)
        headers |= {"content-type": "application/cloudevents+json", "user-agent": _USER_AGENT}
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(message.value, headers)
        except (TimeoutError, httpx.TimeoutException):
            return Receipt(taken=False, outcome="timeout")
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            return Receipt(taken=False, outcome="connection")

    async def _post(self, body: bytes, headers: dict[str, str]) -> Receipt:
        async with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
            status, read = answer.status_code, 0
            if answer.is_success:
                async for chunk in answer.aiter_raw():
                    read += len(chunk)
                    if read > _MOST_ANSWER_BYTES:
                        break
                return Receipt(taken=True, outcome="ok")
            return Receipt(
                taken=False,
                outcome=f"status_{status}",
                retry_after_s=_retry_after_s(answer.headers.get("retry-after")),
                is_final=status == _GONE,
            )


def _retry_after_s(text: str | None) -> float | None:
    """Seconds, or until a date; None for what is neither."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
