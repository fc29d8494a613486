"""Writes values as YAML in the manner of the strategy files: short mappings on one line, the rest over lines."""

import json
import re
from collections.abc import Mapping, Sequence

Plain = bool | int | float | str | None | Sequence["Plain"] | Mapping[str, "Plain"]
"""What can be written."""

_LONGEST_LINE = 110
_UNQUOTED = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*|[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]+(?:mo|[smhdw])|[0-9]{2}:[0-9]{2}")
"""Texts that stand for themselves anywhere, in brackets and braces too."""
_WORDS = frozenset({"null", "true", "false", "Null", "True", "False", "NULL", "TRUE", "FALSE"})


def inline(value: Plain, quote: str = "") -> str:
    """The value on one line; `quote` is how a text was quoted before, and is kept where it can be."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value, quote)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)}: {inline(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(inline(item) for item in value) + "]"


def entry_lines(key: str, value: Plain, indent: int) -> list[str]:
    """A key with its value, over as many lines as it takes."""
    lead = " " * indent
    if _fits(value, indent + len(key) + 2):
        return [f"{lead}{_key(key)}: {inline(value)}"]
    return [f"{lead}{_key(key)}:", *_block(value, indent + 2)]


def item_lines(value: Plain, indent: int) -> list[str]:
    """An entry of a list with its dash."""
    lead = " " * indent
    if not isinstance(value, Mapping) or not value or _short(value, indent):
        return [f"{lead}- {inline(value)}"]
    lines = [line for key, item in value.items() for line in entry_lines(key, item, indent + 2)]
    lines[0] = f"{lead}- {lines[0].lstrip()}"
    return lines


def _block(value: Plain, indent: int) -> list[str]:
    if isinstance(value, Mapping):
        return [line for key, item in value.items() for line in entry_lines(key, item, indent)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [line for item in value for line in item_lines(item, indent)]
    return [" " * indent + inline(value)]


def _fits(value: Plain, taken: int) -> bool:
    """Whether the value stands on the line of its key: single values always, collections of single values if short."""
    if value is None or isinstance(value, str | bool | int | float):
        return True
    values = list(value.values()) if isinstance(value, Mapping) else list(value)
    return all(_is_single(item) for item in values) and taken + len(inline(value)) <= _LONGEST_LINE


def _short(value: Mapping[str, Plain], indent: int) -> bool:
    """Whether a list's entry reads well in braces: a few single values, nothing long."""
    return all(_is_single(item) for item in value.values()) and indent + len(inline(value)) <= 80


def _is_single(value: Plain) -> bool:
    return value is None or isinstance(value, str | bool | int | float)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key) else json.dumps(key, ensure_ascii=False)


def _text(value: str, quote: str) -> str:
    plain = _UNQUOTED.fullmatch(value) and value not in _WORDS
    if plain and not quote:
        return value
    printable = value.isprintable()
    if printable and (quote == "'" or (not quote and '"' in value)):
        return "'" + value.replace("'", "''") + "'"
    return _double_quoted(value)


def _double_quoted(value: str) -> str:
    """JSON's spelling is YAML's, but for characters that YAML breaks lines at."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
