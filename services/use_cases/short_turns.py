"""Work in a thread beside decisions: threads give way to each other more often while it lasts."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_SWITCH_INTERVAL = 0.0005
"""Seconds a thread may keep the interpreter meanwhile: decisions wait no longer than this."""


@dataclass(slots=True)
class _Turns:
    """How many such works are under way, and the interval from before the first of them."""

    under_way: int = 0
    usual: float = 0.0


_turns = _Turns()


@contextmanager
def short_turns() -> Iterator[None]:
    """To be entered on the event loop; several may overlap."""
    if not _turns.under_way:
        _turns.usual = sys.getswitchinterval()
        sys.setswitchinterval(min(_turns.usual, _SWITCH_INTERVAL))
    _turns.under_way += 1
    try:
        yield
    finally:
        _turns.under_way -= 1
        if not _turns.under_way:
            sys.setswitchinterval(_turns.usual)
