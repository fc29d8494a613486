"""Every decoder of what comes from outside: what it is given, what is right for it, and how it may refuse.

`TARGETS` of the four modules beside this one are put together here. A new function that takes bytes or text from
outside belongs into one of them.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")
ROOT = Path(__file__).parents[1]
GOLDEN_EVENTS = ROOT / "tests" / "golden" / "events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One decoder. `decode` raises one of `refuses` for what it cannot read, and nothing else; `weight` says how many
    inputs it gets beside the others."""

    name: str
    samples: tuple[bytes, ...]
    decode: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...] = ()
    weight: float = 1.0


class Disagreement(AssertionError):
    """Two readers of the same bytes differ, or what was read is written differently."""


def all_targets() -> dict[str, Target]:
    """Everything by name; built anew, as the decoders hold state."""
    # Not at the top: they import this module.
    from loadtests import (
        fuzz_targets_doors,
        fuzz_targets_files,
        fuzz_targets_log,
        fuzz_targets_store,
    )

    groups: Sequence[Callable[[], list[Target]]] = (
        fuzz_targets_log.targets,
        fuzz_targets_store.targets,
        fuzz_targets_doors.targets,
        fuzz_targets_files.targets,
    )
    return {target.name: target for group in groups for target in group()}


def as_text(value: bytes) -> str:
    """Text with lone surrogates for what is no UTF-8, as a careless caller passes it on."""
    return value.decode("utf-8", "surrogateescape")


def written(value: bytes, name: str) -> Path:
    """The bytes as a file, of which there is one of each name in a process."""
    path = _scratch(os.getpid()) / name
    path.write_bytes(value)
    return path


@cache
def _scratch(_: int) -> Path:
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="decoder-fuzz-", dir=memory if memory.is_dir() else None))


def scratch() -> Path:
    """The folder of this process."""
    return _scratch(os.getpid())


def waited(work: Coroutine[None, None, Answer]) -> Answer:
    """What comes of it, on the loop of this process."""
    return _loop(os.getpid()).run_until_complete(work)


@cache
def _loop(_: int) -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def end() -> None:
    """Gives back what this process has taken."""
    shutil.rmtree(scratch(), ignore_errors=True)
    _loop(os.getpid()).close()
    _scratch.cache_clear()
    _loop.cache_clear()
