"""The fields of a trigger: what it waits for in one of five shapes, its guards and offers, how it makes contact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.triggers.definitions import Shape
from services.use_cases.authoring.entry_kind import EntryKind
from services.use_cases.authoring.fields import Field, FieldKind, Rows, condition_at, field_at, in_each
from services.use_cases.authoring.source_nodes import SourceNode, at

_MOST_STEPS, _MOST_WAVES, _MOST_ENDINGS = 5, 5, 4


def _event(path: str = "") -> tuple[Field, ...]:
    """An event type, and which events of it."""
    lead = f"{path}." if path else ""
    return (
        field_at(f"{lead}event", FieldKind.CHOICE, "events", required=True),
        condition_at(f"{lead}where", "event"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeFields:
    """What a trigger of a shape waits for. `matching` is the key of the field that names the matching event, or of the
    rows whose last one does; empty where there is none."""

    fields: tuple[Field, ...]
    rows: tuple[Rows, ...] = ()
    matching: str = ""


SHAPES: Mapping[str, ShapeFields] = {
    Shape.EVENT: ShapeFields(fields=_event("on"), matching="on.event"),
    Shape.COUNT: ShapeFields(
        fields=(
            *_event("on.count"),
            field_at("on.at_least", FieldKind.WHOLE, required=True),
            field_at("on.within", FieldKind.LENGTH, required=True),
            field_at("on.same", FieldKind.SUGGESTED, "event_fields"),
        ),
        matching="on.count.event",
    ),
    Shape.SEQUENCE: ShapeFields(
        fields=(
            field_at("on.within", FieldKind.LENGTH, required=True),
            field_at("on.same", FieldKind.SUGGESTED, "event_fields"),
        ),
        rows=(Rows(key="on.sequence", fields=_event(), most=_MOST_STEPS),),
        matching="on.sequence",
    ),
    Shape.ABSENCE: ShapeFields(
        fields=(
            *_event("on.after"),
            *_event("on.absence"),
            field_at("on.within", FieldKind.LENGTH, required=True),
            field_at("on.same", FieldKind.SUGGESTED, "event_fields"),
        ),
        matching="on.after.event",
    ),
    Shape.MOMENT: ShapeFields(
        fields=(
            field_at("on.moment", FieldKind.CHOICE, "moments", required=True),
            field_at("on.lead", FieldKind.LENGTH),
            field_at("on.lag", FieldKind.LENGTH),
        ),
    ),
}
"""What a trigger can wait for, by the key that tells the shapes apart."""


def trigger_kind(locales: Sequence[str]) -> EntryKind:
    """The kind of entries that start contacts by themselves; what they wait for is in `SHAPES`."""
    contact = (
        field_at("placement", FieldKind.CHOICE, "placements", required=True),
        field_at("count", FieldKind.WHOLE),
        field_at("recipient", FieldKind.SUGGESTED, "texts"),
    )
    return EntryKind(
        name="trigger",
        path=("triggers",),
        label="name",
        fields=(
            field_at("name", FieldKind.NAME, required=True, fixed=True),
            *in_each("title", FieldKind.TEXT, locales, required=True),
            condition_at("before", "guard"),
            condition_at("when", "guard"),
            field_at("offers.groups", FieldKind.NAMES, "groups"),
            field_at("offers.offers", FieldKind.NAMES, "offers"),
            field_at("offers.issues", FieldKind.NAMES, "issues"),
            field_at("contact.placement", FieldKind.CHOICE, "placements", required=True),
            field_at("contact.count", FieldKind.WHOLE),
            field_at("contact.recipient", FieldKind.SUGGESTED, "texts"),
            field_at("grade", FieldKind.SUGGESTED, "grades"),
            field_at("tells", FieldKind.NAMES, "event_fields"),
            field_at("cooldown", FieldKind.LENGTH),
            field_at("expires", FieldKind.LENGTH),
            field_at("freshness", FieldKind.LENGTH),
            field_at("urgent", FieldKind.FLAG),
        ),
        rows=(
            Rows(key="waves", fields=(field_at("after", FieldKind.LENGTH, required=True), *contact), most=_MOST_WAVES),
            Rows(key="cancelled_by", fields=_event(), most=_MOST_ENDINGS),
        ),
        file="triggers.yaml",
    )


def shape_of(node: SourceNode | None) -> str:
    """The shape of what a trigger waits for, as written; an event where that cannot be told."""
    found = [shape for shape in SHAPES if at(node, ("on", shape)) is not None]
    return found[0] if found else str(Shape.EVENT)
