"""What can be listed and edited by fields: offers with their rules and treatments, groups, levers, contact limits,
volumes, experiments. Whatever an entry has beside these fields stays as it is, and can be edited as text."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.use_cases.authoring.fields import Field, FieldKind
from services.use_cases.authoring.source_nodes import Path

LAYERS = ("eligibility", "applicability", "suitability")
_SCOPES = ("offer", "group", "issue")


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryKind:
    """A list of a strategy (`path` from the top) whose entries have these fields; `label` is the key that names an
    entry, empty where entries have no names. `file` is where the first one goes."""

    name: str
    path: Path
    label: str
    fields: tuple[Field, ...]
    file: str


def _field(path: str, kind: FieldKind, choices: str = "", *, required: bool = False, fixed: bool = False) -> Field:
    return Field(path=tuple(path.split(".")), kind=kind, choices=choices, required=required, fixed=fixed)


def _scope(path: Path, scopes: tuple[str, ...]) -> Field:
    return Field(path=path, kind=FieldKind.SCOPE, choices="scopes", required=True, scopes=scopes)


def local(path: str, kind: FieldKind, locales: Sequence[str], *, required: bool = False) -> tuple[Field, ...]:
    """One field for each locale."""
    return tuple(_field(f"{path}.{locale}", kind, required=required) for locale in locales)


def rule_fields(locales: Sequence[str]) -> tuple[Field, ...]:
    """A rule: what must hold, and what is said if it does not."""
    return (
        _field("id", FieldKind.NAME, required=True),
        _field("when", FieldKind.CONDITION, required=True),
        _field("code", FieldKind.NAME, required=True),
        *local("text", FieldKind.TEXT, locales, required=True),
    )


def treatment_fields(locales: Sequence[str]) -> tuple[Field, ...]:
    """An offer in one channel."""
    content = [
        field
        for locale in locales
        for field in (
            _field(f"content.{locale}.title", FieldKind.TEXT, required=True),
            _field(f"content.{locale}.body", FieldKind.LONG_TEXT),
            _field(f"content.{locale}.image", FieldKind.TEXT),
            _field(f"content.{locale}.action_url", FieldKind.TEXT),
            _field(f"script.{locale}", FieldKind.LONG_TEXT),
        )
    ]
    return (
        _field("name", FieldKind.NAME, required=True),
        _field("channel", FieldKind.CHOICE, "channels", required=True),
        _field("placements", FieldKind.NAMES, "placements", required=True),
        *content,
    )


def offer_fields(locales: Sequence[str]) -> tuple[Field, ...]:
    """An offer, its rules and treatments apart."""
    return (
        _field("name", FieldKind.NAME, required=True, fixed=True),
        _field("group", FieldKind.CHOICE, "groups", required=True),
        *local("title", FieldKind.TEXT, locales, required=True),
        _field("product", FieldKind.TEXT),
        _field("value", FieldKind.MONEY, required=True),
        _field("base_rate", FieldKind.PERCENT, required=True),
        _field("lever", FieldKind.NUMBER),
        _field("purpose", FieldKind.CHOICE, "purposes"),
        _field("mandatory", FieldKind.FLAG),
        _field("risk_level", FieldKind.CHOICE, "risk_levels"),
        _field("available.from", FieldKind.DATE),
        _field("available.until", FieldKind.DATE),
        _field("ramp.from", FieldKind.DATE),
        _field("ramp.days", FieldKind.WHOLE),
        _field("ramp.share", FieldKind.PERCENT),
    )


def kinds(locales: Sequence[str]) -> dict[str, EntryKind]:
    """Every kind of entry by name."""
    found = (
        EntryKind(name="offer", path=("offers",), label="name", fields=offer_fields(locales), file="offers.yaml"),
        EntryKind(name="group", path=("groups",), label="name", fields=_group(locales), file="strategy.yaml"),
        EntryKind(name="lever", path=("levers",), label="", fields=_LEVER, file="levers.yaml"),
        EntryKind(
            name="limit",
            path=("contact_policy", "limits"),
            label="id",
            fields=_limit(locales),
            file="contact_policy.yaml",
        ),
        EntryKind(name="volume", path=("volumes",), label="id", fields=_VOLUME, file="volumes.yaml"),
        EntryKind(name="experiment", path=("experiments",), label="name", fields=_EXPERIMENT, file="experiments.yaml"),
        EntryKind(name="holdout", path=("holdouts",), label="", fields=_HOLDOUT, file="experiments.yaml"),
    )
    return {kind.name: kind for kind in found}


def _group(locales: Sequence[str]) -> tuple[Field, ...]:
    return (
        _field("name", FieldKind.NAME, required=True, fixed=True),
        *local("title", FieldKind.TEXT, locales),
        _field("issue", FieldKind.CHOICE, "issues", required=True),
        _field("lever", FieldKind.NUMBER),
        _field("model", FieldKind.CHOICE, "models"),
    )


_LEVER = (
    _scope((), _SCOPES),
    _field("lever", FieldKind.NUMBER, required=True),
    _field("from", FieldKind.DATE),
    _field("until", FieldKind.DATE),
)
_VOLUME = (
    _field("id", FieldKind.NAME, required=True, fixed=True),
    _scope(("of",), (*_SCOPES, "channel")),
    _field("resource", FieldKind.CHOICE, "resources", required=True),
    _field("amount", FieldKind.WHOLE, required=True),
    _field("per", FieldKind.PERIOD, required=True),
    _field("charged_on", FieldKind.CHOICE, "charges"),
    _field("pacing", FieldKind.CHOICE, "pacings"),
)
_EXPERIMENT = (
    _field("name", FieldKind.NAME, required=True, fixed=True),
    _field("salt", FieldKind.TEXT, required=True),
)
ARM_FIELDS = (
    _field("name", FieldKind.NAME, required=True, fixed=True),
    _field("share", FieldKind.PERCENT, required=True),
)
_HOLDOUT = (
    _field("issue", FieldKind.CHOICE, "issues", required=True),
    _field("share", FieldKind.PERCENT, required=True),
    _field("salt", FieldKind.TEXT, required=True),
)


def standing_fields(arms: Sequence[str]) -> tuple[Field, ...]:
    """The shares of the standing experiment's arms; `experiment` is a mapping of its own."""
    return (
        _field("salt", FieldKind.TEXT, required=True),
        *(_field(f"shares.{arm}", FieldKind.PERCENT) for arm in arms),
    )


def _limit(locales: Sequence[str]) -> tuple[Field, ...]:
    return (
        _field("id", FieldKind.NAME, required=True, fixed=True),
        _field("scope", FieldKind.CHOICE, "limit_scopes", required=True),
        _field("of", FieldKind.CHOICE, "limit_names"),
        _field("limit", FieldKind.WHOLE),
        _field("window", FieldKind.WINDOW),
        _field("on", FieldKind.NAMES, "outcomes"),
        _field("applies_to", FieldKind.CHOICE, "applies_to"),
        _field("code", FieldKind.NAME, required=True),
        *local("text", FieldKind.TEXT, locales, required=True),
    )
