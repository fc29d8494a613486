"""What can hardly be meant in a trigger: guards no customer can meet, or everyone does."""

from collections.abc import Iterator

from decision_engine.conditions.check import checked_condition
from decision_engine.conditions.folding import fold
from decision_engine.conditions.reasoning import Reasoner
from decision_engine.conditions.requirements import alternatives_of
from decision_engine.conditions.syntax import Literal
from decision_engine.features.definitions import AttributeType
from decision_engine.strategy import Strategy
from decision_engine.strategy_loading.analysis_findings import Finding, FindingKind, Place
from decision_engine.strategy_loading.document import Entry, ListNode, MapNode, Node, ScalarNode
from decision_engine.triggers.guards import guard_types

_GUARDS = ("before", "when")


def trigger_findings(strategy: Strategy, document: Node | None, reasoner: Reasoner) -> Iterator[Finding]:
    """The guards of all triggers that can never hold, always hold, or are plainly false."""
    for trigger in strategy.triggers:
        types = guard_types(strategy.dictionary, trigger.fields)
        for key in _GUARDS:
            text = trigger.before if key == "before" else trigger.when
            found = None if text is None else _judged(text, types, reasoner)
            if found is not None:
                kind, what = found
                place = _place(document, trigger.name, key)
                yield Finding(kind=kind, place=place, message=f"the guard {key} of {trigger.name} {what}")


def _judged(text: str, types: dict[str, AttributeType], reasoner: Reasoner) -> tuple[FindingKind, str] | None:
    checked = checked_condition(text, types)
    folded = fold(checked.expression)
    alternatives = alternatives_of(checked)
    if isinstance(folded, Literal) and folded.value is False:
        return FindingKind.SWITCHED_OFF, "is always false: it never fires"
    if alternatives is not None and not reasoner.possible(alternatives):
        return FindingKind.NEVER_HOLDS, "can never hold: it never fires"
    if isinstance(folded, Literal) or (alternatives is not None and reasoner.certain(alternatives)):
        return FindingKind.ALWAYS_HOLDS, "always holds"
    return None


def _place(document: Node | None, trigger: str, key: str) -> Place:
    """Where the guard was written."""
    path = f"triggers[{trigger}].{key}"
    for entry in _entries(_under(document, "triggers"), trigger):
        if entry.key == key:
            return Place(path, entry.value.file, entry.value.line)
    return Place(path)


def _under(document: Node | None, key: str) -> Node | None:
    entries = document.entries if isinstance(document, MapNode) else ()
    return next((entry.value for entry in entries if entry.key == key), None)


def _entries(triggers: Node | None, name: str) -> tuple[Entry, ...]:
    for item in triggers.items if isinstance(triggers, ListNode) else ():
        found = _under(item, "name")
        if isinstance(item, MapNode) and isinstance(found, ScalarNode) and found.value == name:
            return item.entries
    return ()
