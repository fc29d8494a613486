"""Reads rules, reasons and weights, and the policies that give rules to many offers at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from decision_engine.offers import ContextWeight, Reason, Rule
from decision_engine.strategy_loading.conditions import Vocabulary, read_condition
from decision_engine.strategy_loading.section import CODE, Section, distinct, suggestion

LAYERS = ("eligibility", "applicability", "suitability")


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """What rules are written in: the names of their conditions, the locales of their texts."""

    vocabulary: Vocabulary
    locales: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Rules of one layer for all offers, for an issue, or for a group."""

    layer: str
    issue: str | None
    group: str | None
    rules: tuple[Rule, ...]
    sales_only: bool = False

    def concerns(self, issue: str, group: str, *, sales: bool) -> bool:
        """Whether an offer of that issue and group is under it; `sales` are marketing offers that are not mandatory."""
        return self.issue in (None, issue) and self.group in (None, group) and (sales or not self.sales_only)

    @property
    def breadth(self) -> int:
        """Sorts the widest scope first: all, issue, group."""
        return 2 if self.group is not None else 1 if self.issue is not None else 0


def read_policies(
    root: Section, language: Language, groups: Sequence[str], issues: Sequence[str]
) -> tuple[Policy, ...]:
    """The policies, widest scope first."""
    policies = [_policy(section, language, groups, issues) for section in root.sections("policies")]
    return tuple(sorted(policies, key=lambda policy: policy.breadth))


def read_rules(section: Section, key: str, language: Language) -> tuple[Rule, ...]:
    """A list of rules with distinct ids."""
    sections = section.sections(key)
    rules = tuple(_rule(item, language) for item in sections)
    distinct(sections, [rule.id for rule in rules], "id")
    return rules


def read_reasons(section: Section, language: Language) -> tuple[Reason, ...]:
    """Why an offer fits, the most telling first."""
    sections = section.sections("reasons")
    reasons = tuple(_reason(item, language) for item in sections)
    distinct(sections, [reason.code for reason in reasons], "code")
    return reasons


def read_context_weights(section: Section, language: Language) -> tuple[ContextWeight, ...]:
    """Percentages that count when their condition holds."""
    return tuple(_weight(item, language) for item in section.sections("context_weights"))


def read_lever(section: Section, key: str = "lever") -> float:
    """A percentage: 0 unless given, above -100, for a factor that is not positive could never be undone."""
    lever = section.number(key, 0.0, least=-100, most=10_000)
    if lever == -100:
        section.problem("must be above -100: it is applied as 1 + percentage / 100", key)
        return 0.0
    return lever


def _policy(section: Section, language: Language, groups: Sequence[str], issues: Sequence[str]) -> Policy:
    issue, group = _scope(section, groups, issues)
    layer = section.choice("layer", LAYERS)
    rules = read_rules(section, "rules", language)
    if not section.given("rules"):
        section.problem("a policy needs rules")
    section.finish()
    return Policy(layer=layer, issue=issue, group=group, rules=rules)


def _scope(section: Section, groups: Sequence[str], issues: Sequence[str]) -> tuple[str | None, str | None]:
    node = section.require("scope")
    if node is None or getattr(node, "value", None) == "all":
        return None, None
    scope = Section(node, section.path_of("scope"), section.problems)
    issue, group = scope.optional_text("issue"), scope.optional_text("group")
    if (issue is None) == (group is None):
        scope.problem("must be all, {issue: …} or {group: …}")
    if issue is not None and issue not in issues:
        scope.problem(f"unknown issue {issue}{suggestion(issue, issues)}", "issue")
    if group is not None and group not in groups:
        scope.problem(f"unknown group {group}{suggestion(group, groups)}", "group")
    scope.finish()
    return issue, group


def _rule(section: Section, language: Language) -> Rule:
    rule = Rule(
        id=section.name("id"),
        when=read_condition(section, "when", language.vocabulary),
        code=section.name("code", CODE),
        text=section.local_text("text", language.locales),
    )
    section.finish()
    return rule


def _reason(section: Section, language: Language) -> Reason:
    reason = Reason(
        code=section.name("code", CODE),
        when=read_condition(section, "when", language.vocabulary),
        text=section.local_text("text", language.locales),
    )
    section.finish()
    return reason


def _weight(section: Section, language: Language) -> ContextWeight:
    if section.get("weight") is None:
        section.problem("is missing", "weight")
    weight = ContextWeight(
        when=read_condition(section, "when", language.vocabulary), weight=read_lever(section, "weight")
    )
    section.finish()
    return weight
