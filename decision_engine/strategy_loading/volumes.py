"""Reads the volume constraints: stock, budgets and capacities that the whole bank shares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.offers import Offer
from decision_engine.strategy import UnitCost, VolumeConstraint, VolumePeriod, VolumeScope, written
from decision_engine.strategy_loading.document import ScalarNode
from decision_engine.strategy_loading.moments import read_moment
from decision_engine.strategy_loading.section import Section, distinct, suggestion

RESOURCES = ("stock", "budget", "capacity")
CHARGES = ("reservation", "impression", "accept")
PACINGS = ("none", "even", "traffic")
DEFAULT_HOLD_SECONDS = 7 * 86_400
_MOST_UNITS = 10**15
"""Exact as a double, which is how the store counts."""
_SCOPES = ("offer", "group", "issue", "channel", "attribute")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeNames:
    """What a volume may be about: the offers, and by scope the names there are."""

    offers: Sequence[Offer]
    names: Mapping[str, Sequence[str]]
    time_zone: str


def read_volumes(root: Section, known: VolumeNames) -> tuple[VolumeConstraint, ...]:
    """The constraints in the order they are written, which is the order they are tried in."""
    sections = root.sections("volumes")
    volumes = tuple(_volume(section, known) for section in sections)
    distinct(sections, [volume.id for volume in volumes], "id")
    return volumes


def volume_names(
    offers: Sequence[Offer], groups: Sequence[str], issues: Sequence[str], channels: Sequence[str], time_zone: str
) -> VolumeNames:
    """Collects what `of` may name."""
    attributes = sorted({key for offer in offers for key in offer.attributes or ()})
    names = {
        "offer": [offer.name for offer in offers],
        "group": groups,
        "issue": issues,
        "channel": channels,
        "attribute": attributes,
    }
    return VolumeNames(offers=offers, names=names, time_zone=time_zone)


def _volume(section: Section, known: VolumeNames) -> VolumeConstraint:
    scope = _scope(section, known)
    charged_on = section.choice("charged_on", CHARGES, "reservation")
    hold = section.integer("hold_seconds", DEFAULT_HOLD_SECONDS, least=60, most=90 * 86_400)
    if section.has("hold_seconds") and charged_on != "accept":
        section.problem("only what is charged on accept is held; leave hold_seconds out", "hold_seconds")
    pacing = section.choice("pacing", PACINGS, "none")
    period = _period(section, known.time_zone)
    if pacing not in ("none", "") and period.calendar is None and period.from_ms is None:
        section.problem("pacing needs a period with a beginning: {calendar: month}, or from and until", "pacing")
    volume = VolumeConstraint(
        id=section.name("id"),
        of=scope,
        resource=section.choice("resource", RESOURCES),
        amount=section.integer("amount", least=1, most=_MOST_UNITS),
        unit_cost=_unit_cost(section, scope, known),
        period=period,
        charged_on=charged_on,
        hold_seconds=hold,
        pacing=pacing,
    )
    section.finish()
    return volume


def _scope(section: Section, known: VolumeNames) -> VolumeScope:
    """`of`: exactly one of offer, group, issue, channel, or an attribute of offers with the value it must have."""
    of = section.required_section("of")
    if of is None:
        return VolumeScope(kind="", name="")
    kinds = [kind for kind in _SCOPES if of.has(kind)]
    equals = of.text("is") if kinds == ["attribute"] else None
    if len(kinds) != 1:
        section.problem(f"names one of {', '.join(_SCOPES)}", "of")
        of.finish()
        return VolumeScope(kind="", name="")
    kind = kinds[0]
    name = of.text(kind)
    if name and name not in known.names[kind]:
        of.problem(f"unknown {kind} {name}{suggestion(name, tuple(known.names[kind]))}", kind)
    elif name and equals:
        _check_value(of, known, name, equals)
    of.finish()
    return VolumeScope(kind=kind, name=name, equals=equals)


def _check_value(of: Section, known: VolumeNames, name: str, equals: str) -> None:
    found = {written((offer.attributes or {}).get(name)) for offer in known.offers}
    values = sorted(value for value in found if value is not None)
    if equals not in values:
        of.problem(f"no offer has {name} {equals!r}{suggestion(equals, values)}", "is")


def _unit_cost(section: Section, scope: VolumeScope, known: VolumeNames) -> UnitCost:
    """What one charge takes: a number, or the offer's attribute that says it."""
    node = section.get("unit_cost")
    if node is None:
        return UnitCost()
    if isinstance(node, ScalarNode):
        return UnitCost(units=section.integer("unit_cost", least=1, most=_MOST_UNITS))
    by = Section(node, section.path_of("unit_cost"), section.problems)
    name = by.text("attribute")
    by.finish()
    for offer in known.offers:
        if name and scope.concerns(offer) and not _is_whole((offer.attributes or {}).get(name)):
            by.problem(f"the offer {offer.name} needs a whole number of at least 1 as its {name}", "attribute")
    return UnitCost(attribute=name)


def _is_whole(value: object) -> bool:
    return isinstance(value, int | float) and value >= 1 and float(value).is_integer()


def _period(section: Section, time_zone: str) -> VolumePeriod:
    """`per`: a calendar day, week or month of the bank, or once for all from a date until another."""
    per = section.required_section("per")
    if per is None:
        return VolumePeriod(calendar="day")
    if per.has("calendar"):
        unit = per.choice("calendar", ("day", "week", "month"))
        per.finish()
        return VolumePeriod(calendar=unit)
    since, until = read_moment(per, "from", time_zone), read_moment(per, "until", time_zone)
    if until is None and not per.has("until"):
        per.problem("needs calendar: day, week or month; or until: a date, for a total")
    if since is not None and until is not None and since >= until:
        per.problem("until must be later than from", "until")
    per.finish()
    return VolumePeriod(from_ms=since, until_ms=until)
