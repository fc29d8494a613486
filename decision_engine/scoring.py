"""Propensities: one call a model over all the offers it scores, and base rates wherever no model can be trusted."""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import Value
from decision_engine.matrix import MatrixPlan, fill_matrix, plan_matrix
from decision_engine.offers import Offer
from decision_engine.propensity import FeatureSchema, Matrix, Scorer, Scorers
from decision_engine.rejections import Indexes

PRIOR = "prior"
"""The version recorded where base rates stood in for a model."""

Probabilities = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringPlan:
    """Which model scores which offer, and the matrix plans met so far (a memory, filled on first use)."""

    offers: tuple[Offer, ...]
    models: tuple[str, ...]
    model_of: Indexes
    base_rates: Probabilities
    required: frozenset[str]
    matrices: MutableMapping[str, MatrixPlan]

    def matrix_plan(self, schema: FeatureSchema, version: str) -> MatrixPlan:
        """The plan for a schema; that of each version is found without hashing the columns. Versions take turns where
        one challenges another."""
        latest = self.matrices.get(version)
        if latest is not None and latest.schema is schema:
            return latest
        key = f"#{schema.hash}"
        plan = self.matrices.get(key) or plan_matrix(schema, self.offers)
        self.matrices[key] = self.matrices[version] = plan
        return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """`propensity` per offer of the strategy (base rate where not scored), versions by model, and what went wrong;
    `failed` are the models that raised or gave no probabilities."""

    propensity: Probabilities
    versions: Mapping[str, str]
    causes: tuple[str, ...]
    failed: tuple[str, ...] = ()


def plan_scoring(offers: Sequence[Offer], required: frozenset[str]) -> ScoringPlan:
    """Lines the offers up by model."""
    models = tuple(sorted({offer.model for offer in offers}))
    return ScoringPlan(
        offers=tuple(offers),
        models=models,
        model_of=np.array([models.index(offer.model) for offer in offers], np.intp),
        base_rates=np.array([offer.base_rate for offer in offers], np.float64),
        required=required,
        matrices={},
    )


def score_neutrally(plan: ScoringPlan, rows: Indexes) -> Scores:
    """Base rates only: nothing about the person enters."""
    return Scores(propensity=plan.base_rates, versions=dict.fromkeys(_models_of(plan, rows), PRIOR), causes=())


def score_offers(
    plan: ScoringPlan, rows: Indexes, scorers: Scorers, attributes: Mapping[str, Value], context: Mapping[str, Value]
) -> Scores:
    """Scores the offers of `rows`. A model that is absent, raises, or answers anything but probabilities is replaced
    by base rates: `model_missing` (only if required) or `model_failed`."""
    propensity = plan.base_rates.copy() if scorers else plan.base_rates
    versions: dict[str, str] = {}
    causes: list[str] = []
    failed: list[str] = []
    for model in _models_of(plan, rows):
        scorer = scorers.get(model)
        versions[model] = PRIOR
        if scorer is None:
            causes += ["model_missing"] if model in plan.required else []
            continue
        mine = rows[plan.model_of[rows] == plan.models.index(model)]
        scored = _score(scorer, fill_matrix(plan.matrix_plan(scorer.schema, scorer.version), mine, attributes, context))
        if scored is None:
            causes.append("model_failed")
            failed.append(model)
        else:
            propensity[mine] = scored
            versions[model] = scorer.version
    distinct = tuple(dict.fromkeys(causes))
    return Scores(propensity=propensity, versions=versions, causes=distinct, failed=tuple(failed))


def _models_of(plan: ScoringPlan, rows: Indexes) -> Sequence[str]:
    if len(plan.models) == 1:
        return plan.models if len(rows) else ()
    counts = np.bincount(plan.model_of[rows], minlength=len(plan.models)).tolist()
    return [model for model, count in zip(plan.models, counts, strict=True) if count]


def _score(scorer: Scorer, matrix: Matrix) -> Probabilities | None:
    try:
        scored = np.asarray(scorer.score(matrix), np.float64)
    except Exception:  # noqa: BLE001 - whatever a model does, the customer gets a decision, marked as degraded
        return None
    sound = scored.shape == (len(matrix),) and bool(((scored >= 0.0) & (scored <= 1.0)).all())
    return scored if sound else None
