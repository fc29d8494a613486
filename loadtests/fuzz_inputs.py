"""Inputs for decoders: samples of what is right, made wrong in a way that a seed repeats.

Half of them keep the structure of JSON where the sample has one (a value of another type, a field gone, twice or
foreign, a number at an edge, a lone surrogate, deep nesting); the others know nothing of it (bits flipped, cut short,
pieces of two samples, a piece again and again).
"""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random

MOST_BYTES = 1_200_000
"""Above the largest record that the bus takes."""
_LONG_ONCE_IN = 1_500
"""Inputs that are large or deep are rare: they take most of the time."""
_RAW = ("1e400", "-1e400", "1E-400", "9" * 5_000, "-0", "-0.0", "NaN", "Infinity", "-Infinity", "1e18", "0x1", "01")
"""Numbers that no JSON library writes; `\\u0001n` stands for the n-th of them until the text is there."""
_EDGES: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 2**31, -(2**31) - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**25,
    0.5, -0.1, 1e-300, 1e308, "", " ", "0", "a", "A" * 300, "\x00", "a\nb", "\ud800", "\udfff x", "é", "é", "𝒳",
    "\u202ex", "\ufeff", [], {}, [[]], [None], {"": None}, [{}] * 3, "2026-02-30T00:00:00Z", "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z", "2026-11-21T09:30:00", "2026-11-21T09:30:00+24:00", "1e3", "-1", "../../etc/passwd",
    *(f"\x01{number}" for number in range(len(_RAW))),
)  # fmt: skip
_PIECES = (
    b"\x00", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5", b"\xef\xbb\xbf", b"\\ud800", b"\\", b'"', b"{", b"}", b"[",
    b"]", b",", b":", b"null", b"NaN", b"1e400", b"-", b".", b"~", b"=", b"\r\n", b"\n", b"\t", b"%00", b"'", b"&",
    b"*", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff" * 8, b"\x80" * 10, b"9" * 400,
    b" " * 50,
)  # fmt: skip
Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]


def fuzzed(draw: Random, samples: Sequence[bytes]) -> bytes:
    """One input, made of one or two of the samples."""
    sample = draw.choice(samples)
    if draw.random() < 1 / _LONG_ONCE_IN:
        return draw.choice(_LONG)(draw, sample, samples)[:MOST_BYTES]
    if draw.random() < 0.5 and sample[:1] in (b"{", b"["):
        return restructured(draw, sample, 1 + int(draw.random() * draw.random() * 4))
    for _ in range(1 + int(draw.random() * draw.random() * 5)):
        sample = draw.choice(_SHORT)(draw, sample, samples)
    return sample[:MOST_BYTES]


def restructured(draw: Random, sample: bytes, changes: int) -> bytes:
    """The JSON of the sample with so many places changed; as bytes where it is none."""
    try:
        value = json.loads(sample)
    except ValueError:
        return _flipped(draw, sample, ())
    for _ in range(changes):
        value = _changed(draw, value)
    return _text(draw, value)


def _text(draw: Random, value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=draw.random() < 0.7, separators=(",", ":"))
    for number, raw in enumerate(_RAW):
        text = text.replace(f'"\\u0001{number}"', raw)
    return text.encode("utf-8", "surrogatepass")


def _changed(draw: Random, value: object) -> object:
    """The value with one place somewhere within it changed."""
    holder, place = None, None
    inside = value
    while isinstance(inside, dict | list) and inside and (holder is None or draw.random() < 0.75):
        holder = inside
        place = draw.choice(list(inside)) if isinstance(inside, dict) else draw.randrange(len(inside))
        inside = inside[place]
    if holder is None:
        return _edge(draw)
    kind = draw.random()
    if kind < 0.55:
        holder[place] = _another(draw, inside)
    elif kind < 0.75:
        del holder[place]
    elif isinstance(holder, dict):
        holder[str(draw.choice(("", "x", "type", "é", "\ud800", "a" * 70, f"{place} ")))] = deepcopy(inside)
    else:
        holder[place:place] = [deepcopy(inside) for _ in range(draw.choice((1, 2, 40)))]
    return value


def _edge(draw: Random) -> object:
    """A value of its own: what is put in may be changed further."""
    return deepcopy(draw.choice(_EDGES))


def _another(draw: Random, inside: object) -> object:
    if isinstance(inside, int | float) and not isinstance(inside, bool) and draw.random() < 0.4:
        return draw.choice((-inside, inside + 1, inside * 10**6, float(inside), str(inside), bool(inside)))
    if isinstance(inside, str) and draw.random() < 0.4:
        return draw.choice((inside + inside, inside[:-1], inside.upper(), f" {inside}", f"{inside}\x00", [inside]))
    return _edge(draw)


def _flipped(draw: Random, sample: bytes, _: Sequence[bytes]) -> bytes:
    changed = bytearray(sample or b"\x00")
    for _ in range(draw.choice((1, 1, 2, 8))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _overwritten(draw: Random, sample: bytes, _: Sequence[bytes]) -> bytes:
    at, piece = draw.randrange(len(sample) + 1), draw.choice(_PIECES)
    return sample[:at] + piece + sample[at + len(piece) :]


def _put_in(draw: Random, sample: bytes, _: Sequence[bytes]) -> bytes:
    at = draw.randrange(len(sample) + 1)
    return sample[:at] + draw.choice(_PIECES) + sample[at:]


def _cut(draw: Random, sample: bytes, _: Sequence[bytes]) -> bytes:
    return sample[: draw.randrange(len(sample) + 1)]


def _taken_out(draw: Random, sample: bytes, _: Sequence[bytes]) -> bytes:
    at = draw.randrange(len(sample) + 1)
    return sample[:at] + sample[at + draw.choice((1, 1, 2, 4, 8, 30)) :]


def _spliced(draw: Random, sample: bytes, samples: Sequence[bytes]) -> bytes:
    other = draw.choice(samples)
    return sample[: draw.randrange(len(sample) + 1)] + other[draw.randrange(len(other) + 1) :]


def _repeated(draw: Random, sample: bytes, _: Sequence[bytes]) -> bytes:
    at = draw.randrange(len(sample) + 1)
    piece = sample[at : at + draw.choice((1, 4, 16, 64))]
    return sample[:at] + piece * draw.choice((2, 3, 20)) + sample[at:]


def _noise(draw: Random, sample: bytes, _: Sequence[bytes]) -> bytes:
    return draw.randbytes(draw.randrange(min(len(sample), 200) + 2))


def _renumbered(draw: Random, sample: bytes, _: Sequence[bytes]) -> bytes:
    """A run of digits becomes another number."""
    places = [at for at, byte in enumerate(sample[:4_000]) if 48 <= byte <= 57]
    if not places:
        return _put_in(draw, sample, ())
    at = end = draw.choice(places)
    while end < len(sample) and 48 <= sample[end] <= 57:
        end += 1
    number = draw.choice(("0", "-1", str(2**31), str(2**63), str(2**64), "9" * 30, "1e400", "1.5", "", "٣"))
    return sample[:at] + number.encode() + sample[end:]


def _deep(draw: Random, sample: bytes, _: Sequence[bytes]) -> bytes:
    """Nesting, closed or never."""
    opening, closing = draw.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")"), (b"- ", b""), (b"!", b"")))
    times = draw.choice((70, 1_100, 20_000, 200_000))
    at = draw.choice((0, draw.randrange(len(sample) + 1)))
    return sample[:at] + opening * times + draw.choice((b"1" + closing * times, b"")) + sample[at:]


def _long(draw: Random, sample: bytes, _: Sequence[bytes]) -> bytes:
    """Something of the sample, or one byte, until the largest size."""
    at = draw.randrange(len(sample) + 1)
    piece = draw.choice((sample[at : at + 24] or b" ", draw.choice(_PIECES), b"\x80", b"\xff", b"9", b" ", b'"a":1,'))
    size = draw.choice((20_000, 66_000, 300_000, MOST_BYTES))
    return sample[:at] + piece * (size // len(piece)) + sample[at:]


_SHORT: tuple[Mutation, ...] = (
    _flipped, _flipped, _overwritten, _put_in, _cut, _taken_out, _spliced, _repeated, _renumbered, _noise,
)  # fmt: skip
_LONG: tuple[Mutation, ...] = (_deep, _long)
