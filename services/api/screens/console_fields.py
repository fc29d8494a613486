"""Entries as forms: fields and the lists among them, with their values, words, choices and what is wrong with each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from services.api.screens.console_work import Work
from services.use_cases.authoring.choices import choices_of
from services.use_cases.authoring.draft_check import Remark
from services.use_cases.authoring.fields import Field, FieldKind, Rows, shown
from services.use_cases.authoring.source_nodes import SourceList, SourceNode, at, labelled

_SUGGESTED = frozenset({FieldKind.NAMES, FieldKind.SUGGESTED})
_LOCALES = {"zh-CN": "中文", "en": "English"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """A field as a template shows it. `label` is a key of the words without its screen, `locale` the name of a language
    where the field is about one; `faults` are keys of words, `remarks` what the loader says. `names` is whose names a
    condition may use."""

    key: str
    kind: str
    label: str
    locale: str
    value: str
    choices: tuple[tuple[str, str], ...]
    required: bool
    fixed: bool
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    rare: bool = False
    names: str = "rule"
    known: str = ""
    """The list of suggestions, where it has one: each stands once on a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowForm:
    """A row of a list inside an entry; a spare one says nothing yet."""

    number: int
    spare: bool
    fields: tuple[FormField, ...]
    rows: tuple["RowsForm", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsForm:
    """A list inside an entry: `key` with dots, `label` a key of the words without its screen."""

    key: str
    label: str
    rows: tuple[RowForm, ...]
    remarks: tuple[str, ...]

    @property
    def filled(self) -> int:
        """How many rows say something."""
        return sum(not row.spare for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What somebody sent that could not be taken, to be shown again: the form it came from, the texts of its fields,
    and what is wrong with them."""

    form: str
    texts: Mapping[str, str]
    faults: Mapping[str, str]
    refusal: str = ""

    @classmethod
    def nothing(cls) -> "Posted":
        """Nothing was sent."""
        return cls(form="", texts={}, faults={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a form shows: an entry as written (None: a new one), its path in the words of problems (empty for a new
    one), and what was just sent and not taken. `prefix` stands before the names of its fields."""

    work: Work
    choices: Mapping[str, Sequence[tuple[str, str]]]
    node: SourceNode | None = None
    named: str = ""
    posted: Posted | None = None
    prefix: str = ""

    def fields(self, fields: Sequence[Field]) -> tuple[FormField, ...]:
        """The fields with their values."""
        found = self.work.checked.by_field(self.named, [field.key for field in fields]) if self.named else {}
        return tuple(self._field(field, found.get(field.key, ())) for field in fields)

    def rows(self, lists: Sequence[Rows]) -> tuple[RowsForm, ...]:
        """The lists with their rows, and spare ones to fill."""
        return tuple(self._rows(rows) for rows in lists)

    def loose(self, fields: Sequence[Field], lists: Sequence[Rows] = ()) -> tuple[str, ...]:
        """What the loader says of the entry that belongs to no field."""
        keys = [*(field.key for field in fields), *(rows.key for rows in lists)]
        found = self.work.checked.by_field(self.named, keys).get("", ()) if self.named else ()
        return tuple(remark.message for remark in found)

    def _rows(self, rows: Rows) -> RowsForm:
        written = at(self.node, rows.path)
        there = len(written.items) if isinstance(written, SourceList) else 0
        own = f"{self.named}.{rows.key}"
        remarks = self.work.checked.under(own) if self.named else ()
        return RowsForm(
            key=f"{self.prefix}{rows.key}",
            label=f"rows_{rows.key.replace('.', '_')}",
            rows=tuple(self._row(rows, number, there=number < there) for number in range(max(rows.most, there))),
            remarks=tuple(remark.message for remark in remarks if remark.path == own),
        )

    def _row(self, rows: Rows, number: int, *, there: bool) -> RowForm:
        path = (*rows.path, number)
        prefix = f"{self.prefix}{rows.key}.{number}."
        sent = {} if self.posted is None else self.posted.texts
        row = replace(
            self,
            node=at(self.node, path) if there else None,
            named=f"{self.named}.{labelled(self.node, path)}" if there and self.named else "",
            prefix=prefix,
        )
        said = any(text.strip() for key, text in sent.items() if key.startswith(prefix))
        return RowForm(
            number=number, spare=not (there or said), fields=row.fields(rows.fields), rows=row.rows(rows.rows)
        )  # fmt: skip

    def _field(self, field: Field, remarks: Sequence[Remark]) -> FormField:
        parts = [str(step) for step in field.path]
        locale = next((part for part in parts if part in _LOCALES), "")
        words = field.words or "_".join(part for part in parts if part != locale) or "scope"
        key, value = f"{self.prefix}{field.key}", shown(self.node, field)
        faults: tuple[str, ...] = ()
        if self.posted is not None:
            value = self.posted.texts.get(key, value)
            faults = (self.posted.faults[key],) if key in self.posted.faults else ()
        suggested = field.kind in _SUGGESTED or (field.kind is FieldKind.SCOPE and field.rare)
        return FormField(
            key=key,
            kind=field.kind.value,
            label=f"field_{words}",
            locale=_LOCALES.get(locale, ""),
            value=value,
            choices=() if suggested else _choices(field, self.choices),
            required=field.required,
            fixed=field.fixed and self.node is not None,
            faults=faults,
            remarks=tuple(remark.message for remark in remarks),
            rare=field.rare,
            names=field.names,
            known=field.choices if suggested else "",
        )


def known_lists(
    choices: Mapping[str, Sequence[tuple[str, str]]], fields: Iterable[FormField], rows: Iterable[RowsForm] = ()
) -> dict[str, Sequence[tuple[str, str]]]:
    """The suggestions that these fields, and those of the lists, refer to."""
    names = {field.known for field in (*fields, *(field for each in rows for field in _fields_in(each)))}
    return {name: choices.get(name, ()) for name in sorted(names) if name}


def _fields_in(rows: RowsForm) -> Iterator[FormField]:
    for row in rows.rows:
        yield from row.fields
        for inner in row.rows:
            yield from _fields_in(inner)


def _choices(field: Field, choices: Mapping[str, Sequence[tuple[str, str]]]) -> tuple[tuple[str, str], ...]:
    found = tuple(choices.get(field.choices, ()))
    if field.kind is FieldKind.SCOPE:
        return tuple(row for row in found if row[0].partition(":")[0] in field.scopes)
    return found


def choices_in_words(work: Work, locale: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """Every list of choices as pairs of a value and what it is called."""
    groups, issues = work.titles("groups", locale), work.titles("issues", locale)
    offers = {str(offer.name): offer.title.get(locale, str(offer.name)) for offer in work.strategy.offers}
    said = {**offers, **groups, **issues}
    found = choices_of(work.strategy, tuple(groups), tuple(issues))
    return {name: tuple((value, _said(name, value, said, work)) for value in values) for name, values in found.items()}


def _said(name: str, value: str, said: Mapping[str, str], work: Work) -> str:
    if name == "scopes":
        scope, _, of = value.partition(":")
        return f"{scope}: {said.get(of, of)}"
    if name == "placements":
        placement = next((p for p in work.strategy.placements.values() if p.id == value), None)
        return f"{value} · {placement.channel}" if placement is not None else value
    if name in ("groups", "issues", "limit_names"):
        return f"{said[value]} ({value})" if value in said and said[value] != value else value
    return value


def texts_of(fields: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What a form sent: several values of one field are one list."""
    return {name: ", ".join(values) for name, values in fields.items()}
