"""Commands cut along the slots of a cluster, and the replies of the pieces put together again."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.adapters.redis_lane import Argument, Command, Reply, ReplyError
from services.adapters.redis_slots import slot_of
from services.ports import StoreUnavailable

_MANY = frozenset({"MGET", "DEL", "UNLINK", "EXISTS"})
"""Commands of keys alone, that may be cut."""
_BY_NUMBER = frozenset({"FCALL", "FCALL_RO", "EVAL", "EVALSHA"})
"""A script, the number of keys, the keys."""
_NO_KEY = frozenset({"PING", "TIME", "INFO", "CONFIG", "CLUSTER", "DBSIZE", "ROLE", "CLIENT", "LASTSAVE"})
_WALKS = frozenset({"KEYS", "SCAN", "RANDOMKEY"})
EVERYWHERE = frozenset({"FLUSHALL", "FLUSHDB", "FUNCTION"})
"""Commands to every master."""
ANY_SLOT = 0
"""Commands without a key go to the master of the first slot, so that all nodes read one clock."""


@dataclass(slots=True)
class Piece:
    """A command of one slot: the `at`-th of a call, or the part of it that concerns the keys at these `places`."""

    command: Command
    slot: int
    at: int
    places: tuple[int, ...] = ()


def cut(commands: Sequence[Command]) -> list[Piece]:
    """The commands in order, each as a piece for every slot that it touches. Raises StoreUnavailable for one that is
    possible on a single server alone."""
    pieces: list[Piece] = []
    for at, command in enumerate(commands):
        verb = str(command[0])
        if verb in _MANY and len(command) > 2:
            pieces += _many(command, at)
        else:
            pieces.append(Piece(command, _slot(verb, command), at))
    return pieces


def joined(commands: Sequence[Command], pieces: Sequence[Piece], replies: Sequence[Reply]) -> list[Reply]:
    """One reply for each command: a refused piece refuses the whole of it."""
    if len(pieces) == len(commands):
        return list(replies)
    whole: list[Reply] = [None for _ in commands]
    for piece, reply in zip(pieces, replies, strict=True):
        before = whole[piece.at]
        if not piece.places or isinstance(reply, ReplyError):
            whole[piece.at] = reply
        elif isinstance(before, ReplyError):
            continue
        elif isinstance(reply, list):
            values: list[Reply] = before if isinstance(before, list) else [None for _ in commands[piece.at][1:]]
            for place, value in zip(piece.places, reply, strict=True):
                values[place] = value
            whole[piece.at] = values
        elif isinstance(reply, int):
            whole[piece.at] = reply + (before if isinstance(before, int) else 0)
    return whole


def _many(command: Command, at: int) -> list[Piece]:
    by_slot: dict[int, list[int]] = {}
    for place, key in enumerate(command[1:]):
        by_slot.setdefault(slot_of(_bytes(key)), []).append(place)
    if len(by_slot) == 1:
        return [Piece(command, next(iter(by_slot)), at)]
    return [
        Piece((command[0], *(command[place + 1] for place in places)), slot, at, tuple(places))
        for slot, places in by_slot.items()
    ]


def _slot(verb: str, command: Command) -> int:
    if verb in _BY_NUMBER:
        keys = command[3 : 3 + int(command[2])]
        slots = {slot_of(_bytes(key)) for key in keys}
        if len(slots) > 1:
            raise StoreUnavailable(f"{verb} {command[1]!r} has keys of {len(slots)} slots: no cluster can run it")
        return slots.pop() if slots else ANY_SLOT
    if verb in _WALKS:
        raise StoreUnavailable(f"{verb} tells of one master alone: a cluster is walked")
    if verb in _NO_KEY or len(command) == 1:
        return ANY_SLOT
    return slot_of(_bytes(command[1]))


def _bytes(key: Argument) -> bytes:
    return key if isinstance(key, bytes) else str(key).encode()
