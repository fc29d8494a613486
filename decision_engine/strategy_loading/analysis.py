"""Reads a sound strategy once more for what can hardly be meant: rules for no one, for everyone, or for nothing.

Every finding is certain, as conditions are reasoned about soundly (`conditions.reasoning`): a rule that some customer
could pass is never said to hold for no one. That declared `values` are the only ones a text can have is taken as true.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decision_engine.conditions.atoms import AttributeTest
from decision_engine.conditions.check import NOW, CheckedExpression, checked_condition
from decision_engine.conditions.folding import fold
from decision_engine.conditions.names import rule_types
from decision_engine.conditions.reasoning import Reasoner
from decision_engine.conditions.rendering import render
from decision_engine.conditions.requirements import Alternatives, Requirement, alternatives_of, required_of
from decision_engine.conditions.syntax import Literal, Logical
from decision_engine.features.definitions import AttributeType
from decision_engine.offers import Offer, Rule
from decision_engine.strategy import Strategy
from decision_engine.strategy_loading.analysis_findings import Finding, FindingKind, Place
from decision_engine.strategy_loading.analysis_places import Places
from decision_engine.strategy_loading.analysis_triggers import trigger_findings
from decision_engine.strategy_loading.document import Node

_NO_REQUIREMENT: Alternatives = ((),)


def analyse(strategy: Strategy, document: Node | None = None) -> tuple[Finding, ...]:
    """All findings, each once, in the order of files and lines; errors and warnings together.

    With the document the strategy was read from, every finding says its file and line.
    """
    analysis = _Analysis(strategy, Places(document))
    found = {finding: None for offer in strategy.offers for finding in analysis.of_offer(offer)}
    found |= dict.fromkeys(trigger_findings(strategy, document, analysis.reasoner))
    return tuple(sorted(found, key=lambda f: (f.place.file, f.place.line, f.place.path, f.message)))


@dataclass(frozen=True, slots=True)
class _Condition:
    """A condition as far as it can be reasoned about; `alternatives` is None for one too intricate."""

    checked: CheckedExpression
    text: str
    """As folded: equal texts are equal conditions."""
    constant: bool | None
    alternatives: Alternatives | None


@dataclass(frozen=True, slots=True)
class _Gate:
    """A rule of an offer."""

    rule: Rule
    condition: _Condition
    place: Place
    never: bool

    @property
    def alternatives(self) -> Alternatives:
        """What it asks for; nothing if that is unknown."""
        return _NO_REQUIREMENT if self.condition.alternatives is None else self.condition.alternatives

    @property
    def named(self) -> str:
        """The rule with its place."""
        return f"{self.rule.id} ({self.place.file}:{self.place.line})" if self.place.file else self.rule.id


class _Analysis:
    def __init__(self, strategy: Strategy, places: Places) -> None:
        self._strategy = strategy
        self._places = places
        self._types = rule_types(strategy.dictionary, strategy.declarations.context)
        values = {attribute.name: attribute.values for attribute in strategy.declarations.profile if attribute.values}
        self.reasoner = Reasoner(values)
        self._conditions: dict[str, _Condition] = {}
        self._implied: dict[tuple[str, str], bool] = {}

    def of_offer(self, offer: Offer) -> Iterator[Finding]:
        """What is wrong with the offer's rules one by one, with each other, and with what depends on them."""
        gates = [
            self._gate(offer, section, rule)
            for section in ("eligibility", "applicability", "suitability")
            for rule in getattr(offer, section)
        ]
        for number, gate in enumerate(gates):
            yield from self._alone(gate)
            yield from self._after(gate, gates[:number])
        if any(gate.never for gate in gates):
            return
        together = self._together(offer, gates)
        if not together:
            yield self._contradiction(offer, gates)
            return
        yield from self._unreachable(offer, together)

    def _gate(self, offer: Offer, section: str, rule: Rule) -> _Gate:
        condition = self._condition(rule.when)
        never = condition.alternatives is not None and not self.reasoner.possible(condition.alternatives)
        return _Gate(rule, condition, self._places.of_condition(offer.name, section, rule.id, rule.when), never)

    def _condition(self, when: str) -> _Condition:
        known = self._conditions.get(when)
        if known is None:
            checked = checked_condition(when, self._types)
            folded = fold(checked.expression)
            constant = folded.value is True if isinstance(folded, Literal) else None
            known = _Condition(checked, render(folded), constant, alternatives_of(checked))
            self._conditions[when] = known
        return known

    def _alone(self, gate: _Gate) -> Iterator[Finding]:
        alternatives, name = gate.condition.alternatives, gate.rule.id
        if gate.condition.constant is False:
            yield _finding(FindingKind.SWITCHED_OFF, gate, f"{name} is always false: it refuses everyone")
        elif gate.never:
            yield _finding(FindingKind.NEVER_HOLDS, gate, f"{name} can never hold{self._because(alternatives)}")
        elif gate.condition.constant or (alternatives is not None and self.reasoner.certain(alternatives)):
            yield _finding(FindingKind.ALWAYS_HOLDS, gate, f"{name} always holds: it refuses no one")
        else:
            yield from self._dead_parts(gate)

    def _because(self, alternatives: Alternatives | None) -> str:
        if alternatives is None or len(alternatives) != 1:
            return ""
        texts = [test.text for test in self.reasoner.core(alternatives[0])]
        return f": {_listed(texts)} {'never holds' if len(texts) == 1 else 'exclude each other'}"

    def _dead_parts(self, gate: _Gate) -> Iterator[Finding]:
        checked = gate.condition.checked
        expression = checked.expression
        if not isinstance(expression, Logical) or expression.operator != "||":
            return
        for operand in expression.operands:
            if isinstance(operand, Literal):
                continue
            part = alternatives_of(CheckedExpression(expression=operand, type=checked.type, types=checked.types))
            if part is not None and not self.reasoner.possible(part):
                yield _finding(FindingKind.DEAD_PART, gate, f"in {gate.rule.id} the part {render(operand)} never holds")

    def _after(self, gate: _Gate, earlier: Sequence[_Gate]) -> Iterator[Finding]:
        """What the rules asked before leave of this one."""
        if gate.condition.constant is not None or gate.never:
            return
        for other in earlier:
            if other.condition.text == gate.condition.text:
                yield _finding(FindingKind.DUPLICATE, gate, f"{gate.rule.id} repeats {other.named}")
                return
        shadows = self._shadows(gate, [other for other in earlier if not other.never])
        if shadows:
            ask = "asks for more" if len(shadows) == 1 else "together ask for as much"
            message = f"{gate.rule.id} never refuses anyone: {_listed([other.named for other in shadows])} {ask}"
            yield _finding(FindingKind.SHADOWED, gate, message)

    def _shadows(self, gate: _Gate, earlier: Sequence[_Gate]) -> Sequence[_Gate]:
        """As few earlier rules as imply this one; none if they do not."""
        for other in earlier:
            if self._implies(other, gate):
                return [other]
        related = [other for other in earlier if _related(other, gate)]
        if len(related) < 2 or not self._imply(related, gate):
            return []
        kept = related
        for other in related:
            fewer = [each for each in kept if each is not other]
            if self._imply(fewer, gate):
                kept = fewer
        return kept

    def _imply(self, gates: Sequence[_Gate], gate: _Gate) -> bool:
        """Whether the rules together imply the other; not said of rules that exclude each other."""
        alternatives = gate.condition.alternatives
        if alternatives is None or self.reasoner.certain(alternatives):
            return False
        joined = self._joined(_NO_REQUIREMENT, gates)
        return bool(joined) and self.reasoner.implies(joined, alternatives)

    def _implies(self, first: _Gate, second: _Gate) -> bool:
        if not _related(first, second):
            return False  # at most a rule that always holds, which is said already
        key = (first.rule.when, second.rule.when)
        known = self._implied.get(key)
        if known is None:
            known = self._imply([first], second)
            self._implied[key] = known
        return known

    def _joined(self, joined: Alternatives, gates: Sequence[_Gate]) -> Alternatives:
        for gate in gates:
            joined = self.reasoner.joined(joined, gate.alternatives)
        return joined

    def _together(self, offer: Offer, gates: Sequence[_Gate]) -> Alternatives:
        return self._joined(self._fixed(offer), gates)

    def _fixed(self, offer: Offer) -> Alternatives:
        """What the offer asks for besides its rules: its dates, and the risk match."""
        tests: list[Requirement] = []
        if offer.available_from_ms is not None:
            tests.append(required_of(AttributeTest(NOW, ">=", (offer.available_from_ms,)), "the offer's first day"))
        if offer.available_until_ms is not None:
            tests.append(required_of(AttributeTest(NOW, "<", (offer.available_until_ms,)), "the offer's last day"))
        gate = self._strategy.suitability
        if (
            gate is not None
            and offer.risk_level is not None
            and self._types.get(gate.level_attribute) is AttributeType.INT
        ):
            levels = tuple(range(offer.risk_level, 6))
            level = AttributeTest(gate.level_attribute, "in", levels)
            tests.append(required_of(level, f"the risk match (R{offer.risk_level})"))
            tests.append(required_of(AttributeTest(gate.assessed_attribute, "known", ()), "an assessed risk level"))
        return (tuple(tests),)

    def _contradiction(self, offer: Offer, gates: Sequence[_Gate]) -> Finding:
        """Names as few rules as contradict each other, by leaving out one after another."""
        kept = list(gates)
        for gate in gates:
            others = [other for other in kept if other is not gate]
            if not self._together(offer, others):
                kept = others
        names = [gate.named for gate in kept]
        if self._joined(_NO_REQUIREMENT, kept):  # but for what the offer itself asks
            names.append("its dates or risk level")
        return Finding(
            kind=FindingKind.OFFER_IMPOSSIBLE,
            place=self._places.of_offer(offer.name),
            message=f"no one can ever be offered {offer.name}: {_listed(names)} exclude each other",
        )

    def _unreachable(self, offer: Offer, together: Alternatives) -> Iterator[Finding]:
        whens = [("reasons", reason.code, f"reason {reason.code}", reason.when) for reason in offer.reasons]
        whens += [("context_weights", "", f"context weight {w.when}", w.when) for w in offer.context_weights]
        for section, label, name, when in whens:
            condition = self._condition(when)
            if condition.constant is True or condition.alternatives is None:
                continue
            alone = self.reasoner.possible(condition.alternatives)
            if alone and self.reasoner.compatible(together, condition.alternatives):
                continue
            why = f"the rules of {offer.name} exclude it" if alone else "its condition can never hold"
            place = self._places.of_condition(offer.name, section, label, when)
            yield Finding(kind=FindingKind.UNREACHABLE, place=place, message=f"the {name} never counts: {why}")


def _finding(kind: FindingKind, gate: _Gate, message: str) -> Finding:
    return Finding(kind=kind, place=gate.place, message=message)


def _related(first: _Gate, second: _Gate) -> bool:
    """Whether both read something in common, or one of them something that has no name: products, the time."""
    one, other = first.condition.checked.types.keys(), second.condition.checked.types.keys()
    return not one or not other or not one.isdisjoint(other)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
