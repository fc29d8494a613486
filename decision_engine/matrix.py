"""One matrix per model: its rows are the offers to score, its columns what the model was fitted on.

What offers contribute is laid out once a strategy; a decision copies the rows it needs and fills in what is the
same for all of them, computed once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from math import nan
from struct import Struct
from struct import error as StructError  # noqa: N812 - the library's name is lower case

import numpy as np

from decision_engine.attribute_selection import AttributeSelection
from decision_engine.decision import DecisionRequest
from decision_engine.features.definitions import Value
from decision_engine.offers import Offer
from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Matrix
from decision_engine.rejections import Indexes

Codes = Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class SharedColumn:
    """A column with the same value in all rows: where it stands, where the value is found, how text is coded."""

    place: int
    source: ColumnSource
    name: str
    codes: Codes


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixPlan:
    """The columns of one model over one strategy's offers; `template` has NaN in the shared columns, `attributes`
    names the customer attributes among them."""

    schema: FeatureSchema
    template: Matrix
    shared: tuple[SharedColumn, ...]
    shared_places: Indexes
    attributes: AttributeSelection
    doubles: Struct | None
    """The shared columns as doubles side by side; None where one of them has codes."""
    names: tuple[str, ...]
    """Those of the shared columns."""
    of_context: tuple[int, ...]
    """Which of the shared columns are no attributes."""


def plan_matrix(schema: FeatureSchema, offers: Sequence[Offer]) -> MatrixPlan:
    """Fills in what the offers contribute."""
    template = np.full((len(offers), len(schema.columns)), nan)
    shared = []
    for place, column in enumerate(schema.columns):
        codes = _codes_of(column)
        if column.source is ColumnSource.OFFER:
            template[:, place] = [encode(_offer_fact(offer, column.name), codes) for offer in offers]
        else:
            shared.append(SharedColumn(place, column.source, column.name, codes))
    places = np.array([column.place for column in shared], np.intp)
    attributes = AttributeSelection(column.name for column in shared if column.source is ColumnSource.ATTRIBUTE)
    coded = any(column.codes is not None for column in shared)
    return MatrixPlan(
        schema=schema,
        template=template,
        shared=tuple(shared),
        shared_places=places,
        attributes=attributes,
        doubles=None if coded else Struct(f"{len(shared)}d"),
        names=tuple(column.name for column in shared),
        of_context=tuple(n for n, column in enumerate(shared) if column.source is not ColumnSource.ATTRIBUTE),
    )


def fill_matrix(
    plan: MatrixPlan, rows: Indexes, attributes: Mapping[str, Value], context: Mapping[str, Value]
) -> Matrix:
    """The rows of the given offers; a missing value is NaN."""
    matrix = plan.template[rows]
    if plan.shared:
        matrix[:, plan.shared_places] = shared_values(plan, attributes, context)
    return matrix


def shared_values(plan: MatrixPlan, attributes: Mapping[str, Value], context: Mapping[str, Value]) -> Matrix:
    """What stands in the shared columns of one decision."""
    if plan.doubles is not None:
        values = list(map(attributes.get, plan.names, repeat(nan)))
        for place in plan.of_context:
            values[place] = context.get(plan.names[place], nan)
        try:  # for numbers alone, which is usual, by far the fastest way
            return np.frombuffer(plan.doubles.pack(*values))
        except (StructError, OverflowError):
            pass
    return np.array(
        [
            encode((attributes if c.source is ColumnSource.ATTRIBUTE else context).get(c.name), c.codes)
            for c in plan.shared
        ]
    )


def context_facts(request: DecisionRequest, local: datetime) -> dict[str, Value]:
    """What context columns can read: the declared context, the channel, the bank's hour and weekday (Monday 0)."""
    return dict(request.context) | {"channel": request.channel, "hour": local.hour, "weekday": local.weekday()}


def encode(value: Value | None, codes: Codes) -> float:
    """A value as a number: categories by their place, truth as 0 or 1; missing, unseen and uncoded text as NaN."""
    if value is None:
        return nan
    if codes is not None:
        return codes.get(value, nan) if isinstance(value, str) else nan
    try:
        return nan if isinstance(value, str) else float(value)
    except OverflowError:  # an integer of any size may stand in a request's context
        return nan


def _codes_of(column: Column) -> Codes:
    if column.categories is None:
        return None
    return {category: float(code) for code, category in enumerate(column.categories)}


def _offer_fact(offer: Offer, name: str) -> Value | None:
    facts: dict[str, Value] = {
        "offer": offer.name,
        "group": offer.group,
        "issue": offer.issue,
        "base_rate": offer.base_rate,
        "value": offer.value,
    }
    return facts[name] if name in facts else (offer.attributes or {}).get(name)
