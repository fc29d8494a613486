"""The names a strategy's rules may use."""

from collections.abc import Mapping, Sequence

from decision_engine.features.definitions import AttributeInfo, AttributeType, ContextAttribute

CHANNEL = "channel"
"""The channel of the request."""


def rule_types(
    dictionary: Mapping[str, AttributeInfo], context: Sequence[ContextAttribute]
) -> dict[str, AttributeType]:
    """Every name a rule may use with its type: the dictionary's attributes, `context.<name>` and `channel`."""
    types = {name: info.type for name, info in dictionary.items()}
    types |= {f"context.{attribute.name}": attribute.type for attribute in context}
    types[CHANNEL] = AttributeType.STRING
    return types
