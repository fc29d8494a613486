"""Old versions of event data brought to the next one, step by step; decoding always yields the newest."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from event_schemas.business_signals import SIGNAL_KINDS, SignalType

Data = Mapping[str, object]
Upcaster = Callable[[Data], dict[str, object]]

_DIRECTIONS = {"C": "credit", "D": "debit"}
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SIGNALS = frozenset(SignalType)
_DECIMAL = re.compile(r"([+-]?)([0-9]{1,16})(?:\.([0-9]{1,2}))?")


class UpcastFailed(ValueError):
    """The old data does not even fit its own version."""


def upcast(event_type: str, version: int, data: Data) -> tuple[int, Data]:
    """The data in the newest version the chain of upcasters reaches, and that version. Raises UpcastFailed."""
    while (step := UPCASTERS.get((event_type, version))) is not None:
        version, data = version + 1, step(data)
    return version, data


def _transaction_0_to_1(data: Data) -> dict[str, object]:
    """Version 0 had the amounts as decimal text in major units and `type` C or D for the direction."""
    newer = dict(data)
    direction = newer.pop("type", None)
    if not isinstance(direction, str) or direction not in _DIRECTIONS:
        raise UpcastFailed("data.type: must be C or D in version 0")
    newer["direction"] = _DIRECTIONS[direction]
    for name in ("amount", "balance_after"):
        if name in newer:
            newer[name] = _minor_units(name, newer[name])
    return newer


def _minor_units(name: str, text: object) -> int:
    match = _DECIMAL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UpcastFailed(f"data.{name}: must be decimal text with at most two places in version 0")
    sign, major, minor = match.groups(default="")
    return int(f"{sign}{major}{minor:0<2}")


def _signal_1_to_2(data: Data) -> dict[str, object]:
    """Version 1 took any word for a signal, with any direction. A word outside the vocabulary stays as its direction,
    and where word and direction disagree the word counts."""
    newer = dict(data)
    signal, direction = newer.get("signal"), newer.get("direction")
    if not isinstance(signal, str) or _WORD.fullmatch(signal) is None:
        raise UpcastFailed("data.signal: must be a word of lower case letters, digits and underscores")
    if direction not in ("positive", "negative"):
        raise UpcastFailed("data.direction: must be positive or negative")
    if signal not in _SIGNALS:
        newer["signal"] = f"other_{direction}"
    newer["direction"] = SIGNAL_KINDS[SignalType(str(newer["signal"]))].direction
    return newer


UPCASTERS: Mapping[tuple[str, int], Upcaster] = MappingProxyType(
    {("bank.transaction.posted", 0): _transaction_0_to_1, ("bank.business.signal", 1): _signal_1_to_2}
)
"""(event type, old version) to the step that makes the next version of it."""
