"""`int(x)`, `double(x)`, `string(x)`, `bool(x)` as CEL converts; what has no such value is unknown."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import isfinite, trunc
from typing import Any

from decision_engine.conditions.facts import MISSING, Missing
from decision_engine.conditions.typing_rules import Kind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,5})?")
_TRUTHS = {
    "true": True, "True": True, "TRUE": True, "t": True, "1": True,
    "false": False, "False": False, "FALSE": False, "f": False, "0": False,
}  # fmt: skip


def _whole_of_text(text: str) -> int | Missing:
    return int(text) if _WHOLE.fullmatch(text) else MISSING


def _decimal_of_text(text: str) -> float | Missing:
    value = float(text) if _DECIMAL.fullmatch(text) else None
    return value if value is not None and isfinite(value) else MISSING


def _text_of_moment(epoch_ms: int) -> str | Missing:
    try:
        moment = _EPOCH + timedelta(milliseconds=epoch_ms)
    except OverflowError:
        return MISSING
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _text_of_span(span_ms: int) -> str:
    seconds, rest = divmod(abs(span_ms), 1_000)
    return f"{'-' if span_ms < 0 else ''}{seconds}{f'.{rest:03}' if rest else ''}s"


def _same(value: object) -> object:
    return value


CONVERT: dict[tuple[str, Kind], Callable[[Any], Any]] = {
    ("int", Kind.INT): _same,
    ("int", Kind.DOUBLE): trunc,
    ("int", Kind.STRING): _whole_of_text,
    ("int", Kind.TIMESTAMP): lambda epoch_ms: epoch_ms // 1_000,
    ("double", Kind.INT): float,
    ("double", Kind.DOUBLE): float,
    ("double", Kind.STRING): _decimal_of_text,
    ("string", Kind.STRING): _same,
    ("string", Kind.INT): str,
    ("string", Kind.BOOL): lambda value: "true" if value else "false",
    ("string", Kind.TIMESTAMP): _text_of_moment,
    ("string", Kind.DURATION): _text_of_span,
    ("bool", Kind.BOOL): _same,
    ("bool", Kind.STRING): lambda text: _TRUTHS.get(text, MISSING),
}
"""By function and the kind of its argument; the same pairs as `typing_rules.CONVERTIBLE`."""
