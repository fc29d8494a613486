"""Entries as forms: fields with their values, words, choices and what is wrong with each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.api.screens.console_work import Work
from services.use_cases.authoring.choices import choices_of
from services.use_cases.authoring.draft_check import Remark
from services.use_cases.authoring.fields import Field, FieldKind, shown
from services.use_cases.authoring.source_nodes import SourceNode

_LOCALES = {"zh-CN": "中文", "en": "English"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """A field as a template shows it. `label` is a key of the words, `locale` the name of a language where the field is
    about one; `faults` are keys of words, `remarks` what the loader says."""

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


def form_fields(
    work: Work,
    fields: Sequence[Field],
    node: SourceNode | None,
    named: str,
    choices: Mapping[str, Sequence[tuple[str, str]]],
    posted: Posted | None = None,
) -> tuple[FormField, ...]:
    """The fields of one entry; `named` is its path in the words of problems, empty for a new one."""
    remarks = work.checked.by_field(named, [field.key for field in fields]) if named else {}
    return tuple(_form_field(field, node, choices, remarks.get(field.key, ()), posted) for field in fields)


def _form_field(
    field: Field,
    node: SourceNode | None,
    choices: Mapping[str, Sequence[tuple[str, str]]],
    remarks: Sequence[Remark],
    posted: Posted | None,
) -> FormField:
    parts = [str(step) for step in field.path]
    locale = next((part for part in parts if part in _LOCALES), "")
    words = "_".join(part for part in parts if part != locale) or "scope"
    value = shown(node, field)
    faults: tuple[str, ...] = ()
    if posted is not None:
        value = posted.texts.get(field.key, value)
        faults = (posted.faults[field.key],) if field.key in posted.faults else ()
    return FormField(
        key=field.key,
        kind=field.kind.value,
        label=f"console.field_{words}",
        locale=_LOCALES.get(locale, ""),
        value=value,
        choices=_choices(field, choices),
        required=field.required,
        fixed=field.fixed and node is not None,
        faults=faults,
        remarks=tuple(remark.message for remark in remarks),
    )


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
