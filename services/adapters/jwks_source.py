"""Where the keys of access tokens are published: an address, or a file that somebody else keeps up to date."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from services.ports import ShellError

_SECONDS = 3.0
MOST_BYTES = 256 * 1024


class JwksUnavailable(ShellError):
    """The keys of tokens could not be read."""


def jwks_source(where: str) -> Callable[[], Awaitable[bytes]]:
    """Reads the document at an https:// (or loopback http://) address or in a file, anew at each call."""
    if where.startswith(("https://", "http://")):
        return lambda: _fetched(where)
    return lambda: asyncio.to_thread(_read, Path(where))


async def _fetched(url: str) -> bytes:
    # No redirect is followed and no proxy asked: the keys come from where the setting says, or not at all.
    try:
        async with (
            asyncio.timeout(_SECONDS),
            httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=_SECONDS) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != 200:
                raise JwksUnavailable(f"{url} answered {answer.status_code}")
            document = b""
            async for piece in answer.aiter_bytes():
                document += piece
                if len(document) > MOST_BYTES:
                    raise JwksUnavailable(f"{url} sent more than {MOST_BYTES} bytes")
            return document
    except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
        raise JwksUnavailable(f"{url} cannot be reached: {type(error).__name__}") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise JwksUnavailable(f"{path} cannot be read: {type(error).__name__}") from error
