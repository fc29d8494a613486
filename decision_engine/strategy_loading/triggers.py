"""Reads the triggers: patterns of events, guards, what they are about, and how they make contact (docs/triggers.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.parser import parse
from decision_engine.conditions.syntax import names_in
from decision_engine.features.definitions import AttributeInfo, AttributeType, ContextAttribute
from decision_engine.identifiers import PlacementId, key32
from decision_engine.offers import LocalText, Offer, Placement
from decision_engine.strategy_loading.conditions import Vocabulary, read_condition
from decision_engine.strategy_loading.event_patterns import EventFields, read_events, read_length, read_pattern
from decision_engine.strategy_loading.section import Section, distinct, suggestion
from decision_engine.triggers.definitions import Contact, EventPattern, Pattern, Shape, Trigger, Wave
from decision_engine.triggers.guards import EVENT_PREFIX, guard_types

CONTEXT_NAME = "trigger"
"""The context attribute that names the trigger that decides; built in where there are triggers."""
_DESCRIPTIONS = {"zh-CN": "发起本次决策的触发器", "en": "The trigger that started this decision"}
_MOST_WAVES = 5
_MOST_TOLD = 8
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000
_SCOPES = ("offers", "groups", "issues")


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerNames:
    """What triggers may name. `attributes` are those known where events are matched; `elsewhere` those that are not,
    as they belong to other subjects; `profile` are those that the profile tells."""

    offers: Sequence[Offer]
    groups: Sequence[str]
    issues: Sequence[str]
    placements: Mapping[PlacementId, Placement]
    attributes: Mapping[str, AttributeInfo]
    elsewhere: frozenset[str]
    profile: Mapping[str, AttributeType]
    vocabulary: Vocabulary
    event_fields: EventFields
    locales: Sequence[str]


def read_triggers(root: Section, known: TriggerNames) -> tuple[Trigger, ...]:
    """The triggers in the order of names."""
    sections = root.sections("triggers")
    triggers = [_trigger(section, known) for section in sections]
    distinct(sections, [trigger.name for trigger in triggers], "name")
    first: dict[int, str] = {}
    for section, trigger in zip(sections, triggers, strict=True):
        other = first.setdefault(key32(trigger.name), trigger.name)
        if other != trigger.name:
            section.problem(f"{trigger.name} has the same key as {other} in the trigger memory; rename one", "name")
    return tuple(sorted(triggers, key=lambda trigger: trigger.name))


def trigger_context(root: Section, locales: Sequence[str]) -> tuple[ContextAttribute, ...]:
    """The built-in context attribute; none without triggers."""
    if not root.given("triggers"):
        return ()
    description: LocalText = {locale: _DESCRIPTIONS.get(locale, _DESCRIPTIONS["en"]) for locale in locales}
    return (ContextAttribute(name=CONTEXT_NAME, type=AttributeType.STRING, description=description),)


def trigger_values(root: Section) -> dict[str, tuple[str, ...]]:
    """The values the built-in context attribute can have, by its name in conditions."""
    names = tuple(name for section in root.sections("triggers") if (name := section.optional_text("name")))
    return {f"context.{CONTEXT_NAME}": names} if names else {}


def _trigger(section: Section, known: TriggerNames) -> Trigger:
    on = section.required_section("on")
    pattern = _NO_PATTERN if on is None else _pattern(section, on, known)
    offers = _offers(section, known)
    fields = known.event_fields.get(_matching(pattern).source)
    before, when = _guard(section, "before", fields, known), _guard(section, "when", fields, known)
    contact = _contact(section.required_section("contact"), offers, known)
    grade, tells = _grade(section, fields, known), _tells(section, fields)
    trigger = Trigger(
        name=section.name("name"),
        title=section.local_text("title", known.locales),
        pattern=pattern,
        contact=contact,
        before=before,
        when=when,
        fields=_named_fields((before, when, grade, *(EVENT_PREFIX + name for name in tells)), fields),
        grade=grade,
        tells=tells,
        offers=offers,
        waves=_waves(section, offers, known),
        cancelled_by=read_events(section, "cancelled_by", known.event_fields),
        cooldown_ms=read_length(section, "cooldown", 0),
        expires_ms=read_length(section, "expires", _DAY_MS),
        freshness_ms=read_length(section, "freshness", _HOUR_MS),
        urgent=section.flag("urgent", default=False),
    )
    section.finish()
    return trigger


def _pattern(section: Section, on: Section, known: TriggerNames) -> Pattern:
    pattern = read_pattern(on, known.event_fields, known.profile, known.vocabulary.doubtful)
    if pattern.shape is Shape.MOMENT and section.given("before"):
        section.problem("a moment has no event to look before; ask in when, which is judged as it is due", "before")
    return pattern


_NO_PATTERN = Pattern(shape=Shape.EVENT, steps=(EventPattern(source=""),))


def _matching(pattern: Pattern) -> EventPattern:
    """The event whose fields guards may name: the last one, but of an absence the one that came."""
    return pattern.steps[0 if pattern.shape is Shape.ABSENCE else -1]


def _guard(section: Section, key: str, fields: Mapping[str, AttributeType] | None, known: TriggerNames) -> str | None:
    if section.get(key) is None:
        return None
    if fields is None:
        return section.text(key)  # the event is at fault, not the guard
    own = {name: info for name, info in known.attributes.items() if name not in known.elsewhere}
    vocabulary = replace(
        known.vocabulary, types=guard_types(own, fields), doubtful=known.vocabulary.doubtful | known.elsewhere
    )
    text = read_condition(section, key, vocabulary)
    for name in sorted(known.elsewhere.intersection(_names(text))):
        section.problem(f"{name} belongs to other customers too; a guard reads the customer's own attributes", key)
    return text or None


def _names(text: str) -> frozenset[str]:
    try:
        return frozenset(names_in(parse(text))) if text else frozenset()
    except ConditionError:
        return frozenset()  # noted by read_condition


def _grade(section: Section, fields: Mapping[str, AttributeType] | None, known: TriggerNames) -> str | None:
    """An attribute, or `event.<field>`; either is a text."""
    name = section.optional_text("grade")
    if name is None or not name.startswith(EVENT_PREFIX):
        return _text_attribute(section, "grade", known)
    kind = None if fields is None else _field(section, "grade", name.removeprefix(EVENT_PREFIX), fields)
    if kind not in (None, AttributeType.STRING):
        section.problem(f"{name} is a {kind}; a grade is a text", "grade")
    return name


def _tells(section: Section, fields: Mapping[str, AttributeType] | None) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(section.texts("tells")))
    if len(names) > _MOST_TOLD:
        section.problem(f"at most {_MOST_TOLD} fields, these are {len(names)}", "tells")
    if fields is not None:
        for name in names:
            _field(section, "tells", name, fields)
    return names


def _field(section: Section, key: str, name: str, fields: Mapping[str, AttributeType]) -> AttributeType | None:
    """The type of a field of the matching event; a problem where it has none of that name."""
    if name not in fields:
        section.problem(f"the event has no field {name}{suggestion(name, sorted(fields))}", key)
    return fields.get(name)


def _named_fields(guards: Sequence[str | None], fields: Mapping[str, AttributeType] | None) -> dict[str, AttributeType]:
    names = {name for guard in guards if guard for name in _names(guard) if name.startswith(EVENT_PREFIX)}
    plain = sorted(name.removeprefix(EVENT_PREFIX) for name in names)
    return {name: (fields or {})[name] for name in plain if name in (fields or {})}


def _offers(section: Section, known: TriggerNames) -> frozenset[str]:
    """`{offers: […]}`, `{groups: […]}`, `{issues: […]}` or several of them: whatever any of them names."""
    among = section.section("offers")
    if among is None:
        return frozenset()
    names = {"offers": [offer.name for offer in known.offers], "groups": known.groups, "issues": known.issues}
    wanted: dict[str, set[str]] = {}
    for scope in _SCOPES:
        wanted[scope] = set(among.texts(scope))
        for name in sorted(wanted[scope].difference(names[scope])):
            among.problem(f"unknown {scope[:-1]} {name}{suggestion(name, tuple(names[scope]))}", scope)
    if not any(wanted.values()):
        among.problem("names offers, groups or issues")
    among.finish()
    found = frozenset(
        str(offer.name)
        for offer in known.offers
        if offer.name in wanted["offers"] or offer.group in wanted["groups"] or offer.issue in wanted["issues"]
    )
    if not found and all(wanted[scope] <= set(names[scope]) for scope in _SCOPES) and any(wanted.values()):
        among.problem("there is no offer in it")
    return found


def _contact(section: Section | None, offers: frozenset[str], known: TriggerNames) -> Contact:
    if section is None:
        return Contact(placement="", channel="")
    contact = _placement(section, offers, known)
    section.finish()
    return contact


def _placement(section: Section, offers: frozenset[str], known: TriggerNames) -> Contact:
    name = PlacementId(section.text("placement"))
    placement = known.placements.get(name)
    if name and placement is None:
        section.problem(f"unknown placement {name}{suggestion(name, tuple(known.placements))}", "placement")
    most = 100 if placement is None else placement.max_count
    shown = [t for o in known.offers if not offers or o.name in offers for t in o.treatments if name in t.placements]
    if placement is not None and not shown:
        section.problem(f"none of the trigger's offers has a treatment for {name}", "placement")
    return Contact(
        placement=name,
        channel="" if placement is None else placement.channel,
        count=section.integer("count", 1, least=1, most=most),
        recipient=_text_attribute(section, "recipient", known),
    )


def _text_attribute(section: Section, key: str, known: TriggerNames) -> str | None:
    """The attribute that says who gets a contact, or what it is worth."""
    name = section.optional_text(key)
    if name is None or name in known.vocabulary.doubtful:
        return name
    info = known.attributes.get(name)
    texts = sorted(each for each, about in known.attributes.items() if about.type is AttributeType.STRING)
    if info is None:
        section.problem(f"unknown name {name}{suggestion(name, texts)}", key)
    elif info.type is not AttributeType.STRING:
        meaning = "whoever gets it is named by a text" if key == "recipient" else f"a {key} is a text"
        section.problem(f"{name} is a {info.type}; {meaning}", key)
    return name


def _waves(section: Section, offers: frozenset[str], known: TriggerNames) -> tuple[Wave, ...]:
    """Further contacts, later and later."""
    waves: list[Wave] = []
    for item in section.sections("waves"):
        after_ms = read_length(item, "after")
        if waves and after_ms <= waves[-1].after_ms:
            item.problem("must be later than the wave before", "after")
        contact = _placement(item, offers, known)
        waves.append(Wave(after_ms=after_ms, contact=contact))
        item.finish()
    if len(waves) > _MOST_WAVES:
        section.problem(f"at most {_MOST_WAVES} waves, these are {len(waves)}", "waves")
    return tuple(waves)
