"""How long a request lay in the system's hands before this process came to read it.

A process that the machine did not let run, or whose loop was held up, finds requests that have waited already: their
callers count from when they sent them, so their time does, too. Only Linux says so, and only of TCP.
"""

import socket
import sys
from struct import unpack_from
from typing import Protocol

LEAST_S = 0.02
"""The system counts in ticks of up to ten milliseconds: below two of them nothing is told."""
_INFO = socket.TCP_INFO if sys.platform == "linux" else None
_LAST_DATA_RECEIVED = 52
"""Where `struct tcp_info` says how many milliseconds ago data came last."""


class Connection(Protocol):
    """A transport's socket."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


def lain_s(connection: Connection | None) -> float:
    """Seconds since the last data of the connection came, if they are worth telling; asked before more is waited for,
    that is how long it has lain. 0 where nobody knows."""
    if _INFO is None or connection is None:
        return 0.0
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, _INFO, _LAST_DATA_RECEIVED + 4)
    except (OSError, AttributeError):  # a Unix socket, or one that is closed
        return 0.0
    if len(told) < _LAST_DATA_RECEIVED + 4:
        return 0.0
    lain_ms: int = unpack_from("I", told, _LAST_DATA_RECEIVED)[0]
    return lain_ms / 1000 if lain_ms >= LEAST_S * 1000 else 0.0
