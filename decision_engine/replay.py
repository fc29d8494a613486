"""Replay: what a decision must record so that anyone can compute it again, and the snapshot rebuilt from the record."""

from collections.abc import Iterable

from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import Decision
from decision_engine.features.definitions import Value
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import ColumnSource, FeatureSchema, Scorers


def attributes_used(prepared: PreparedStrategy, schemas: Iterable[FeatureSchema]) -> frozenset[str]:
    """The names of the customer attributes that any rule, reason or weight of the strategy, or any column of the
    models, can read."""
    columns = frozenset(
        column.name for schema in schemas for column in schema.columns if column.source is ColumnSource.ATTRIBUTE
    )
    return columns.union(prepared.attributes)


def recorded_attributes(
    prepared: PreparedStrategy, snapshot: CustomerSnapshot, scorers: Scorers | None
) -> dict[str, Value]:
    """The present attributes among those a decision could read. Without scorers (not personalised) only the gates
    read any, so only theirs are recorded."""
    known = snapshot.attributes
    if scorers is None:
        return prepared.gate_attributes.present(known)
    recorded = prepared.attributes.present(known)
    for model in prepared.scoring.models:
        scorer = scorers.get(model)
        if scorer is not None:
            plan = prepared.scoring.matrix_plan(scorer.schema, scorer.version)
            recorded |= plan.attributes.present(known)
    return recorded


def snapshot_of(decision: Decision) -> CustomerSnapshot:
    """The customer as the decision saw them; deciding on it again gives the same decision."""
    return CustomerSnapshot(
        known=decision.known,
        attributes=decision.attributes,
        holdings=frozenset(decision.holdings),
        consents=decision.consents,
        newest_event_ms=decision.newest_event_ms,
    )
