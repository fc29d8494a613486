"""A role of the product whose wall clock can jump.

The file holds eight bytes, a double: the seconds by which this process' wall clock is wrong. It is read at every look
at the clock, so that whoever writes it makes the clock jump; clocks that only go forward (timeouts, deadlines) stay
right, as they do on a machine whose time is set.
"""

import mmap
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from services.__main__ import main

_DOUBLE = struct.Struct("<d")


def write_skew(path: Path, seconds: float) -> None:
    """The clock of the process that reads this file is wrong by so much from now on."""
    if not path.exists():
        path.write_bytes(_DOUBLE.pack(seconds))
        return
    with path.open("r+b") as file:
        file.write(_DOUBLE.pack(seconds))


def _skewed(skew: "mmap.mmap", time_ns: Callable[[], int]) -> None:
    def wrong_ns() -> int:
        return time_ns() + int(_DOUBLE.unpack(skew[: _DOUBLE.size])[0] * 1e9)

    time.time_ns = wrong_ns
    time.time = lambda: wrong_ns() / 1e9


def run_with_clock(clock: Path, arguments: Sequence[str]) -> int:
    """Runs `kairos` with these arguments by the clock that the file makes wrong; the role's own status."""
    with clock.open("rb") as file:
        skew = mmap.mmap(file.fileno(), _DOUBLE.size, access=mmap.ACCESS_READ)
    _skewed(skew, time.time_ns)
    return main(arguments)
