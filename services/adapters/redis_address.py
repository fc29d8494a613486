"""Where a store is and how to greet it, from a URL: `redis://`, `rediss://` (TLS) or `unix://`."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from services.ports import SettingsInvalid

_MOST_DIGITS = 6
_OPTIONS = {
    "db", "username", "password", "client_name",
    "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """A parsed store URL. Its text form never shows the password."""

    host: str
    port: int
    path: str | None
    username: str | None
    password: str | None = field(repr=False)
    database: int
    client_name: str
    tls: ssl.SSLContext | None

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Raises SettingsInvalid for another scheme, an unknown option, an unreadable value or an unusable file."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:  # said without the address, which holds the password
            raise SettingsInvalid("store URL: host or port cannot be read") from error
        options = dict(parse_qsl(parts.query))
        unknown = sorted(options.keys() - _OPTIONS)
        if parts.scheme not in {"redis", "rediss", "unix"} or unknown:
            raise SettingsInvalid(
                f"store URL: unknown options {unknown}"
                if unknown
                else "store URL: use redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
            )
        database = options.get("db") or (parts.path.strip("/") if parts.scheme != "unix" else "") or "0"
        if not database.isdecimal() or len(database) > _MOST_DIGITS:
            raise SettingsInvalid(f"store URL: database {database!r} is not a number")
        return cls(
            host=parts.hostname or "localhost",
            port=port or 6379,
            path=unquote(parts.path) if parts.scheme == "unix" else None,
            username=_decoded(parts.username) or options.get("username"),
            password=_decoded(parts.password) or options.get("password"),
            database=int(database),
            client_name=options.get("client_name", "kairos"),
            tls=tls_context(options) if parts.scheme == "rediss" else None,
        )

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"

    async def connect(self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Opens the connection to `protocol`. Raises OSError."""
        if self.path is not None:
            await loop.create_unix_connection(protocol, self.path)
        else:
            await loop.create_connection(protocol, self.host, self.port, ssl=self.tls)

    def greeting(self) -> list[tuple[str | int, ...]]:
        """The commands a new connection begins with."""
        commands: list[tuple[str | int, ...]] = []
        if self.password is not None:
            commands.append(("AUTH", *filter(None, (self.username,)), self.password))
        commands.append(("CLIENT", "SETNAME", self.client_name))
        if self.database:
            commands.append(("SELECT", self.database))
        return commands


def _decoded(text: str | None) -> str | None:
    return unquote(text) if text else None


def tls_context(options: dict[str, str]) -> ssl.SSLContext:
    """How TLS is spoken, by the `ssl_` options of a store URL. Raises SettingsInvalid naming those at fault."""
    authorities, certificate, key = (options.get(name) for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"))
    with _usable(ssl_ca_certs=authorities):
        context = ssl.create_default_context(cafile=authorities)
    if options.get("ssl_check_hostname", "true").lower() in {"false", "0", "no"}:
        context.check_hostname = False
    if options.get("ssl_cert_reqs", "required") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if key is not None and certificate is None:
        raise SettingsInvalid("store URL: ssl_keyfile needs ssl_certfile, the certificate that the key belongs to")
    if certificate is not None:
        with _usable(ssl_certfile=certificate, ssl_keyfile=key):
            context.load_cert_chain(certificate, key, password=_no_password)
    return context


@contextmanager
def _usable(**files: str | None) -> Iterator[None]:
    """Names the options whose files could not be read, or are not what they should be."""
    try:
        yield
    except (OSError, ValueError) as error:
        named = ", ".join(f"{option} {path!r}" for option, path in files.items() if path is not None)
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise SettingsInvalid(f"store URL: {named} cannot be used: {reason}") from error


def _no_password() -> str:
    """A key under a password would have the start wait for somebody to type it."""
    raise ValueError("the key has a password")
