"""The value of a ranking of several places, by one of three assumptions about how its places belong together.

standard        a place's reward may depend on everything in the slate. Weight: the ratio for the whole slate. Nothing
                is assumed, and with more than two or three places hardly a slate agrees.
cascade         it depends on its own option and those above it, as for a reader who goes from the top down and stops.
                Weight of place k: the ratio for places 1 to k.
item_position   it depends on its own option and the place alone (the examination model): what stands beside it neither
                helps nor harms. Weight of place k: the ratio of the chances that this option stands at k. Wrong where
                offers compete for one click or one acceptance; then use cascade.

Sources: S. Li et al., Offline evaluation of ranking policies with click models, KDD 2018 (item-position); J. McInerney
et al., Counterfactual evaluation of slate recommendations with sequential reward interactions, KDD 2020 (cascade).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from models.errors import EvaluationRefused
from models.evaluation.intervals import Estimate
from models.evaluation.off_policy.bootstrap import interval, resample
from models.evaluation.off_policy.judgement import JudgingRule
from models.evaluation.off_policy.recorded_choices import JudgedPolicy, Numbers, RecordedChoices, importance_weights
from models.evaluation.off_policy.weight_health import WeightHealth, weight_health

Grid = NDArray[np.float64]
Vector = NDArray[np.float64]


class SlateModel(StrEnum):
    """What is assumed of a place's reward."""

    STANDARD = "standard"
    CASCADE = "cascade"
    ITEM_POSITION = "item_position"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSlates:
    """Slates, a row each, a column a place from the top; a place that held nothing has a logged chance of nan.

    The chances `logged` and `target` of the option that stood there are, for item_position, that it stands at this very
    place whatever stands elsewhere; for the others, that it stands there given the options above it.
    """

    rewards: Grid
    logged: Grid
    target: Grid
    clusters: Numbers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceValue:
    """One place's part of the value of a slate."""

    place: int
    inverse_propensity: Estimate
    self_normalised: Estimate
    health: WeightHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class SlateValue:
    """The value of a slate (the sum over its places), by place, and why not to conclude anything from it, if so."""

    model: SlateModel
    slates: int
    logged: Estimate
    inverse_propensity: Estimate
    self_normalised: Estimate
    places: tuple[PlaceValue, ...]
    refusals: tuple[str, ...]


def slate_value(slates: RecordedSlates, model: SlateModel, rule: JudgingRule | None = None) -> SlateValue:
    """Judges a ranking under that assumption. Raises EvaluationRefused where the arrays do not fit or hold what is no
    chance."""
    _require_grids(slates)
    rule = rule or JudgingRule()
    held = ~np.isnan(slates.logged)
    weights = place_weights(slates, model)
    weights = weights if rule.clip is None else np.minimum(weights, rule.clip)
    rewards = np.where(held, slates.rewards, 0.0)
    table = np.concatenate([np.ones((len(rewards), 1)), held, weights * held, weights * rewards, rewards], axis=1)
    samples = resample(table, slates.clusters, rule.replicates, rule.seed)
    width = rewards.shape[1]
    places = tuple(
        PlaceValue(
            place=place + 1,
            inverse_propensity=interval(partial(_ips, width, (place,)), samples),
            self_normalised=interval(partial(_snips, width, (place,)), samples),
            health=_health(slates, weights, held, place),
        )
        for place in range(width)
    )
    every = tuple(range(width))
    return SlateValue(
        model=model,
        slates=len(rewards),
        logged=interval(partial(_earned, width), samples),
        inverse_propensity=interval(partial(_ips, width, every), samples),
        self_normalised=interval(partial(_snips, width, every), samples),
        places=places,
        refusals=tuple(_refusals(places)),
    )


def place_weights(slates: RecordedSlates, model: SlateModel) -> Grid:
    """The importance weight of every place under the assumption; 1 where nothing stood, as nothing was drawn there."""
    held = ~np.isnan(slates.logged)
    ratios = importance_weights(np.where(held, slates.target, 1.0), np.where(held, slates.logged, 1.0))
    if model is SlateModel.ITEM_POSITION:
        return ratios
    upto = np.cumprod(ratios, axis=1)
    if model is SlateModel.CASCADE:
        return np.asarray(upto, dtype=np.float64)
    return np.repeat(upto[:, -1:], ratios.shape[1], axis=1)


def _require_grids(slates: RecordedSlates) -> None:
    shape = slates.rewards.shape
    if len(shape) != 2 or not slates.rewards.size:
        raise EvaluationRefused(f"slates are a row a slate, a column a place; rewards have shape {shape}")
    for name, grid in (("logged", slates.logged), ("target", slates.target)):
        if grid.shape != shape:
            raise EvaluationRefused(f"{name} chances have shape {grid.shape}, rewards {shape}")
    held = ~np.isnan(slates.logged)
    if not bool(np.all(np.isfinite(slates.rewards[held]))) or not bool(np.all(np.isfinite(slates.target[held]))):
        raise EvaluationRefused("rewards and target chances must be finite wherever something stood")
    if slates.clusters is not None and slates.clusters.shape != shape[:1]:
        raise EvaluationRefused(f"clusters have shape {slates.clusters.shape}, there are {shape[0]} slates")


def _columns(totals: Grid, width: int) -> tuple[Vector, Grid, Grid, Grid, Grid]:
    held, weight, weighted, earned = (totals[..., 1 + i * width : 1 + (i + 1) * width] for i in range(4))
    return totals[..., 0], held, weight, weighted, earned


def _ips(width: int, places: tuple[int, ...], totals: Grid) -> Vector:
    slates, _, _, weighted, _ = _columns(totals, width)
    return np.asarray(weighted[..., list(places)].sum(axis=-1) / slates, dtype=np.float64)


def _snips(width: int, places: tuple[int, ...], totals: Grid) -> Vector:
    """Normalised by place, times the share of slates that have the place."""
    slates, held, weight, weighted, _ = _columns(totals, width)
    chosen = list(places)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_place = weighted[..., chosen] / weight[..., chosen] * held[..., chosen]
    # A place no slate has earns nothing, whoever ranks.
    by_place = np.where(held[..., chosen] == 0, 0.0, by_place)
    return np.asarray(by_place.sum(axis=-1) / slates, dtype=np.float64)


def _earned(width: int, totals: Grid) -> Vector:
    slates, _, _, _, earned = _columns(totals, width)
    return np.asarray(earned.sum(axis=-1) / slates, dtype=np.float64)


def _health(slates: RecordedSlates, weights: Grid, held: NDArray[np.bool_], place: int) -> WeightHealth:
    """A place as if it were a single choice; weights above 1 are told as chances over a logged chance of their own."""
    mine = held[:, place]
    if not bool(mine.any()):
        raise EvaluationRefused(f"no slate has anything at place {place + 1}")
    scale = np.maximum(weights[mine, place], 1.0)
    choices = RecordedChoices(
        rewards=slates.rewards[mine, place],
        logged=1.0 / scale,
        clusters=None if slates.clusters is None else slates.clusters[mine],
    )
    return weight_health(choices, JudgedPolicy(chances=weights[mine, place] / scale), None)


def _refusals(places: tuple[PlaceValue, ...]) -> Iterator[str]:
    for place in places:
        for reason in place.health.refusals():
            yield f"place {place.place}: {reason}"
