"""The groups a model is judged between, from all that a running service has of them: what the bank has told, and the
newest snapshot."""

from collections.abc import Mapping
from pathlib import Path

from decision_engine.features.definitions import Value
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.protected_attributes import protected_attributes
from models.errors import TrainingRefused
from models.evaluation.full_report.bank_books import read_books


def recorded_groups(query: LogQuery, snapshots: Path) -> dict[str, Mapping[str, Value]]:
    """By customer the protected attributes of the model's declaration: as archived profile updates told them last, else
    from the newest snapshot. Whoever had himself erased has none; a snapshot that cannot be read is passed over, as a
    fit must not fail for it."""
    names = () if query.training is None else tuple(groups.attribute for groups in query.training.protected)
    if query.training is None or not names:
        return {}
    try:
        found = {who: dict(has) for who, has in protected_attributes(query.training, snapshots, query.zone).items()}
    except TrainingRefused:
        found = {}
    books = read_books(query.archive, names, ())
    for name, told in books.attributes.items():
        for who, history in told.items():
            found.setdefault(who, {})[name] = history[-1][1]
    return {who: has for who, has in found.items() if who not in books.erased}
