"""From the archive to a registered version, in one straight line."""

from datetime import datetime

from models.decision_log.labelled_rows import LogQuery, Progress, example_set, labelled_examples
from models.manifest import Manifest
from models.registry import ModelRegistry
from models.training.fit import FitSettings, fit_model


def train_version(
    query: LogQuery, settings: FitSettings, registry: ModelRegistry, created_at: datetime, progress: Progress
) -> Manifest:
    """Reads, joins, fits, judges and registers. Raises TrainingRefused and RegistryError."""
    examples = example_set(query, labelled_examples(query, progress))
    fitted = fit_model(query.model, examples, query.attribution_seconds, settings, progress)
    manifest = registry.save(fitted.draft, fitted.files, created_at)
    progress(f"registered {manifest.version}")
    return manifest
