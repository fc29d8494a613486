"""By whose groups a model is judged: attributes that decisions do not record, read from the newest snapshot."""

from collections.abc import Mapping
from datetime import tzinfo
from pathlib import Path

from decision_engine.features.definitions import Value
from decision_engine.model_training import ModelTraining
from models.decision_log.state_snapshots import read_states, snapshot_days


def protected_attributes(training: ModelTraining, snapshots: Path, zone: tzinfo) -> dict[str, Mapping[str, Value]]:
    """By customer the protected attributes of the model's declaration, of those who may be profiled; nothing where
    none are declared or there is no snapshot. Raises TrainingRefused for one that cannot be read."""
    names = [groups.attribute for groups in training.protected]
    days = snapshot_days(snapshots) if names else []
    if not days:
        return {}
    newest = read_states(snapshots, days[-1], zone)
    return {
        customer: newest.attributes(row, names)
        for row, customer in enumerate(newest.customers)
        if newest.personalised[row]
    }
