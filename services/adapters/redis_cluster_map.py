"""Where a Redis Cluster is, and which of its servers has which slots.

`redis+cluster://user:password@host:6379,host:6379,host:6379`; `rediss+cluster://` where the servers speak TLS, with the
options of a plain URL. The servers named only have to tell of the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from services.adapters.redis_address import RedisAddress
from services.adapters.redis_lane import Reply
from services.adapters.redis_slots import SLOTS
from services.ports import SettingsInvalid, StoreUnavailable

SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
DEFAULT_PORT = 6379
Place = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAddress:
    """A parsed URL. Its text form never shows a password."""

    seeds: tuple[Place, ...]
    store: RedisAddress
    """How every server is greeted."""

    @classmethod
    def parse(cls, url: str) -> "ClusterAddress":
        """Raises SettingsInvalid for what is no such URL."""
        try:
            parts = urlsplit(url)
            url.encode()
        except ValueError as error:  # said without the address, which holds the password
            raise SettingsInvalid("store URL: it cannot be read") from error
        login, _, hosts = parts.netloc.rpartition("@")
        if parts.scheme not in SCHEMES or not hosts:
            raise SettingsInvalid("store URL: write redis+cluster://host:6379,host:6379,host:6379")
        place = f"{login}@localhost" if login else "localhost"
        options = urlencode(dict(parse_qsl(parts.query)))
        store = RedisAddress.parse(urlunsplit((SCHEMES[parts.scheme], place, parts.path, options, "")))
        if store.database:
            raise SettingsInvalid(f"store URL: a cluster has database 0 alone, not {store.database}")
        return cls(seeds=tuple(_place(host) for host in hosts.split(",")), store=store)

    def at(self, place: Place) -> RedisAddress:
        """The address of one server."""
        return replace(self.store, host=place[0], port=place[1])

    def __str__(self) -> str:
        return ", ".join(f"{host}:{port}" for host, port in self.seeds)


@dataclass(slots=True)
class ClusterMap:
    """Who has which slot. `owners` has a master for each, None where nobody serves it."""

    owners: list[Place | None] = field(default_factory=lambda: [None] * SLOTS)
    replicas: dict[Place, list[Place]] = field(default_factory=dict)
    """Those of every master."""
    epoch: int = -1
    """Of several accounts the one of the later epoch counts."""

    @property
    def masters(self) -> list[Place]:
        """In the order of their slots."""
        return list(self.replicas)

    @property
    def uncovered(self) -> int:
        """Slots that nobody serves."""
        return self.owners.count(None)

    @classmethod
    def read(cls, slots: Reply, info: Reply, asked: Place) -> "ClusterMap | None":
        """What a server tells by CLUSTER SLOTS and CLUSTER INFO; None where that is no such answer. It need not know
        its own name: that is where it was asked."""
        if not isinstance(slots, list) or not slots:
            return None
        found = cls(epoch=_epoch(info))
        for entry in sorted(entry for entry in map(_range, slots) if entry is not None):
            first, last, servers = entry
            named = [(host or asked[0], port) for host, port in servers]
            found.owners[first : last + 1] = [named[0]] * (last + 1 - first)
            known = found.replicas.setdefault(named[0], [])
            known += [place for place in named[1:] if place not in known]
        return found


def info_of(reply: Reply) -> Mapping[str, str]:
    """The lines of an INFO reply by name."""
    text = reply.decode() if isinstance(reply, bytes) else ""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _epoch(info: Reply) -> int:
    """A server that takes the cluster for broken is believed last: it may be the one that is cut off."""
    told = info_of(info)
    epoch = int(told.get("cluster_current_epoch", "0"))
    return epoch if told.get("cluster_state") == "ok" else epoch - 2**62


def _range(entry: Reply) -> tuple[int, int, list[tuple[str, int]]] | None:
    match entry:
        case [int() as first, int() as last, [*_] as master, *replicas]:
            servers = [server for one in (master, *replicas) if (server := _server(one)) is not None]
            return (first, last, servers) if servers else None
        case _:
            return None


def _server(entry: Reply) -> tuple[str, int] | None:
    match entry:
        case [host, int() as port, *_]:
            return (host.decode() if isinstance(host, bytes) and host != b"?" else ""), port
        case _:
            return None


def redirection(text: str, asked: Place) -> tuple[int, Place]:
    """Slot and server of `MOVED 3999 host:6381` or `ASK …`."""
    _, slot, where = text.split(" ")[:3]
    host, _, port = where.rpartition(":")
    return int(slot), (host or asked[0], int(port))


def own_slots(nodes: str) -> set[tuple[str, int, int]]:
    """Name, first and last slot of the ranges of the server that answered CLUSTER NODES. Raises StoreUnavailable while
    one is on its way from it or to it."""
    own = next((line.split(" ") for line in nodes.splitlines() if "myself" in line), [])
    if any(word.startswith("[") for word in own[8:]):
        raise StoreUnavailable("a slot of the cluster is on its way to another master")
    ranges = [word.partition("-") for word in own[8:] if word]
    return {(own[0], int(first), int(last or first)) for first, _, last in ranges}


def newest(maps: Iterable[ClusterMap | None]) -> ClusterMap | None:
    """The account to be believed."""
    told: Sequence[ClusterMap] = [one for one in maps if one is not None]
    return max(told, key=lambda one: one.epoch, default=None)


def _place(text: str) -> Place:
    host, _, port = text.strip().rpartition(":") if ":" in text else (text.strip(), "", "")
    if not host or (port and not port.isdecimal()):
        raise SettingsInvalid(f"store URL: {text!r} is no server of a cluster; write host:6379")
    return host, int(port) if port else DEFAULT_PORT
