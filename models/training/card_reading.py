"""Reads the entries of a card, which is JSON and promises nothing about its types."""

from collections.abc import Mapping, Sequence


def mapping(value: object) -> Mapping[str, object]:
    """An object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def listed(value: object) -> Sequence[object]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list | tuple) else ()


def entries(value: object) -> list[Mapping[str, object]]:
    """A list of objects."""
    return [mapping(entry) for entry in listed(value)]


def number(value: object) -> float:
    """A number; zero for anything else."""
    return float(value) if isinstance(value, int | float) else 0.0
