"""Columns of small integers as short text: whichever of three layouts is the shortest, in base64.

`b` one byte a number, `w` two bytes a number, `r` runs of two 16-bit words each, length and number; all little-endian.
The letter stands first. The same numbers always give the same text.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from operator import ne

import numpy as np
from numpy.typing import NDArray

from decision_engine.errors import DecisionEngineError

Integers = NDArray[np.intp]
Coded = NDArray[np.intp] | NDArray[np.uint8]

_WORD = np.dtype("<u2")
_LARGEST_WORD = 65_535
_FEW = 64
"""So few numbers are looked at faster one by one than as an array."""


class ColumnUnreadable(DecisionEngineError):
    """A coded column is not one, or has another length than it should."""


def code_column(numbers: Coded) -> str:
    """The numbers, each from 0 to 65,535, as text. An empty column is an empty text."""
    if not len(numbers):
        return ""
    if len(numbers) <= _FEW:
        few = numbers.tolist()
        if max(few) <= 255 and 4 * (1 + sum(map(ne, few, few[1:]))) >= len(few):
            return "b" + b64encode(bytes(few)).decode()
    wide = numbers.dtype != np.uint8 and int(numbers.max()) > 255
    ends = (numbers[1:] != numbers[:-1]).nonzero()[0]
    runs_needed = 1 + len(ends)
    if 4 * runs_needed < len(numbers) * (2 if wide else 1) and len(numbers) <= _LARGEST_WORD:
        last = np.empty(runs_needed, np.intp)  # where each run ends
        last[:-1], last[-1] = ends, len(numbers) - 1
        runs = np.empty((runs_needed, 2), _WORD)
        runs[0, 0] = last[0] + 1
        runs[1:, 0] = last[1:] - last[:-1]
        runs[:, 1] = numbers.take(last)
        return "r" + b64encode(runs.tobytes()).decode()
    layout, dtype = ("w", _WORD) if wide else ("b", np.dtype(np.uint8))
    return layout + b64encode(numbers.astype(dtype, copy=False).tobytes()).decode()


def decode_column(text: str, length: int) -> Integers:
    """The numbers of a text. Raises ColumnUnreadable unless it holds exactly `length` of them."""
    try:
        content = b64decode(text[1:], validate=True)
        numbers = _numbers(text[:1], content)
    except (Base64Error, ValueError) as error:
        raise ColumnUnreadable("the column is no base64 of its layout") from error
    if len(numbers) != length:
        raise ColumnUnreadable(f"the column holds {len(numbers)} numbers instead of {length}")
    return numbers


def code_flags(flags: NDArray[np.bool_]) -> str:
    """Yes or no for each, eight a byte."""
    return b64encode(np.packbits(flags, bitorder="little").tobytes()).decode()


def decode_flags(text: str, length: int) -> NDArray[np.bool_]:
    """The flags of a text. Raises ColumnUnreadable unless it can hold exactly `length` of them."""
    try:
        packed = np.frombuffer(b64decode(text, validate=True), np.uint8)
    except (Base64Error, ValueError) as error:
        raise ColumnUnreadable("the flags are no base64") from error
    if len(packed) != (length + 7) // 8:
        raise ColumnUnreadable(f"the flags are {len(packed)} bytes for {length}")
    return np.unpackbits(packed, count=length, bitorder="little").astype(np.bool_)


def _numbers(layout: str, content: bytes) -> Integers:
    match layout:
        case "b":
            return np.frombuffer(content, np.uint8).astype(np.intp)
        case "w":
            return np.frombuffer(content, _WORD).astype(np.intp)
        case "r":
            runs = np.frombuffer(content, _WORD).reshape(-1, 2).astype(np.intp)
            return np.repeat(runs[:, 1], runs[:, 0])
        case "":
            return np.zeros(0, np.intp)
        case _:
            raise ColumnUnreadable(f"no column has the layout {layout!r}")
