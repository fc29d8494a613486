"""What can be listed and edited by fields: offers with their rules and treatments, groups, levers, weights, volumes,
the contact policy, triggers, experiments, the portrait. Whatever an entry has beside these fields stays as it is, and
can be edited as text."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from services.use_cases.authoring.contact_kinds import contact_kinds
from services.use_cases.authoring.entry_kind import EntryKind
from services.use_cases.authoring.experiment_kinds import experiment_kinds
from services.use_cases.authoring.fields import (
    Field,
    FieldKind,
    Rows,
    condition_at,
    field_at,
    in_each,
    scope_at,
)
from services.use_cases.authoring.trigger_kinds import trigger_kind

LAYERS = ("eligibility", "applicability", "suitability")
PARTS = (*LAYERS, "reasons", "context_weights", "treatments")
"""The lists inside an offer."""
_SCOPES = ("offer", "group", "issue")
_MOST_SERIES = 8


def rule_fields(locales: Sequence[str]) -> tuple[Field, ...]:
    """A rule: what must hold, and what is said if it does not."""
    return (
        field_at("id", FieldKind.NAME, required=True),
        condition_at("when", required=True),
        field_at("code", FieldKind.NAME, required=True),
        *in_each("text", FieldKind.TEXT, locales, required=True),
    )


def reason_fields(locales: Sequence[str]) -> tuple[Field, ...]:
    """A reason for an offer: when it counts, and how it is said."""
    said = in_each("text", FieldKind.TEXT, locales, required=True)
    return (
        condition_at("when", required=True),
        field_at("code", FieldKind.NAME, required=True),
        *(replace(field, words="reason_text") for field in said),
    )


WEIGHT_FIELDS = (condition_at("when", required=True), field_at("weight", FieldKind.NUMBER, required=True))
"""A context weight of an offer: the percentage that counts while the condition holds."""


def part_fields(part: str, locales: Sequence[str]) -> tuple[Field, ...]:
    """The fields of an entry of one of an offer's lists."""
    match part:
        case "treatments":
            return treatment_fields(locales)
        case "reasons":
            return reason_fields(locales)
        case "context_weights":
            return WEIGHT_FIELDS
    return rule_fields(locales)


def treatment_fields(locales: Sequence[str]) -> tuple[Field, ...]:
    """An offer in one channel."""
    content = [
        field
        for locale in locales
        for field in (
            field_at(f"content.{locale}.title", FieldKind.TEXT, required=True),
            field_at(f"content.{locale}.body", FieldKind.LONG_TEXT),
            field_at(f"content.{locale}.image", FieldKind.TEXT),
            field_at(f"content.{locale}.action_url", FieldKind.TEXT),
            field_at(f"script.{locale}", FieldKind.LONG_TEXT),
            field_at(f"disclosure.{locale}", FieldKind.LONG_TEXT),
        )
    ]
    return (
        field_at("name", FieldKind.NAME, required=True),
        field_at("channel", FieldKind.CHOICE, "channels", required=True),
        field_at("placements", FieldKind.NAMES, "placements", required=True),
        *content,
    )


def offer_fields(locales: Sequence[str]) -> tuple[Field, ...]:
    """An offer, its rules and treatments apart."""
    return (
        field_at("name", FieldKind.NAME, required=True, fixed=True),
        field_at("group", FieldKind.CHOICE, "groups", required=True),
        *in_each("title", FieldKind.TEXT, locales, required=True),
        field_at("product", FieldKind.TEXT),
        field_at("value", FieldKind.MONEY, required=True),
        field_at("base_rate", FieldKind.PERCENT, required=True),
        field_at("lever", FieldKind.NUMBER),
        field_at("purpose", FieldKind.CHOICE, "purposes"),
        field_at("mandatory", FieldKind.FLAG),
        field_at("risk_level", FieldKind.CHOICE, "risk_levels"),
        field_at("available.from", FieldKind.DATE),
        field_at("available.until", FieldKind.DATE),
        field_at("ramp.from", FieldKind.DATE),
        field_at("ramp.days", FieldKind.WHOLE),
        field_at("ramp.share", FieldKind.PERCENT),
        *in_each("disclosure", FieldKind.LONG_TEXT, locales),
    )


@cache
def _kinds(locales: tuple[str, ...]) -> dict[str, EntryKind]:
    found = (
        EntryKind(name="offer", path=("offers",), label="name", fields=offer_fields(locales), file="offers.yaml"),
        EntryKind(name="group", path=("groups",), label="name", fields=_group(locales), file="strategy.yaml"),
        EntryKind(name="lever", path=("levers",), label="", fields=_LEVER, file="levers.yaml"),
        EntryKind(name="weight", path=("context_weights",), label="", fields=_WEIGHT, file="levers.yaml"),
        EntryKind(name="volume", path=("volumes",), label="id", fields=_VOLUME, file="volumes.yaml"),
        *contact_kinds(locales),
        *experiment_kinds(),
        trigger_kind(locales),
        _portrait(locales),
    )
    return {kind.name: kind for kind in found}


def kinds(locales: Sequence[str]) -> dict[str, EntryKind]:
    """Every kind of entry by name."""
    return _kinds(tuple(locales))


def _group(locales: Sequence[str]) -> tuple[Field, ...]:
    return (
        field_at("name", FieldKind.NAME, required=True, fixed=True),
        *in_each("title", FieldKind.TEXT, locales),
        field_at("issue", FieldKind.CHOICE, "issues", required=True),
        field_at("lever", FieldKind.NUMBER),
        field_at("model", FieldKind.CHOICE, "models"),
    )


def _portrait(locales: Sequence[str]) -> EntryKind:
    series = (
        field_at("attribute", FieldKind.SUGGESTED, "attributes", required=True),
        *in_each("title", FieldKind.TEXT, locales, required=True),
        field_at("unit", FieldKind.CHOICE, "series_units"),
    )
    return EntryKind(
        name="portrait",
        path=("portrait",),
        label="",
        fields=(
            field_at("facts", FieldKind.NAMES, "attributes"),
            field_at("amounts", FieldKind.NAMES, "attributes"),
        ),
        rows=(Rows(key="series", fields=series, most=_MOST_SERIES),),
        file="portrait.yaml",
        single=True,
    )


_LEVER = (
    scope_at((), _SCOPES),
    field_at("lever", FieldKind.NUMBER, required=True),
    field_at("from", FieldKind.DATE),
    field_at("until", FieldKind.DATE),
)
_WEIGHT = (
    scope_at((), _SCOPES),
    condition_at("when", required=True),
    field_at("weight", FieldKind.NUMBER, required=True),
    field_at("from", FieldKind.DATE),
    field_at("until", FieldKind.DATE),
)
_VOLUME = (
    field_at("id", FieldKind.NAME, required=True, fixed=True),
    scope_at(("of",), (*_SCOPES, "channel")),
    field_at("resource", FieldKind.CHOICE, "resources", required=True),
    field_at("amount", FieldKind.WHOLE, required=True),
    field_at("per", FieldKind.PERIOD, required=True),
    field_at("charged_on", FieldKind.CHOICE, "charges"),
    field_at("pacing", FieldKind.CHOICE, "pacings"),
)
