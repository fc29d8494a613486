"""The version of a strategy: its name and a hash of everything that decides, whatever files it was written in."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import blake2b

from decision_engine.identifiers import StrategyVersion
from decision_engine.strategy import Strategy

_DIGEST_BYTES = 6
_DERIVED_FIELDS = frozenset({"version", "dictionary", "texts"})
"""They follow from the other fields and from the program."""
_ABSENT_WHEN_NONE = frozenset({"online", "trainings", "inferred", "guard", "disclosure", "portrait", "purposes"})
"""A strategy that does not declare them is the one it was before they could be declared."""


def strategy_version(strategy: Strategy) -> StrategyVersion:
    """`<name>-<12 hex digits>`: equal exactly for equal content."""
    content = {
        field.name: _plain(getattr(strategy, field.name))
        for field in fields(strategy)
        if field.name not in _DERIVED_FIELDS
        and (field.name not in _ABSENT_WHEN_NONE or getattr(strategy, field.name) not in (None, ()))
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return StrategyVersion(f"{strategy.name}-{blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()}")


def _plain(value: object) -> object:
    """The value as JSON knows it, without order where order means nothing."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: _plain(part) for name, part in parts.items() if part or name not in _ABSENT_WHEN_NONE}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return value
