"""Every distinct condition of a strategy has one bit; a decision evaluates all of them at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from decision_engine.conditions.check import checked_condition
from decision_engine.conditions.evaluation import Facts
from decision_engine.conditions.predicate_index import PredicateIndex
from decision_engine.conditions.syntax import Call, Expression, children, names_in
from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import DecisionRequest
from decision_engine.features.definitions import AttributeType
from decision_engine.offers import Offer
from decision_engine.online import segment_condition
from decision_engine.rejections import Mask
from decision_engine.strategy import Strategy

CONTEXT_PREFIX = "context."
_REQUEST_NAMES = frozenset({"channel", "now"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionBits:
    """The compiled conditions. `places` maps a text to its bit; `attributes` are, per bit, the customer attributes
    it reads; `neutral` marks the bits that read nothing about the customer, holdings included."""

    index: PredicateIndex
    places: Mapping[str, int]
    attributes: tuple[frozenset[str], ...]
    neutral: Mask

    def __len__(self) -> int:
        return len(self.places)

    def evaluate_all(self, asked: Sequence[tuple[DecisionRequest, CustomerSnapshot]]) -> Mask:
        """The same for many, one a row."""
        size = (len(self) + 7) // 8
        held = self.index.evaluate_all([_facts(request, snapshot) for request, snapshot in asked])
        packed = np.frombuffer(b"".join([mask.to_bytes(size, "little") for mask in held]), np.uint8)
        rows = packed.reshape(len(held), size)
        return np.unpackbits(rows, axis=1, count=len(self), bitorder="little").view(np.bool_)

    def evaluate(self, request: DecisionRequest, snapshot: CustomerSnapshot) -> Mask:
        """Which conditions hold; unknown counts as not."""
        held = self.index.evaluate(_facts(request, snapshot))
        packed = np.frombuffer(held.to_bytes((len(self) + 7) // 8, "little"), np.uint8)
        return np.unpackbits(packed, count=len(self), bitorder="little").view(np.bool_)


def _facts(request: DecisionRequest, snapshot: CustomerSnapshot) -> Facts:
    values = dict(snapshot.attributes)
    for name, value in request.context.items():
        values[CONTEXT_PREFIX + name] = value
    values["channel"] = request.channel
    return Facts(values, snapshot.holdings, request.now_ms)


def compile_conditions(strategy: Strategy) -> ConditionBits:
    """Compiles every condition of every offer, each text once. Raises ConditionError for an unchecked strategy."""
    texts = list(dict.fromkeys(text for offer in strategy.offers for text in _texts_of(offer)))
    segments = () if strategy.online is None else strategy.online.segments
    texts = list(dict.fromkeys([*texts, *map(segment_condition, segments)]))
    types = _types_of(strategy)
    compiled = [(text, checked_condition(text, types)) for text in texts]
    # Side by side, the conditions on one attribute make narrow groups in the index.
    compiled.sort(key=lambda each: sorted(names_in(each[1].expression)))
    texts, checked = [text for text, _ in compiled], [condition for _, condition in compiled]
    attributes = tuple(frozenset(_customer_names(condition.expression)) for condition in checked)
    neutral = [not names and not _asks_holdings(c.expression) for c, names in zip(checked, attributes, strict=True)]
    return ConditionBits(
        index=PredicateIndex.build(checked),
        places={text: place for place, text in enumerate(texts)},
        attributes=attributes,
        neutral=np.array(neutral, np.bool_),
    )


def _texts_of(offer: Offer) -> Iterator[str]:
    for rule in (*offer.eligibility, *offer.applicability, *offer.suitability):
        yield rule.when
    for reason in offer.reasons:
        yield reason.when
    for weight in offer.context_weights:
        yield weight.when


def _types_of(strategy: Strategy) -> dict[str, AttributeType]:
    types = {name: info.type for name, info in strategy.dictionary.items()}
    types |= {CONTEXT_PREFIX + fact.name: fact.type for fact in strategy.declarations.context}
    return types | {"channel": AttributeType.STRING}


def _customer_names(expression: Expression) -> Iterable[str]:
    return (name for name in names_in(expression) if not name.startswith(CONTEXT_PREFIX) and name not in _REQUEST_NAMES)


def _asks_holdings(expression: Expression) -> bool:
    if isinstance(expression, Call) and expression.function == "has_product":
        return True
    return any(_asks_holdings(child) for child in children(expression))
