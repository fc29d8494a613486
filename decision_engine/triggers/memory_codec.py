"""The stored form of a trigger memory: one short value, written whole.

    header   13 bytes: layout version, write counter (uint32, little-endian), key of the customer's id
    records  each: kind (1 byte), length of what follows (varint), key of the pattern or trigger, or number of the topic
             (uint32), the rest

Numbers are varints, signed ones folded (0, -1, 1, -2, ...); event keys are 8 bytes; times are milliseconds, as
differences to a time before them in the record. Contacts are in the order in which they fired, all else in the order of
keys, so equal memories have equal bytes.
"""

import json
from collections.abc import Iterator, Mapping
from struct import Struct
from struct import error as StructError  # noqa: N812 - the library's name is lower case

from decision_engine.features.definitions import Value
from decision_engine.triggers.memory import Contact, Memory, Phase, ProgressKey, Seen, Sent, Told

LAYOUT_VERSION = 1
HEADER = Struct("<BIQ")
"""Layout version, write counter, key of the customer's id."""
_KEY = Struct("<I")
_EVENT_KEY = Struct("<Q")
_PROGRESS, _CONTACT, _FIRED, _MOMENT, _POSITION = 1, 2, 3, 4, 5
_ARMED, _HAS_FIELDS, _STEP_SHIFT = 1, 2, 2
_BY_TIMER, _HAS_SAME, _CONTACT_FIELDS, _HAS_INTENT, _PHASE_SHIFT = 1, 2, 4, 8, 4
_COUNTER_MASK = 0xFFFF_FFFF
_MOST_SHIFT = 70
"""Of a varint: ten bytes hold more than 64 bits."""


class MemoryUnreadable(ValueError):
    """The value is no trigger memory of this layout."""


def encode_memory(memory: Memory) -> bytes | None:
    """The value, None for nothing to remember."""
    if memory.is_empty:
        return None
    parts = [HEADER.pack(LAYOUT_VERSION, memory.writes & _COUNTER_MASK, memory.customer)]
    parts += [
        _record(_PROGRESS, key[0], _progress(key[1], memory.progress[key]))
        for key in sorted(memory.progress, key=_progress_order)
    ]
    parts += [_record(_CONTACT, contact.trigger, _contact(contact)) for contact in memory.contacts]
    parts += [_record(_FIRED, trigger, _signed(memory.fired[trigger])) for trigger in sorted(memory.fired)]
    parts += [_record(_MOMENT, pattern, _told(memory.moments[pattern])) for pattern in sorted(memory.moments)]
    parts += [_record(_POSITION, topic, _varint(memory.positions[topic])) for topic in sorted(memory.positions)]
    return b"".join(parts)


def with_writes(value: bytes, writes: int) -> bytes:
    """The value with another write counter."""
    version, _, customer = HEADER.unpack_from(value)
    return HEADER.pack(version, writes & _COUNTER_MASK, customer) + value[HEADER.size :]


def decode_memory(value: bytes) -> Memory:
    """The memory a value holds; records of unknown kinds are passed over. Raises MemoryUnreadable."""
    try:
        version, writes, customer = HEADER.unpack_from(value)
        if version != LAYOUT_VERSION:
            raise MemoryUnreadable(f"layout version {version} instead of {LAYOUT_VERSION}")
        memory = Memory(writes, customer)
        reader = _Reader(value, HEADER.size)
        while reader.at < len(value):
            _read_record(reader, memory)
    except MemoryUnreadable:
        raise
    except (StructError, ValueError, RecursionError) as cause:
        raise MemoryUnreadable(str(cause)) from cause
    return memory


def _progress_order(key: ProgressKey) -> tuple[int, int]:
    return key[0], -1 if key[1] is None else key[1]


def _record(kind: int, key: int, rest: bytes) -> bytes:
    return bytes((kind,)) + _varint(_KEY.size + len(rest)) + _KEY.pack(key) + rest


def _progress(same: int | None, events: list[Seen]) -> bytes:
    parts = [b"\0" if same is None else b"\1" + _EVENT_KEY.pack(same)]
    before = 0
    for seen in events:
        parts.append(_varint(seen.step << _STEP_SHIFT | (_HAS_FIELDS if seen.fields else 0) | (_ARMED & seen.armed)))
        parts.append(_signed(seen.time_ms - before) + _EVENT_KEY.pack(seen.key))
        if seen.fields:
            parts.append(_fields(seen.fields))
        before = seen.time_ms
    return b"".join(parts)


def _told(told: Told) -> bytes:
    return (b"\1" if told.waiting else b"\0") + _signed(told.value_ms)


def _contact(contact: Contact) -> bytes:
    flags = contact.phase << _PHASE_SHIFT
    flags |= _BY_TIMER if contact.by_timer else 0
    flags |= _HAS_SAME if contact.same is not None else 0
    flags |= _CONTACT_FIELDS if contact.fields else 0
    flags |= _HAS_INTENT if contact.intent is not None else 0
    parts = [_varint(flags), _EVENT_KEY.pack(contact.cause), _signed(contact.at_ms), _varint(contact.wave)]
    if contact.same is not None:
        parts.append(_EVENT_KEY.pack(contact.same))
    if contact.fields:
        parts.append(_fields(contact.fields))
    if contact.intent is not None:
        parts.append(_varint(len(contact.intent)) + contact.intent)
    parts += [
        _varint(sent.wave) + _EVENT_KEY.pack(sent.decision) + _signed(sent.expires_ms - contact.at_ms)
        for sent in contact.sent
    ]
    return b"".join(parts)


def _fields(fields: Mapping[str, Value]) -> bytes:
    text = json.dumps(dict(sorted(fields.items())), ensure_ascii=False, separators=(",", ":")).encode()
    return _varint(len(text)) + text


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _signed(number: int) -> bytes:
    return _varint(number << 1 if number >= 0 else (-number << 1) - 1)


class _Reader:
    """Reads a value from the left."""

    __slots__ = ("at", "end", "value")

    def __init__(self, value: bytes, at: int, end: int | None = None) -> None:
        self.value, self.at, self.end = value, at, len(value) if end is None else end

    def take(self, length: int) -> bytes:
        start, self.at = self.at, self.at + length
        if self.at > self.end:
            raise MemoryUnreadable("the value ends too early")
        return self.value[start : self.at]

    def varint(self) -> int:
        number = shift = 0
        while True:
            (byte,) = self.take(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7
            if shift > _MOST_SHIFT:
                raise MemoryUnreadable("a number is longer than any that is written")

    def signed(self) -> int:
        folded = self.varint()
        return -((folded + 1) >> 1) if folded & 1 else folded >> 1

    def key32(self) -> int:
        return int.from_bytes(self.take(_KEY.size), "little")

    def key64(self) -> int:
        return int.from_bytes(self.take(_EVENT_KEY.size), "little")

    def fields(self) -> dict[str, Value]:
        read = json.loads(self.take(self.varint()))
        if not isinstance(read, dict):
            raise MemoryUnreadable("the fields of an event are no mapping")
        return read

    def is_done(self) -> bool:
        return self.at >= self.end


def _read_record(reader: _Reader, memory: Memory) -> None:
    (kind,) = reader.take(1)
    length = reader.varint()
    inside = _Reader(reader.value, reader.at, reader.at + length)
    reader.take(length)
    key = inside.key32()
    if kind == _PROGRESS:
        same = inside.key64() if inside.take(1) == b"\1" else None
        memory.progress[key, same] = list(_read_events(inside))
    elif kind == _CONTACT:
        memory.contacts.append(_read_contact(inside, key))
    elif kind == _FIRED:
        memory.fired[key] = inside.signed()
    elif kind == _MOMENT:
        waiting = inside.take(1) == b"\1"
        memory.moments[key] = Told(value_ms=inside.signed(), waiting=waiting)
    elif kind == _POSITION:
        memory.positions[key] = inside.varint()


def _read_events(reader: _Reader) -> Iterator[Seen]:
    time_ms = 0
    while not reader.is_done():
        head = reader.varint()
        time_ms += reader.signed()
        key = reader.key64()
        fields = reader.fields() if head & _HAS_FIELDS else {}
        yield Seen(step=head >> _STEP_SHIFT, time_ms=time_ms, key=key, armed=bool(head & _ARMED), fields=fields)


def _read_contact(reader: _Reader, trigger: int) -> Contact:
    flags = reader.varint()
    cause, at_ms, wave = reader.key64(), reader.signed(), reader.varint()
    contact = Contact(
        trigger=trigger,
        cause=cause,
        by_timer=bool(flags & _BY_TIMER),
        at_ms=at_ms,
        wave=wave,
        same=reader.key64() if flags & _HAS_SAME else None,
        phase=Phase(flags >> _PHASE_SHIFT),
        fields=reader.fields() if flags & _CONTACT_FIELDS else {},
        intent=reader.take(reader.varint()) if flags & _HAS_INTENT else None,
    )
    while not reader.is_done():
        contact.sent.append(Sent(reader.varint(), reader.key64(), at_ms + reader.signed()))
    return contact
