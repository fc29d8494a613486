"""What off-policy evaluation starts from: choices that were recorded with their chances, and a policy to be judged.

A choice is one draw of the policy that made the log: the chance it had, and the reward that followed. The judged policy
is known only by numbers, one a choice, so it may be a deterministic ranking, a strategy decided again, or a lottery.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import EvaluationRefused

Vector = NDArray[np.float64]
Numbers = NDArray[np.intp]

_ROUNDING = 1e-9
"""Sums of probabilities may be above 1 by so much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedChoices:
    """The log: per choice the reward and its logged selection probability. `clusters` numbers whose choice it was, as
    one customer's choices are alike; None when every choice stands alone."""

    rewards: Vector
    logged: Vector
    clusters: Numbers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A model's expected reward per choice: of the option `chosen` by the log, and the mean `expected` under the judged
    policy. The model must not have learnt from the reward of the same choice."""

    chosen: Vector
    expected: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPolicy:
    """A policy by its probabilities, per choice: `chances` of the recorded option, `idle` of offering nothing at all,
    which earns nothing, and `unsupported` of options that the log had no chance to show."""

    chances: Vector
    idle: Vector | None = None
    unsupported: Vector | None = None
    predictions: Predictions | None = None


def require_sound(choices: RecordedChoices, policy: JudgedPolicy) -> None:
    """Raises EvaluationRefused naming the first array that cannot be what it should be."""
    rows = choices.rewards.shape
    if not choices.rewards.size:
        raise EvaluationRefused("no recorded choices")
    _require_finite("rewards", choices.rewards, rows)
    _require_chances("logged selection probabilities", choices.logged, rows)
    if not bool(np.all(choices.logged > 0)):
        raise EvaluationRefused("logged selection probabilities must lie in (0, 1]: an impossible choice was recorded")
    if choices.clusters is not None and choices.clusters.shape != rows:
        raise EvaluationRefused(f"clusters have shape {choices.clusters.shape}, rewards {rows}")
    _require_chances("target probabilities", policy.chances, rows)
    for name, part in (("idle", policy.idle), ("unsupported", policy.unsupported)):
        if part is not None:
            _require_chances(f"{name} probabilities", part, rows)
    if policy.predictions is not None:
        _require_finite("predicted rewards of the choices", policy.predictions.chosen, rows)
        _require_finite("predicted rewards of the policy", policy.predictions.expected, rows)


def importance_weights(target: Vector, logged: Vector) -> Vector:
    """Target over logged probability. Raises EvaluationRefused where a logged probability is not in (0, 1]."""
    if not bool(np.all((logged > 0) & (logged <= 1 + _ROUNDING))):
        raise EvaluationRefused("logged selection probabilities must lie in (0, 1]")
    if not bool(np.all((target >= 0) & (target <= 1 + _ROUNDING))):
        raise EvaluationRefused("target probabilities must lie in [0, 1]")
    return np.asarray(target / logged, dtype=np.float64)


def _require_finite(name: str, values: Vector, rows: tuple[int, ...]) -> None:
    if values.shape != rows:
        raise EvaluationRefused(f"{name} have shape {values.shape}, rewards {rows}")
    if not bool(np.all(np.isfinite(values))):
        raise EvaluationRefused(f"{name} must be finite; row {int(np.argmin(np.isfinite(values)))} is not")


def _require_chances(name: str, values: Vector, rows: tuple[int, ...]) -> None:
    _require_finite(name, values, rows)
    if not bool(np.all((values >= 0) & (values <= 1 + _ROUNDING))):
        raise EvaluationRefused(f"{name} must lie in [0, 1]")
