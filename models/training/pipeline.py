"""From the archive to a registered version, in one straight line."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from decision_engine.model_training import ModelTraining
from models.decision_log.examples import Example
from models.decision_log.labelled_rows import LogQuery, Progress, example_set, labelled_examples
from models.manifest import Manifest
from models.registry import ModelRegistry
from models.training.disclosure import disclosure_of
from models.training.fit import FittedModel, fit_model
from models.training.settings import FitSettings
from models.training.settings_of import declared


def train_version(
    query: LogQuery, settings: FitSettings, registry: ModelRegistry, created_at: datetime, progress: Progress
) -> Manifest:
    """Reads, joins, fits, judges and registers. Raises TrainingRefused and RegistryError."""
    fitted = fit_query(query, labelled_examples(query, progress), settings, progress)
    manifest = registry.save(fitted.draft, fitted.files, created_at)
    progress(f"registered {manifest.version}")
    return manifest


def fit_query(query: LogQuery, examples: Sequence[Example], settings: FitSettings, progress: Progress) -> FittedModel:
    """Fits the query's model on its labelled rows as the strategy declares it. Raises TrainingRefused."""
    training = query.training or ModelTraining(name=query.model)
    # Groups a model is judged between are no inputs.
    query = replace(query, excluded=query.excluded | {groups.attribute for groups in training.protected})
    rows = example_set(query, examples)
    people = ({**e.decision.attributes, **query.protected.get(e.decision.customer_id, {})} for e in examples)
    disclosure = disclosure_of(training, query.meanings, query.excluded, people)
    return fit_model(query.model, rows, query.attribution_seconds, declared(settings, training), progress, disclosure)
