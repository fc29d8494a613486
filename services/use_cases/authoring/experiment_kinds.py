"""The fields of experiments: the standing one, the holdouts of issues, and the strategy's own with their arms."""

from services.use_cases.authoring.choices import ARMS
from services.use_cases.authoring.entry_kind import EntryKind
from services.use_cases.authoring.fields import FieldKind, Rows, field_at, scope_at
from services.use_cases.authoring.source_nodes import SourceList, SourceMap, at, text_at

_FILE = "experiments.yaml"
_MOST_ARMS, _MOST_LEVERS = 8, 4
_LEVERS = Rows(
    key="levers",
    fields=(
        scope_at((), ("offer", "group", "issue"), required=False),
        field_at("add", FieldKind.NUMBER, required=True),
    ),
    most=_MOST_LEVERS,
)
_ARMS = Rows(
    key="arms",
    fields=(
        field_at("name", FieldKind.NAME, required=True),
        field_at("share", FieldKind.PERCENT, required=True),
        field_at("room", FieldKind.PERCENT),
        field_at("withhold", FieldKind.NAMES, "offers"),
        field_at("exploration.kind", FieldKind.CHOICE, "explorations"),
        field_at("exploration.epsilon", FieldKind.NUMBER),
    ),
    most=_MOST_ARMS,
    rows=(_LEVERS,),
)
_EXPERIMENT = (
    field_at("name", FieldKind.NAME, required=True, fixed=True),
    field_at("salt", FieldKind.TEXT, required=True),
)
_HOLDOUT = (
    field_at("issue", FieldKind.CHOICE, "issues", required=True),
    field_at("share", FieldKind.PERCENT, required=True),
    field_at("salt", FieldKind.TEXT, required=True),
)
_STANDING = (
    field_at("salt", FieldKind.TEXT, required=True),
    *(field_at(f"shares.{arm}", FieldKind.PERCENT) for arm in ARMS),
    *(field_at(f"rooms.{arm}", FieldKind.PERCENT, rare=True) for arm in ARMS),
)


def experiment_kinds() -> tuple[EntryKind, ...]:
    """The kinds of entries that say who is kept aside, and what is tried on whom."""
    return (
        EntryKind(
            name="experiment", path=("experiments",), label="name", fields=_EXPERIMENT, rows=(_ARMS,), file=_FILE
        ),
        EntryKind(name="holdout", path=("holdouts",), label="", fields=_HOLDOUT, file=_FILE),
        EntryKind(name="standing", path=("experiment",), label="", fields=_STANDING, file=_FILE, single=True),
    )


def arm_shares(node: SourceMap) -> list[tuple[str, float]]:
    """The arms of an experiment with their shares, as written; what is no number counts as none."""
    if isinstance(arms := at(node, ("arms",)), SourceList):
        return [(text_at(arm, ("name",)), _share(text_at(arm, ("share",)))) for arm in arms.items]
    return [(arm, _share(text_at(node, ("shares", arm)))) for arm in ARMS]


def _share(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
