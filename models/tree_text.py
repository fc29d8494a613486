"""LightGBM's text format for boosted trees, read into plain arrays.

The format and the meaning of its fields follow LightGBM's own `Tree` (`io/tree.cpp`, `include/LightGBM/tree.h`):
bit 0 of a decision type says categorical, bit 1 that missing values go left, bits 2 and 3 what counts as missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from models.errors import ArtifactUnreadable

_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT = 1, 2, 2
_WORD = 32


class Missing(IntEnum):
    """What a node takes for a missing value."""

    NOTHING = 0
    ZERO = 1
    NAN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One question. Values up to `threshold`, or in `categories`, go left; the leaves `[first, middle)` are to the left
    of it, `[middle, last)` to the right."""

    column: int
    threshold: float
    categories: frozenset[int] | None
    missing: Missing
    default_left: bool
    first: int
    middle: int
    last: int


@dataclass(frozen=True, slots=True)
class Tree:
    """Its questions, and the values of its leaves from left to right."""

    nodes: tuple[Node, ...]
    leaves: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TreeModel:
    """Trees to be summed in this order, over so many columns."""

    columns: int
    trees: tuple[Tree, ...]


def read_trees(text: str) -> TreeModel:
    """The trees of a model with one output that is their plain sum. Raises ArtifactUnreadable for any other."""
    head, *blocks = text.partition("\nend of trees")[0].split("\nTree=")
    facts = _fields(head)
    if facts.get("num_class") != "1" or facts.get("num_tree_per_iteration") != "1" or "average_output" in head:
        raise ArtifactUnreadable("not one sum of trees")
    try:
        return TreeModel(int(facts["max_feature_idx"]) + 1, tuple(_tree(_fields(block)) for block in blocks))
    except (KeyError, ValueError, IndexError) as error:
        raise ArtifactUnreadable(f"trees cannot be read: {error!r}") from error


def _fields(block: str) -> dict[str, str]:
    parted = (line.partition("=") for line in block.splitlines())
    return {name: value for name, equals, value in parted if equals}


def _tree(fields: Mapping[str, str]) -> Tree:
    if fields.get("is_linear", "0") != "0":
        raise ValueError("linear leaves")
    values = _numbers(fields["leaf_value"])
    if len(values) == 1:
        return Tree((), tuple(values))
    asked = list(_questions(fields))
    left, right = _whole(fields["left_child"]), _whole(fields["right_child"])
    order: list[float] = []
    spans: dict[int, tuple[int, int, int]] = {}
    # An own stack: trees may be deeper than the interpreter's.
    stack: list[tuple[int, int]] = [(0, 0)]
    while stack:
        node, step = stack.pop()
        if node < 0:
            order.append(values[~node])
        elif step == 0:
            if node in spans:
                raise ValueError("a node that is its own ancestor, or has two parents")
            spans[node] = (len(order), 0, 0)
            stack += [(node, 1), (left[node], 0)]
        elif step == 1:
            spans[node] = (spans[node][0], len(order), 0)
            stack += [(node, 2), (right[node], 0)]
        else:
            spans[node] = (*spans[node][:2], len(order))
    if len(order) != len(values) or len(spans) != len(asked):
        raise ValueError("children that make no tree")
    return Tree(tuple(_node(asked[at], spans[at]) for at in range(len(asked))), tuple(order))


_Question = tuple[int, int, float, frozenset[int] | None]
"""Column, decision type, threshold, categories."""


def _questions(fields: Mapping[str, str]) -> Iterator[_Question]:
    bounds = _whole(fields.get("cat_boundaries", "0"))
    words = _whole(fields.get("cat_threshold", ""))
    triples = zip(
        _whole(fields["split_feature"]),
        _whole(fields["decision_type"]),
        _numbers(fields["threshold"]),
        strict=True,
    )
    for column, kind, threshold in triples:
        if not kind & _CATEGORICAL:
            yield column, kind, threshold, None
            continue
        bitset = words[bounds[int(threshold)] : bounds[int(threshold) + 1]]
        found = (place for place in range(_WORD * len(bitset)) if bitset[place // _WORD] >> place % _WORD & 1)
        yield column, kind, threshold, frozenset(found)


def _node(question: _Question, span: tuple[int, int, int]) -> Node:
    column, kind, threshold, categories = question
    first, middle, last = span
    return Node(
        column=column,
        threshold=threshold,
        categories=categories,
        missing=Missing(kind >> _MISSING_SHIFT & 3),
        default_left=bool(kind & _DEFAULT_LEFT),
        first=first,
        middle=middle,
        last=last,
    )


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.split()]


def _whole(text: str) -> list[int]:
    return [int(word) for word in text.split()]
