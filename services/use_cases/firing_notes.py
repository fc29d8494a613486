"""What is noted with a pending firing, in the place the trigger memory has for it.

Either that its event is about to be published, with a position in the outbound partition before which it cannot stand;
or until when it is held back. Both survive a crash: the next owner of the partition knows where to look, and asks
again under a name of its own only where the first answer was that it is not the time.
"""

from dataclasses import dataclass
from struct import Struct

_NOTE = Struct("<cQ")
_SENDING, _HELD = b"S", b"H"


@dataclass(frozen=True, slots=True)
class Sending:
    """The event is being published, or was; it stands at or after this offset, or nowhere."""

    offset: int


@dataclass(frozen=True, slots=True)
class Held:
    """Not to be decided again before this moment (epoch milliseconds)."""

    until_ms: int


Note = Sending | Held


def encode_note(note: Note) -> bytes:
    """The note as the memory keeps it."""
    return _NOTE.pack(_SENDING, note.offset) if isinstance(note, Sending) else _NOTE.pack(_HELD, note.until_ms)


def decode_note(value: bytes | None) -> Note | None:
    """The note; None where there is none. One that makes no sense says that publishing may have begun, anywhere."""
    if value is None:
        return None
    if len(value) != _NOTE.size or value[:1] not in (_SENDING, _HELD):
        return Sending(0)
    kind, number = _NOTE.unpack(value)
    return Held(number) if kind == _HELD else Sending(number)
