"""Reads the default of an attribute."""

from decision_engine.features.definitions import AttributeType, Value
from decision_engine.strategy_loading.document import ScalarNode
from decision_engine.strategy_loading.section import Section


def read_default(section: Section, kind: AttributeType) -> Value | None:
    """The value an attribute has while nothing is known, of its type; a double may be written without a point."""
    node = section.get("default")
    if node is None:
        return None
    value = node.value if isinstance(node, ScalarNode) else None
    match kind, value:
        case AttributeType.BOOL, bool():
            return value
        case AttributeType.STRING, str():
            return value
        case AttributeType.DOUBLE, int() | float() if not isinstance(value, bool):
            return float(value)
        case ((AttributeType.INT | AttributeType.TIMESTAMP), int()) if not isinstance(value, bool):
            return value
        case _:
            section.problem(f"the default must be a {kind}", "default")
            return None
