"""Finds where a condition of the strategy was written: a merged rule no longer says which policy it came from."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decision_engine.strategy_loading.analysis_findings import Place
from decision_engine.strategy_loading.document import ListNode, MapNode, Node, ScalarNode

_LABELS = ("name", "id", "code")
"""Keys whose value names an entry of a list in a path."""


@dataclass(frozen=True, slots=True)
class Written:
    """A condition that stands in the document: the offer it belongs to (None: a policy or the like), and where."""

    offer: str | None
    place: Place


class Places:
    """All conditions of a document by their label (a rule's id, a reason's code) and text."""

    def __init__(self, document: Node | None = None) -> None:
        self._written: dict[tuple[str, str], list[Written]] = defaultdict(list)
        self._offers: dict[str, Place] = {}
        if document is not None:
            self._walk(document, "", None)

    def of_offer(self, offer: str) -> Place:
        """Where the offer begins."""
        return self._offers.get(offer, Place(f"offers[{offer}]"))

    def of_condition(self, offer: str, section: str, label: str, when: str) -> Place:
        """Where a condition of the offer was written: in the offer itself, or else outside all offers."""
        found = self._written.get((label, when.strip()), [])
        for wanted in (offer, None):
            for written in found:
                if written.offer == wanted:
                    return written.place
        return Place(f"offers[{offer}].{section}[{label}]")

    def _walk(self, node: Node, path: str, offer: str | None) -> None:
        if isinstance(node, ListNode):
            self._walk_list(node, path, offer)
        elif isinstance(node, MapNode):
            self._note(node, path, offer)
            for entry in node.entries:
                self._walk(entry.value, f"{path}.{entry.key}" if path else entry.key, offer)

    def _walk_list(self, node: ListNode, path: str, offer: str | None) -> None:
        for number, item in enumerate(node.items):
            label = next(_texts(item, _LABELS), str(number))
            inside = f"{path}[{label}]"
            if path == "offers":
                self._offers.setdefault(label, Place(inside, item.file, item.line))
            self._walk(item, inside, label if path == "offers" else offer)

    def _note(self, node: MapNode, path: str, offer: str | None) -> None:
        when = next((entry.value for entry in node.entries if entry.key == "when"), None)
        if isinstance(when, ScalarNode) and isinstance(when.value, str):
            label = next(_texts(node, ("id", "code")), "")
            place = Place(f"{path}.when", when.file, when.line)
            text = when.value.strip()
            for known in (text, f"!({text})"):  # a gate such as service_first asks for the opposite of what is written
                self._written[label, known].append(Written(offer, place))


def _texts(node: Node, keys: Sequence[str]) -> Iterator[str]:
    """The texts under the keys, in the order of the mapping."""
    if isinstance(node, MapNode):
        for entry in node.entries:
            if entry.key in keys and isinstance(entry.value, ScalarNode) and isinstance(entry.value.value, str):
                yield entry.value.value
