"""Form fields over what is written in a strategy file: how a value is shown, and what a field's text means."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from services.use_cases.authoring.source_nodes import (
    Path,
    SourceList,
    SourceMap,
    SourceNode,
    SourceScalar,
    at,
    plain,
    text_at,
)
from services.use_cases.authoring.yaml_writing import Plain

MINOR_UNITS = 100
_CALENDAR = ("day", "week", "month")


class FieldKind(StrEnum):
    """What a field holds."""

    NAME = "name"
    TEXT = "text"
    LONG_TEXT = "long_text"
    CONDITION = "condition"
    WHOLE = "whole"
    NUMBER = "number"
    MONEY = "money"
    """Minor units, shown in units of the currency."""
    PERCENT = "percent"
    """A share of one, shown as a percentage."""
    FLAG = "flag"
    CHOICE = "choice"
    NAMES = "names"
    """Several names."""
    DATE = "date"
    LENGTH = "length"
    """`30m`, `24h`, `7d`."""
    CLOCK = "clock"
    """`21:00`."""
    SUGGESTED = "suggested"
    """A text for which there are suggestions."""
    SCOPE = "scope"
    """`group:cards`: one of several keys, and the name under it."""
    WINDOW = "window"
    """`7d`, or `day`, `week`, `month` for those of the calendar."""
    PERIOD = "period"
    """`day`, `week`, `month` of the calendar, or `2026-11-01..2026-12-01`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field: where its value stands in its entry, what it holds, and the name of the choices it has, if any.
    `fixed` is set once and for all when the entry is made. `scopes` are the keys a scope may be under. `rare` is what
    few entries have, so that it may stand apart. `names` is whose names a condition may use: `rule` those of rules,
    `guard` also those of the matching event, `event` those of the event beside it alone. `words` names the words of its
    label where its path does not."""

    path: Path
    kind: FieldKind
    choices: str = ""
    required: bool = False
    fixed: bool = False
    scopes: tuple[str, ...] = ()
    rare: bool = False
    names: str = "rule"
    words: str = ""

    @property
    def key(self) -> str:
        """The name of the field in a form."""
        return ".".join(str(step) for step in self.path) or "scope"


def field_at(
    path: str, kind: FieldKind, choices: str = "", *, required: bool = False, fixed: bool = False, rare: bool = False
) -> Field:  # fmt: skip
    """A field at a path written with dots."""
    return Field(
        path=tuple(path.split(".")), kind=kind, choices=choices, required=required, fixed=fixed, rare=rare
    )  # fmt: skip


def scope_at(path: Path, scopes: tuple[str, ...], *, required: bool = True, rare: bool = False) -> Field:
    """A field for one of several keys and the name under it."""
    return Field(
        path=path, kind=FieldKind.SCOPE, choices="scopes", required=required, scopes=scopes, rare=rare
    )  # fmt: skip


def condition_at(path: str, names: str = "rule", *, required: bool = False) -> Field:
    """A field for a condition."""
    return Field(path=tuple(path.split(".")), kind=FieldKind.CONDITION, required=required, names=names)


def in_each(
    path: str, kind: FieldKind, locales: Sequence[str], *, required: bool = False, rare: bool = False
) -> tuple[Field, ...]:  # fmt: skip
    """One field for each locale."""
    return tuple(field_at(f"{path}.{locale}", kind, required=required, rare=rare) for locale in locales)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A list inside an entry whose own entries have these fields; at most so many. `key` is its path with dots."""

    key: str
    fields: tuple[Field, ...]
    most: int
    rows: tuple["Rows", ...] = ()

    @property
    def path(self) -> Path:
        """Where the list stands in its entry."""
        return tuple(self.key.split("."))


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a field's text means nothing: the key of the words that say so."""

    reason: str


def shown(entry: SourceNode | None, field: Field) -> str:
    """The value as the field shows it; empty where there is none."""
    match field.kind:
        case FieldKind.MONEY:
            return _scaled(text_at(entry, field.path), Decimal(1) / MINOR_UNITS)
        case FieldKind.PERCENT:
            return _scaled(text_at(entry, field.path), Decimal(100))
        case FieldKind.NAMES:
            return ", ".join(_names(at(entry, field.path)))
        case FieldKind.SCOPE:
            return _shown_scope(at(entry, field.path), field.scopes)
        case FieldKind.WINDOW:
            return text_at(entry, (*field.path, "calendar")) or text_at(entry, field.path)
        case FieldKind.PERIOD:
            return _shown_period(at(entry, field.path))
    return text_at(entry, field.path)


def meant(field: Field, text: str) -> Plain | Fault:
    """What a text in the field says; None for an empty one."""
    text = text.strip().replace("\r\n", "\n")
    if not text:
        return None
    if field.kind is FieldKind.SCOPE:
        scope, _, name = text.partition(":")
        return {scope: name} if scope in field.scopes and name else Fault("scope")
    reader = _MEANT.get(field.kind)
    return text if reader is None else reader(text)


def _scaled(text: str, by: Decimal) -> str:
    try:
        value = Decimal(text) * by
    except InvalidOperation:
        return text
    return f"{value.normalize():f}" if value else "0"


def _number(text: str, by: Decimal) -> Plain | Fault:
    try:
        value = Decimal(text.replace(",", "").replace("%", "").replace("，", "")) * by
    except InvalidOperation:
        return Fault("number")
    if not value.is_finite() or abs(value) > 10**15:
        return Fault("number")
    return int(value) if value == value.to_integral_value() else float(value)


def _whole(value: Plain | Fault) -> Plain | Fault:
    return value if isinstance(value, int | Fault) else Fault("money")


def _names(node: SourceNode | None) -> Sequence[str]:
    if isinstance(node, SourceList):
        return [str(item.value) for item in node.items if isinstance(item, SourceScalar)]
    return [str(node.value)] if isinstance(node, SourceScalar) and node.value is not None else []


def _shown_scope(node: SourceNode | None, scopes: Sequence[str]) -> str:
    if isinstance(node, SourceMap):
        for scope in scopes:
            if name := text_at(node, (scope,)):
                return f"{scope}:{name}"
    return ""


def _shown_period(node: SourceNode | None) -> str:
    if calendar := text_at(node, ("calendar",)):
        return calendar
    since, until = text_at(node, ("from",)), text_at(node, ("until",))
    return f"{since}..{until}" if since or until else ""


def _meant_period(text: str) -> Plain | Fault:
    if text in _CALENDAR:
        return {"calendar": text}
    since, dots, until = text.partition("..")
    if not dots or not until.strip():
        return Fault("period")
    return {"from": since.strip(), "until": until.strip()} if since.strip() else {"until": until.strip()}


_MEANT: Mapping[FieldKind, Callable[[str], Plain | Fault]] = {
    FieldKind.WHOLE: lambda text: int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else Fault("whole"),
    FieldKind.NUMBER: lambda text: _number(text, Decimal(1)),
    FieldKind.MONEY: lambda text: _whole(_number(text, Decimal(MINOR_UNITS))),
    FieldKind.PERCENT: lambda text: _number(text, Decimal(1) / 100),
    FieldKind.FLAG: lambda text: text in ("true", "on", "1"),
    FieldKind.NAMES: lambda text: [name.strip() for name in text.split(",") if name.strip()],
    FieldKind.WINDOW: lambda text: {"calendar": text} if text in _CALENDAR else text,
    FieldKind.CONDITION: lambda text: " ".join(text.split()),
    FieldKind.PERIOD: _meant_period,
}


def raw(entry: SourceNode | None) -> Mapping[str, object]:
    """Everything written in the entry, the parts no field knows included."""
    value = plain(entry)
    return value if isinstance(value, dict) else {}
