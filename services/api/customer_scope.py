"""Whose customers a client may see: by the beginning of their ids, or by a value of their profile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.features.definitions import Value

MOST_ENTRIES = 200
_KINDS = ("retail:", "corp:")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerScope:
    """A customer is in scope by any of these: a prefix of the id, or an attribute with one of the values."""

    prefixes: tuple[str, ...] = ()
    attributes: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, entries: object) -> "CustomerScope":
        """From entries such as `retail:`, `corp:31` or `owner_manager=M012`. Raises ValueError naming the entry."""
        if not isinstance(entries, Sequence) or isinstance(entries, str) or not 1 <= len(entries) <= MOST_ENTRIES:
            raise ValueError(f"customers must be a list of 1 to {MOST_ENTRIES} entries")
        prefixes, attributes = [], set()
        for entry in entries:
            if not isinstance(entry, str):
                raise ValueError("customers must be texts")
            name, is_attribute, value = entry.partition("=")
            if is_attribute and name.isidentifier() and value:
                attributes.add((name, value))
            elif not is_attribute and entry.startswith(_KINDS):
                prefixes.append(entry)
            else:
                raise ValueError(f"customers: {entry!r} is neither like retail:12 nor like owner_manager=M012")
        return cls(prefixes=tuple(prefixes), attributes=frozenset(attributes))

    def has_id(self, customer_id: str) -> bool:
        """Whether the id alone puts the customer in scope."""
        return customer_id.startswith(self.prefixes)

    def has_profile(self, attributes: Mapping[str, Value]) -> bool:
        """Whether what is known of the customer does; nothing known does not."""
        return any(str(attributes.get(name)) == value for name, value in self.attributes if name in attributes)
