"""Tuning: parameters of the trees, tried on the validation part alone.

Optuna's tree-structured Parzen estimator with the fit's own seed; the first trial is the parameters as they stand, so
the best is never worse than they are on that part. The judged part is not looked at.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from models.calibration import sigmoid
from models.decision_log.design_matrix import ExampleSet
from models.decision_log.labelled_rows import Progress
from models.errors import TrainingRefused
from models.evaluation.log_loss import losses
from models.training.boosting import boost, margins_of, positive_weight
from models.training.settings import FitSettings
from models.training.time_split import TimeParts

TUNED = ("learning_rate", "leaves", "min_rows_in_leaf", "feature_fraction", "bagging_fraction", "lambda_l2")
"""The parameters that are tried."""


def tuned(examples: ExampleSet, parts: TimeParts, settings: FitSettings, progress: Progress) -> FitSettings:
    """The settings with the parameters of the best trial. Raises TrainingRefused where Optuna is not installed."""
    optuna = _optuna()
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=settings.seed))
    study.enqueue_trial({name: getattr(settings, name) for name in TUNED})

    def told(study: Any, trial: Any) -> None:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in trial.params.items())
        best = f"best {study.best_value:.6f}"
        progress(f"trial {trial.number + 1} of {settings.tune}: validation loss {trial.value:.6f}, {best} ({shown})")

    study.optimize(_objective(examples, parts, settings), n_trials=settings.tune, callbacks=[told])
    return replace(settings, **study.best_params)


def _objective(examples: ExampleSet, parts: TimeParts, settings: FitSettings) -> Callable[[Any], float]:
    labels = examples.labels[parts.validation]
    shift = float(np.log(positive_weight(examples.labels[parts.fitting], settings.balance)))

    def loss(trial: Any) -> float:
        tried = replace(
            settings,
            learning_rate=trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
            leaves=trial.suggest_int("leaves", 4, 63, log=True),
            min_rows_in_leaf=trial.suggest_int("min_rows_in_leaf", 10, 200, log=True),
            feature_fraction=trial.suggest_float("feature_fraction", 0.2, 1.0),
            bagging_fraction=trial.suggest_float("bagging_fraction", 0.5, 1.0),
            lambda_l2=trial.suggest_float("lambda_l2", 0.1, 100.0, log=True),
        )
        margins = margins_of(boost(examples, parts.growing, tried), examples, parts.validation)
        return float(losses(labels, sigmoid(margins - shift)).mean())

    return loss


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise TrainingRefused("tuning needs Optuna: install the extra, pip install 'kairos-nbo[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
