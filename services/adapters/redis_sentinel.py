"""A store behind Redis Sentinel: who is master is asked anew for every connection, so that a failover is followed.

`redis+sentinel://user:password@host:26379,host:26379/name/0`; `rediss+sentinel://` where the store speaks TLS. Beside
the options of a plain URL: `sentinel_username`, `sentinel_password`, and `sentinel_tls=true` where the sentinels want
them.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import hiredis

from services.adapters.redis_address import RedisAddress, tls_context
from services.ports import SettingsInvalid, StoreUnavailable

SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
DEFAULT_PORT = 26_379
_MOST_DIGITS = 5
_MOST_PORT = 65_535
_OPTIONS = ("sentinel_username", "sentinel_password", "sentinel_tls")
_ASK_SECONDS = 0.5
"""A sentinel that is silent for so long is passed over; connecting has two seconds for all of it."""
_NOT_ENOUGH = object()
Place = tuple[str, int]


class NoMaster(StoreUnavailable):
    """No sentinel names a server that takes itself for the master."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelAddress:
    """Has the shape of a `RedisAddress`. Its text form never shows a password."""

    name: str
    sentinels: tuple[Place, ...]
    store: RedisAddress
    """How the master is greeted, wherever it stands."""
    credentials: tuple[str, ...] = field(default=(), repr=False)
    tls: ssl.SSLContext | None = None
    """Of the sentinels."""

    @classmethod
    def parse(cls, url: str) -> "SentinelAddress":
        """Raises SettingsInvalid for what is no such URL."""
        try:
            parts = urlsplit(url)
            url.encode()
        except ValueError as error:  # said without the address, which holds passwords
            raise SettingsInvalid("store URL: it cannot be read") from error
        options = dict(parse_qsl(parts.query))
        own = {name: options.pop(name) for name in _OPTIONS if name in options}
        login, _, hosts = parts.netloc.rpartition("@")
        name, _, database = parts.path.strip("/").partition("/")
        if parts.scheme not in SCHEMES or not name or not hosts:
            raise SettingsInvalid("store URL: write redis+sentinel://host:26379,host:26379/name-of-the-master/0")
        place = f"{login}@localhost" if login else "localhost"
        plain = urlunsplit((SCHEMES[parts.scheme], place, f"/{database}" if database else "", urlencode(options), ""))
        store = RedisAddress.parse(plain)
        password = own.get("sentinel_password")
        credentials = () if password is None else (*filter(None, (own.get("sentinel_username"),)), password)
        wants_tls = own.get("sentinel_tls", "false").lower() in {"true", "1", "yes"}
        tls = (store.tls or tls_context(options)) if wants_tls else None
        sentinels = tuple(_place(host) for host in hosts.split(","))
        return cls(name=name, sentinels=sentinels, store=store, credentials=credentials, tls=tls)

    def __str__(self) -> str:
        return f"{self.name} by {', '.join(f'{host}:{port}' for host, port in self.sentinels)}"

    async def connect(self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Opens the connection to whoever is master now. Raises OSError, NoMaster."""
        host, port = await self.master()
        await loop.create_connection(protocol, host, port, ssl=self.store.tls)

    def greeting(self) -> list[tuple[str | int, ...]]:
        """The commands a new connection begins with."""
        return self.store.greeting()

    async def master(self) -> Place:
        """Where the master stands, by the first sentinel whose word the server itself confirms: after a failover some
        sentinels learn of it later than others. Raises NoMaster."""
        told: list[str] = []
        for sentinel in self.sentinels:
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    place = await self._asked(sentinel)
                    if place is not None and await self._is_master(place):
                        return place
                told.append(f"{sentinel[0]}:{sentinel[1]} knows of none" if place is None else f"{place} is none")
            except (OSError, TimeoutError, ConnectionError) as error:
                told.append(f"{sentinel[0]}:{sentinel[1]}: {type(error).__name__}")
        raise NoMaster(f"no master of {self.name}: {'; '.join(told)}")

    async def _asked(self, sentinel: Place) -> Place | None:
        commands: list[tuple[str, ...]] = [("AUTH", *self.credentials)] if self.credentials else []
        replies = await _conversation(
            sentinel, self.tls, [*commands, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)]
        )
        match replies[-1]:
            case [bytes() as host, bytes() as port]:
                return host.decode(), int(port)
            case _:
                return None

    async def _is_master(self, place: Place) -> bool:
        greeting = [tuple(str(part) for part in command) for command in self.store.greeting() if command[0] == "AUTH"]
        *_, role = await _conversation(place, self.store.tls, [*greeting, ("ROLE",)])
        return isinstance(role, list) and bool(role) and role[0] == b"master"


async def _conversation(place: Place, tls: ssl.SSLContext | None, commands: list[tuple[str, ...]]) -> list[object]:
    """The replies of a short connection. Raises OSError."""
    reader, writer = await asyncio.open_connection(*place, ssl=tls)
    parser, replies = hiredis.Reader(notEnoughData=_NOT_ENOUGH), list[object]()
    try:
        writer.write(b"".join(hiredis.pack_command(command) for command in commands))  # type: ignore[arg-type]
        while len(replies) < len(commands):
            if not (data := await reader.read(65_536)):
                raise ConnectionError("closed by the server")
            parser.feed(data)
            while (reply := parser.gets()) is not _NOT_ENOUGH:
                replies.append(reply)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return replies


def _place(text: str) -> Place:
    host, _, port = text.strip().rpartition(":") if ":" in text else (text.strip(), "", "")
    if not host or (port and not (port.isdecimal() and len(port) <= _MOST_DIGITS and 0 < int(port) <= _MOST_PORT)):
        raise SettingsInvalid(f"store URL: {text!r} is no sentinel; write host:26379")
    return host, int(port) if port else DEFAULT_PORT
