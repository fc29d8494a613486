"""Whether a strategy can fill the columns a model was fitted on."""

from dataclasses import dataclass

from decision_engine.errors import SchemaMismatch
from decision_engine.features.definitions import AttributeType
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from decision_engine.strategy import Strategy

_ENGINE_CONTEXT = {"channel": True, "hour": False, "weekday": False}
_ENGINE_OFFER = {"offer": True, "group": True, "issue": True, "base_rate": False, "value": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailableColumns:
    """Source and name of every column that can be filled, and whether it holds text."""

    texts: frozenset[tuple[ColumnSource, str]]
    numbers: frozenset[tuple[ColumnSource, str]]

    def require(self, schema: FeatureSchema) -> None:
        """Raises SchemaMismatch naming every column that cannot be filled."""
        if missing := [column for column in schema.columns if not self._fills(column)]:
            shown = ", ".join(f"{column.source}.{column.name}" for column in missing[:10])
            more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
            raise SchemaMismatch(f"the strategy cannot fill {shown}{more}: train the model with this strategy")

    def _fills(self, column: Column) -> bool:
        return (column.source, column.name) in (self.numbers if column.categories is None else self.texts)


def available_columns(strategy: Strategy) -> AvailableColumns:
    """What the strategy's dictionary, its context and its offers can supply; not what marketing may not use."""
    declared, barred = strategy.declarations.context, strategy.out_of_marketing
    attributes = [info for info in strategy.dictionary.values() if info.name not in barred]
    offered = {
        name for offer in strategy.offers for name, value in (offer.attributes or {}).items() if _is_number(value)
    }
    texts = {
        *((ColumnSource.ATTRIBUTE, i.name) for i in attributes if i.type is AttributeType.STRING),
        *((ColumnSource.CONTEXT, c.name) for c in declared if c.type is AttributeType.STRING),
        *((ColumnSource.CONTEXT, name) for name, text in _ENGINE_CONTEXT.items() if text),
        *((ColumnSource.OFFER, name) for name, text in _ENGINE_OFFER.items() if text),
    }
    numbers = {
        *((ColumnSource.ATTRIBUTE, i.name) for i in attributes if i.type is not AttributeType.STRING),
        *((ColumnSource.CONTEXT, c.name) for c in declared if c.type is not AttributeType.STRING),
        *((ColumnSource.CONTEXT, name) for name, text in _ENGINE_CONTEXT.items() if not text),
        *((ColumnSource.OFFER, name) for name, text in _ENGINE_OFFER.items() if not text),
        *((ColumnSource.OFFER, name) for name in offered),
    }
    return AvailableColumns(texts=frozenset(texts), numbers=frozenset(numbers))


def _is_number(value: str | float) -> bool:
    return not isinstance(value, str)
