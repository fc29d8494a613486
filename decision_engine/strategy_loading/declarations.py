"""Reads what a strategy declares about customers: profile, features, derived features, facts of the request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from decision_engine.conditions.names import CHANNEL, rule_types
from decision_engine.features.definitions import (
    AttributeInfo,
    AttributeType,
    ContextAttribute,
    FeatureDeclarations,
    FeatureDefinition,
    ProfileAttribute,
)
from decision_engine.features.dictionary import PRODUCT_COUNT, attribute_infos, attribute_names
from decision_engine.features.linked import Link, LinkedAttribute
from decision_engine.strategy_loading.conditions import Vocabulary
from decision_engine.strategy_loading.defaults import read_default
from decision_engine.strategy_loading.derivations import read_derived
from decision_engine.strategy_loading.feature_declarations import EventFields, read_features
from decision_engine.strategy_loading.labels import read_segments, read_tags
from decision_engine.strategy_loading.links import linked_infos, read_links
from decision_engine.strategy_loading.section import Section, distinct
from decision_engine.strategy_loading.triggers import CONTEXT_NAME, trigger_context, trigger_values
from decision_engine.tags import Segment, Tag

_RESERVED = frozenset({"now", CHANNEL, "context", PRODUCT_COUNT})


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerKnowledge:
    """What is known about customers, and the names rules may use."""

    declarations: FeatureDeclarations
    dictionary: Mapping[str, AttributeInfo]
    vocabulary: Vocabulary
    segments: tuple[Segment, ...]
    tags: tuple[Tag, ...]
    links: tuple[Link, ...] = ()
    linked: tuple[LinkedAttribute, ...] = ()


@dataclass(frozen=True, slots=True)
class Basics:
    """What the rest of the document is read with."""

    name: str
    time_zone: str
    currency: str
    locales: tuple[str, ...]


def read_declarations(root: Section, basics: Basics, event_fields: EventFields) -> CustomerKnowledge:
    """Reads `profile`, `features`, `derived`, `context` and `duplicate_memory`. Everything is put in the order of
    names, so that moving a declaration to another file changes nothing."""
    profile, untyped = _profile(root, basics.locales)
    features, unsound = read_features(root, basics.locales, event_fields)
    _check_names(root, features, {attribute.name for attribute in profile})
    context = [*_context(root, basics.locales), *trigger_context(root, basics.locales)]
    base = FeatureDeclarations(
        time_zone=basics.time_zone,
        profile=tuple(sorted(profile, key=lambda attribute: attribute.name)),
        features=tuple(sorted(features, key=lambda feature: feature.name)),
        context=tuple(sorted(context, key=lambda fact: fact.name)),
        duplicate_memory=root.integer("duplicate_memory", 24, least=0, most=1_024),
    )
    known = Vocabulary(
        types={name: info.type for name, info in attribute_infos(base, event_fields).items()},
        doubtful=untyped | unsound,
        values={attribute.name: attribute.values for attribute in profile if attribute.values},
        sensitive=frozenset(attribute.name for attribute in profile if attribute.sensitive),
    )
    segments = read_segments(root, basics.locales)
    derived, doubtful = read_derived(root, basics.locales, known, segments)
    declarations = replace(base, derived=derived)
    dictionary = attribute_infos(declarations, event_fields)
    links, linked = read_links(root, basics.locales, dictionary)
    dictionary |= linked_infos(links, linked)
    doubtful |= known.doubtful
    own = replace(known, types={name: info.type for name, info in dictionary.items()}, doubtful=doubtful)
    tags = read_tags(root, basics.locales, own)
    types = rule_types(dictionary, base.context)
    return CustomerKnowledge(
        declarations=declarations,
        dictionary=dictionary,
        vocabulary=replace(own, types=types, values={**known.values, **trigger_values(root)}),
        segments=tuple(segment for _, segment in sorted(segments, key=lambda pair: pair[1].name)),
        tags=tags,
        links=links,
        linked=linked,
    )


def _profile(root: Section, locales: Sequence[str]) -> tuple[list[ProfileAttribute], frozenset[str]]:
    """Those that have a name, and the names of those whose type is not known; the faults are noted."""
    sections = root.sections("profile")
    attributes: list[ProfileAttribute] = []
    untyped: set[str] = set()
    for section in sections:
        kind = section.choice("type", tuple(AttributeType))
        attributes.append(_profile_attribute(section, AttributeType(kind or AttributeType.STRING), locales))
        if not kind:
            untyped.add(attributes[-1].name)
    distinct(sections, [attribute.name for attribute in attributes], "name")
    return [attribute for attribute in attributes if attribute.name], frozenset(untyped)


def _profile_attribute(section: Section, kind: AttributeType, locales: Sequence[str]) -> ProfileAttribute:
    name = section.name("name")
    _refuse_reserved(section, name)
    values = section.texts("values")
    if values and kind is not AttributeType.STRING:
        section.problem(f"only texts can list their values, this is a {kind}", "values")
    default = read_default(section, kind)
    if values and isinstance(default, str) and default not in values:
        section.problem(f"{default!r} is none of the values", "default")
    attribute = ProfileAttribute(
        name=name,
        type=kind,
        theme=section.text("theme"),
        description=section.local_text("description", locales),
        default=default,
        values=values,
        sensitive=section.flag("sensitive", default=False),
    )
    section.finish()
    return attribute


def _refuse_reserved(section: Section, name: str) -> None:
    if name in _RESERVED:
        section.problem(f"{name} has a meaning of its own; choose another name", "name")


def _context(root: Section, locales: Sequence[str]) -> list[ContextAttribute]:
    """Those that have a name; faults of the others are noted."""
    sections = root.sections("context")
    facts = [_context_attribute(section, locales) for section in sections]
    distinct(sections, [fact.name for fact in facts], "name")
    for section, fact in zip(sections, facts, strict=True):
        if fact.name == CONTEXT_NAME and root.given("triggers"):
            section.problem(f"{CONTEXT_NAME} is the trigger that decides; choose another name", "name")
    return [fact for fact in facts if fact.name]


def _context_attribute(section: Section, locales: Sequence[str]) -> ContextAttribute:
    fact = ContextAttribute(
        name=section.name("name"),
        type=AttributeType(section.choice("type", tuple(AttributeType)) or AttributeType.STRING),
        description=section.local_text("description", locales),
    )
    section.finish()
    return fact


def _check_names(root: Section, features: Sequence[FeatureDefinition], profile: set[str]) -> None:
    """No two attributes of one name, windows spelled out."""
    places = {section.path: section for section in root.sections("features")}
    taken = dict.fromkeys(profile | _RESERVED, "the profile or the language")
    for feature in features:
        place = f"features[{feature.name}]"
        for attribute, _ in attribute_names(feature):
            if attribute in taken:
                message = f"the attribute {attribute} is already declared by {taken[attribute]}"
                places.get(place, root).problem(message)
            taken[attribute] = place
