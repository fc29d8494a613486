"""Reads the offers with their treatments, and merges into each the policies of its issue and group."""

from collections.abc import Mapping
from dataclasses import dataclass

from decision_engine.identifiers import OfferName, PlacementId, TreatmentName
from decision_engine.offers import Offer, Placement, Rule, Treatment
from decision_engine.strategy_loading.document import ScalarNode
from decision_engine.strategy_loading.explorations import read_ramp
from decision_engine.strategy_loading.hierarchy import Group, Hierarchy, distinct_keys, read_model
from decision_engine.strategy_loading.moments import read_availability
from decision_engine.strategy_loading.placements import read_content
from decision_engine.strategy_loading.rules import (
    LAYERS,
    Language,
    Policy,
    read_context_weights,
    read_lever,
    read_reasons,
    read_rules,
)
from decision_engine.strategy_loading.section import Section, distinct, suggestion

RISK_LEVELS = {"R1": 1, "R2": 2, "R3": 3, "R4": 4, "R5": 5}
_LARGEST_VALUE = 10**15
"""Minor units; beyond any product, and exact as a double."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What offers refer to."""

    language: Language
    hierarchy: Hierarchy
    policies: tuple[Policy, ...]
    placements: Mapping[PlacementId, Placement]
    purposes: tuple[str, ...]
    time_zone: str
    gated: bool
    """Whether the strategy says where a customer's risk level stands."""


def read_offers(root: Section, surroundings: Surroundings) -> tuple[Offer, ...]:
    """The offers in the order of names."""
    sections = root.sections("offers")
    offers = [_offer(section, surroundings) for section in sections]
    distinct_keys(sections, [offer.name for offer in offers])
    return tuple(sorted(offers, key=lambda offer: offer.name))


def _offer(section: Section, around: Surroundings) -> Offer:
    name = section.name("name")
    group = _group(section, around.hierarchy)
    purpose = section.choice("purpose", ("marketing", "service"), "marketing")
    since, until = read_availability(section, around.time_zone)
    mandatory = section.flag("mandatory", default=False)
    layers = _layers(section, group, around, sales=purpose == "marketing" and not mandatory)
    offer = Offer(
        name=OfferName(name),
        group=group.name,
        issue=group.issue,
        value=section.integer("value", least=0, most=_LARGEST_VALUE),
        base_rate=section.number("base_rate", least=0, most=1),
        lever=_lever(section, group),
        model=_model(section, group, around.hierarchy),
        title=section.local_text("title", around.language.locales),
        treatments=_treatments(section, name, around),
        product=section.optional_text("product"),
        risk_level=_risk_level(section, around),
        mandatory=mandatory,
        purpose=purpose,
        consents=_consents(section, purpose, around),
        available_from_ms=since,
        available_until_ms=until,
        eligibility=layers["eligibility"],
        applicability=layers["applicability"],
        suitability=layers["suitability"],
        reasons=read_reasons(section, around.language),
        context_weights=read_context_weights(section, around.language),
        attributes=_attributes(section),
        ramp=read_ramp(section, around.time_zone),
        disclosure=section.optional_local_text("disclosure", around.language.locales),
    )
    section.finish()
    return offer


def _group(section: Section, hierarchy: Hierarchy) -> Group:
    name = section.text("group")
    group = hierarchy.groups.get(name)
    if group is not None:
        return group
    if name:
        section.problem(f"unknown group {name}{suggestion(name, tuple(hierarchy.groups))}", "group")
    return Group(name=name, issue="", lever=0.0, model="")


def _layers(section: Section, group: Group, around: Surroundings, *, sales: bool) -> dict[str, tuple[Rule, ...]]:
    """By layer the rules of all offers, of the issue, of the group, and then the offer's own.

    A rejection names one rule, so ids must not repeat over the layers and the policies merged in.
    """
    layers: dict[str, tuple[Rule, ...]] = {}
    seen: set[str] = set()
    for layer in LAYERS:
        inherited = [
            rule
            for policy in around.policies
            if policy.layer == layer and policy.concerns(group.issue, group.name, sales=sales)
            for rule in policy.rules
        ]
        own = read_rules(section, layer, around.language)
        layers[layer] = (*inherited, *own)
        for name in [rule.id for rule in inherited if rule.id] + list({rule.id: None for rule in own if rule.id}):
            if name in seen:
                section.problem(f"the rule {name} applies here twice, counting the policies", layer)
            seen.add(name)
    return layers


def _lever(section: Section, group: Group) -> float:
    lever = group.lever + read_lever(section)
    if lever <= -100:
        section.problem(f"the levers of issue, group and offer add up to {lever:g}; it must be above -100", "lever")
    return lever


def _model(section: Section, group: Group, hierarchy: Hierarchy) -> str:
    model = read_model(section, tuple(hierarchy.models))
    if model is None and group.model is None:
        section.problem("needs a model, its own or its group's")
    return model or group.model or ""


def _consents(section: Section, purpose: str, around: Surroundings) -> tuple[str, ...]:
    consents = section.texts("consents")
    for consent in consents:
        if consent not in around.purposes:
            section.problem(f"unknown consent {consent}{suggestion(consent, around.purposes)}", "consents")
    if purpose == "marketing" and "marketing" not in around.purposes:
        section.problem("a marketing offer needs the consent `marketing` to be declared under consents", "purpose")
    return tuple(dict.fromkeys(consents))


def _risk_level(section: Section, around: Surroundings) -> int | None:
    """The higher of issuer's and seller's rating."""
    node = section.get("risk_level")
    if node is None:
        return None
    if not around.gated:
        section.problem("the strategy has no `suitability` to match a risk level with", "risk_level")
    if isinstance(node, ScalarNode):
        return RISK_LEVELS.get(section.choice("risk_level", tuple(RISK_LEVELS)))
    ratings = Section(node, section.path_of("risk_level"), section.problems)
    levels = [RISK_LEVELS.get(ratings.choice(by, tuple(RISK_LEVELS))) for by in ("issuer", "seller")]
    ratings.finish()
    return max((level for level in levels if level is not None), default=None)


def _attributes(section: Section) -> dict[str, str | float] | None:
    """Facts of the offer itself, texts and numbers."""
    node = section.section("attributes")
    if node is None:
        return None
    found: dict[str, str | float] = {}
    for key in sorted(node.keys()):
        value = node.get(key)
        plain = value.value if isinstance(value, ScalarNode) else None
        if isinstance(plain, bool) or not isinstance(plain, str | int | float):
            node.problem("must be text or a number", key)
        else:
            found[key] = plain if isinstance(plain, str) else float(plain)
    return found


def _treatments(section: Section, offer: str, around: Surroundings) -> tuple[Treatment, ...]:
    sections = section.sections("treatments")
    if not sections:
        section.problem("needs at least one treatment", "treatments")
    treatments = [_treatment(item, offer, around) for item in sections]
    distinct(sections, [treatment.name for treatment in treatments], "name")
    return tuple(sorted(treatments, key=lambda treatment: treatment.name))


def _treatment(section: Section, offer: str, around: Surroundings) -> Treatment:
    short, channel = section.name("name"), section.name("channel")
    treatment = Treatment(
        name=TreatmentName(f"{offer}.{channel}.{short}" if short else ""),
        channel=channel,
        placements=_placements(section, channel, around.placements),
        content=read_content(section, around.language.locales),
        script=section.optional_local_text("script", around.language.locales),
        attributes=_treatment_attributes(section),
        disclosure=section.optional_local_text("disclosure", around.language.locales),
    )
    section.finish()
    return treatment


def _placements(
    section: Section, channel: str, known: Mapping[PlacementId, Placement]
) -> tuple[PlacementId, ...]:  # fmt: skip
    names = [PlacementId(name) for name in section.texts("placements")]
    if not section.given("placements"):
        section.problem("needs at least one placement", "placements")
    for name in names:
        placement = known.get(name)
        if placement is None:
            section.problem(f"unknown placement {name}{suggestion(name, tuple(known))}", "placements")
        elif channel and placement.channel != channel:
            section.problem(f"{name} is a placement of {placement.channel}, not of {channel}", "placements")
    return tuple(sorted(set(names)))


def _treatment_attributes(section: Section) -> dict[str, str] | None:
    node = section.section("attributes")
    return None if node is None else {key: node.text(key) for key in sorted(node.keys())}
