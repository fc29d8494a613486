"""Some of the attributes that customers have, looked up together: a decision reads hundreds of them, more than once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import itemgetter

from decision_engine.features.definitions import Value

Values = Mapping[str, Value]


class AttributeSelection:
    """Attributes by name, in the order of their names."""

    __slots__ = ("_values", "names")

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(names))
        # For a customer of whom everything is known, by far the fastest way. Of a single name it would give no tuple.
        several = len(self.names) > 1
        self._values: Callable[[Values], tuple[Value, ...]] | None = itemgetter(*self.names) if several else None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def present(self, known: Values) -> dict[str, Value]:
        """Those of them that are known."""
        if self._values is not None:
            try:
                return dict(zip(self.names, self._values(known), strict=True))
            except KeyError:
                pass
        return {name: known[name] for name in self.names if name in known}

    def values(self, known: Values, missing: Value) -> Sequence[Value]:
        """The value of each, `missing` for what is not known."""
        if self._values is not None:
            try:
                return self._values(known)
            except KeyError:
                pass
        return list(map(known.get, self.names, repeat(missing)))
