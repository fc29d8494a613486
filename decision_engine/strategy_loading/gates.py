"""Reads consents, the suitability gate, exploration and the experiment."""

from collections.abc import Mapping, Sequence

from decision_engine.features.definitions import AttributeType
from decision_engine.strategy import ConsentPurpose, Experiment, Exploration, SuitabilityGate
from decision_engine.strategy_loading.conditions import Vocabulary
from decision_engine.strategy_loading.section import Section, distinct, suggestion

ARMS = ("random_eligible", "holdout")
"""Control arms an experiment can have beside the full arbitration."""


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


def read_exploration(root: Section) -> Exploration:
    """`off` unless declared."""
    section = root.section("exploration")
    if section is None:
        return Exploration()
    kind = section.choice("kind", ("off", "epsilon_greedy"))
    default = None if kind == "epsilon_greedy" else 0.0
    exploration = Exploration(kind=kind, epsilon=section.number("epsilon", default, least=0, most=1))
    section.finish()
    return exploration


def read_experiment(root: Section, name: str) -> Experiment:
    """Without one nobody is in a control arm; the salt then is the strategy's name."""
    section = root.section("experiment")
    if section is None:
        return Experiment(salt=name, shares={})
    salt = section.text("salt")
    shares = _shares(section)
    section.finish()
    return Experiment(salt=salt, shares=shares)


def _shares(section: Section) -> Mapping[str, float]:
    node = section.section("shares")
    if node is None:
        return {}
    shares = {arm: node.number(arm, 0.0, least=0, most=1) for arm in ARMS}
    node.finish()
    if sum(shares.values()) > 1:
        section.problem(f"the shares add up to {sum(shares.values()):g}, at most 1 is possible", "shares")
    return {arm: share for arm, share in shares.items() if share > 0}
