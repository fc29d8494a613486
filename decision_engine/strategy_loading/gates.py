"""Reads consents, the suitability gate, and service before sales."""

from collections.abc import Sequence

from decision_engine.features.definitions import AttributeType
from decision_engine.offers import Rule
from decision_engine.strategy import ConsentPurpose, SuitabilityGate
from decision_engine.strategy_loading.conditions import Vocabulary, read_condition
from decision_engine.strategy_loading.rules import Language, Policy
from decision_engine.strategy_loading.section import CODE, Section, distinct, suggestion


def read_consents(root: Section, locales: Sequence[str]) -> dict[str, ConsentPurpose]:
    """The purposes a person may grant or refuse, by name."""
    sections = root.sections("consents")
    purposes = [_consent(section, locales) for section in sections]
    distinct(sections, [purpose.name for purpose in purposes], "name")
    return {purpose.name: purpose for purpose in purposes}


def _consent(section: Section, locales: Sequence[str]) -> ConsentPurpose:
    purpose = ConsentPurpose(
        name=section.name("name"),
        granted_by_default=section.choice("default", ("granted", "denied")) == "granted",
        text=section.local_text("text", locales),
    )
    section.finish()
    return purpose


def read_suitability(root: Section, vocabulary: Vocabulary) -> SuitabilityGate | None:
    """Where the customer's risk level and its assessment stand; None when the strategy has no such gate."""
    section = root.section("suitability")
    if section is None:
        return None
    gate = SuitabilityGate(
        level_attribute=_attribute(section, "level", AttributeType.INT, vocabulary),
        assessed_attribute=_attribute(section, "assessed_at", AttributeType.TIMESTAMP, vocabulary),
        valid_days=section.integer("valid_days", least=1, most=3_660),
    )
    section.finish()
    return gate


def read_service_first(root: Section, language: Language, issues: Sequence[str]) -> tuple[Policy, ...]:
    """Service before sales: while such a condition holds, or cannot be told, no sales offer of these issues (of all, if
    none is named) may be made. Service messages and mandatory offers go on. Eligibility rules, asked before others."""
    return tuple(
        policy for section in root.sections("service_first") for policy in _service_first(section, language, issues)
    )


def _service_first(section: Section, language: Language, issues: Sequence[str]) -> list[Policy]:
    named = section.texts("issues")
    for issue in named:
        if issue not in issues:
            section.problem(f"unknown issue {issue}{suggestion(issue, issues)}", "issues")
    rule = Rule(
        id=section.name("id"),
        when=f"!({read_condition(section, 'when', language.vocabulary)})",
        code=section.name("code", CODE),
        text=section.local_text("text", language.locales),
    )
    section.finish()
    concerned: Sequence[str | None] = tuple(dict.fromkeys(named)) or (None,)
    return [Policy(layer="eligibility", issue=issue, group=None, rules=(rule,), sales_only=True) for issue in concerned]


def _attribute(section: Section, key: str, wanted: AttributeType, vocabulary: Vocabulary) -> str:
    name = section.text(key)
    kind = vocabulary.types.get(name)
    if not name or name in vocabulary.doubtful:
        return name
    if kind is None:
        section.problem(f"unknown attribute {name}{suggestion(name, sorted(vocabulary.types))}", key)
    elif kind is not wanted:
        section.problem(f"{name} must be a {wanted}, it is a {kind}", key)
    return name
