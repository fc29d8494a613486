"""The fields of the contact policy: limits, quiet hours, holidays, service before sales, and what holds for all."""

from collections.abc import Sequence

from services.use_cases.authoring.entry_kind import EntryKind
from services.use_cases.authoring.fields import Field, FieldKind, condition_at, field_at, in_each, scope_at

_FILE = "contact_policy.yaml"


def contact_kinds(locales: Sequence[str]) -> tuple[EntryKind, ...]:
    """The kinds of entries that say when, how often and after what customers are contacted."""
    return (
        EntryKind(
            name="limit", path=("contact_policy", "limits"), label="id", fields=limit_fields(locales), file=_FILE
        ),
        EntryKind(name="quiet", path=("contact_policy", "quiet_hours"), label="id", fields=_QUIET, file=_FILE),
        EntryKind(name="holiday", path=("contact_policy", "holidays"), label="id", fields=_HOLIDAY, file=_FILE),
        EntryKind(
            name="service",
            path=("service_first",),
            label="id",
            fields=_service_fields(locales),
            file="service_first.yaml",
        ),
        EntryKind(name="policy", path=("contact_policy",), label="", fields=_POLICY, file=_FILE, single=True),
    )


def limit_fields(locales: Sequence[str]) -> tuple[Field, ...]:
    """A limit: what is counted, how often, within which time, and what is said when it holds back."""
    return (
        field_at("id", FieldKind.NAME, required=True, fixed=True),
        field_at("scope", FieldKind.CHOICE, "limit_scopes", required=True),
        field_at("of", FieldKind.CHOICE, "limit_names"),
        field_at("limit", FieldKind.WHOLE),
        field_at("window", FieldKind.WINDOW),
        field_at("on", FieldKind.NAMES, "outcomes"),
        field_at("code", FieldKind.NAME, required=True),
        *in_each("text", FieldKind.TEXT, locales, required=True),
        field_at("applies_to", FieldKind.CHOICE, "applies_to", rare=True),
        field_at("min_distance", FieldKind.LENGTH, rare=True),
        field_at("without_response", FieldKind.FLAG, rare=True),
        scope_at(("related",), ("offer", "group"), required=False, rare=True),
        field_at("direction", FieldKind.CHOICE, "directions", rare=True),
    )


def _service_fields(locales: Sequence[str]) -> tuple[Field, ...]:
    return (
        field_at("id", FieldKind.NAME, required=True, fixed=True),
        condition_at("when", required=True),
        field_at("issues", FieldKind.NAMES, "issues"),
        field_at("code", FieldKind.NAME, required=True),
        *in_each("text", FieldKind.TEXT, locales, required=True),
    )


_QUIET = (
    field_at("id", FieldKind.NAME, required=True, fixed=True),
    field_at("channels", FieldKind.NAMES, "channels", required=True),
    field_at("from", FieldKind.CLOCK, required=True),
    field_at("to", FieldKind.CLOCK, required=True),
    field_at("weekdays", FieldKind.NAMES, "weekdays"),
    field_at("applies_to", FieldKind.CHOICE, "applies_to"),
)
_HOLIDAY = (
    field_at("id", FieldKind.NAME, required=True, fixed=True),
    field_at("channels", FieldKind.NAMES, "channels", required=True),
    field_at("dates", FieldKind.NAMES, required=True),
    field_at("applies_to", FieldKind.CHOICE, "applies_to"),
)
_POLICY = (
    field_at("outbound", FieldKind.NAMES, "channels"),
    field_at("reservation_seconds", FieldKind.WHOLE),
)
