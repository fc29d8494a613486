"""Propensities: one call a model over all the offers it scores, and base rates wherever no model can be trusted."""

from collections.abc import Collection, Container, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import Value
from decision_engine.matrix import MatrixPlan, fill_matrix, plan_matrix
from decision_engine.model_training import Newcomers
from decision_engine.offers import Offer
from decision_engine.online import OnlinePlan, OnlineTable, OnlineUse, believed_by_offer, look_up
from decision_engine.propensity import FeatureSchema, Matrix, Scorer, Scorers
from decision_engine.rejections import Indexes

PRIOR = "prior"
"""The version recorded where base rates stood in for a model."""

Probabilities = NDArray[np.float64]
_NONE: Indexes = np.zeros(0, np.intp)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewcomerRows:
    """The offers of a group, and the model (by place) that scores them for who holds none of the products."""

    model: str
    place: int
    products: frozenset[str]
    rows: Indexes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringPlan:
    """Which model scores which offer, and the matrix plans met so far (a memory, filled on first use). `model_of` holds
    for everybody but `newcomers`."""

    offers: tuple[Offer, ...]
    models: tuple[str, ...]
    model_of: Indexes
    base_rates: Probabilities
    required: frozenset[str]
    matrices: MutableMapping[str, MatrixPlan]
    newcomers: tuple[NewcomerRows, ...] = ()

    def routed(self, holdings: Collection[str], live: Container[str]) -> Indexes:
        """Per offer the model that scores it for who holds these products: an acquisition model that is live where they
        are new to the group, the offer's own otherwise."""
        places = self.model_of
        for newcomers in self.newcomers:
            if newcomers.model in live and newcomers.products.isdisjoint(holdings):
                places = places.copy() if places is self.model_of else places
                places[newcomers.rows] = newcomers.place
        return places

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
    online: OnlineUse | None = None
    """What online learning made of the models' propensities; None: nothing."""
    model_of: Indexes | None = None
    """Per offer the model by place, where acquisition models have their part; None: as the plan says."""


def plan_scoring(offers: Sequence[Offer], required: frozenset[str], newcomers: Sequence[Newcomers] = ()) -> ScoringPlan:
    """Lines the offers up by model."""
    models = tuple(sorted({offer.model for offer in offers} | {group.model for group in newcomers}))
    return ScoringPlan(
        offers=tuple(offers),
        models=models,
        model_of=np.array([models.index(offer.model) for offer in offers], np.intp),
        base_rates=np.array([offer.base_rate for offer in offers], np.float64),
        required=required,
        matrices={},
        newcomers=tuple(
            NewcomerRows(
                model=group.model,
                place=models.index(group.model),
                products=group.products,
                rows=np.flatnonzero([offer.group == group.group for offer in offers]),
            )
            for group in newcomers
        ),
    )


def score_neutrally(plan: ScoringPlan, rows: Indexes) -> Scores:
    """Base rates only: nothing about the person enters."""
    models = _models_of(plan, plan.model_of, rows)
    return Scores(propensity=plan.base_rates, versions=dict.fromkeys(models, PRIOR), causes=())


def score_offers(
    plan: ScoringPlan,
    rows: Indexes,
    scorers: Scorers,
    attributes: Mapping[str, Value],
    context: Mapping[str, Value],
    holdings: Collection[str] = (),
) -> Scores:
    """Scores the offers of `rows` for who holds these products. A model that is absent, raises, or answers anything but
    probabilities is replaced by base rates: `model_missing` (only if required) or `model_failed`."""
    propensity = plan.base_rates.copy() if scorers else plan.base_rates
    versions: dict[str, str] = {}
    causes: list[str] = []
    failed: list[str] = []
    model_of = plan.routed(holdings, scorers) if plan.newcomers else plan.model_of
    for model in _models_of(plan, model_of, rows):
        scorer = scorers.get(model)
        versions[model] = PRIOR
        if scorer is None:
            causes += ["model_missing"] if model in plan.required else []
            continue
        mine = rows[model_of[rows] == plan.models.index(model)]
        scored = _score(scorer, fill_matrix(plan.matrix_plan(scorer.schema, scorer.version), mine, attributes, context))
        if scored is None:
            causes.append("model_failed")
            failed.append(model)
        else:
            propensity[mine] = scored
            versions[model] = scorer.version
    distinct = tuple(dict.fromkeys(causes))
    routed = None if model_of is plan.model_of else model_of
    return Scores(propensity=propensity, versions=versions, causes=distinct, failed=tuple(failed), model_of=routed)


def learn_on(
    scoring: ScoringPlan, plan: OnlinePlan, table: OnlineTable, scores: Scores, place: tuple[str, str, Indexes]
) -> Scores:
    """The scores with what has been learnt since the models were fitted. `place` is the channel, the customer's
    segment and the offers still alive."""
    channel, segment, alive = place
    living = np.zeros(len(scoring.offers), np.bool_)
    living[alive] = True
    concerned = plan.in_channel.get(channel, _NONE)
    concerned = concerned[living[plan.offer_of[concerned]]]
    versions = [scores.versions.get(model, PRIOR) for model in scoring.models]
    model_of = scoring.model_of if scores.model_of is None else scores.model_of
    row = look_up(plan, table, segment, versions, model_of[plan.offer_of])
    use = OnlineUse(
        plan=plan,
        segment=segment,
        as_of_ms=table.as_of_ms,
        concerned=concerned,
        multipliers=row.multipliers,
        shapes=row.shapes,
        base=scores.propensity,
        versions=versions,
        model_of=model_of,
    )
    propensity = believed_by_offer(plan, concerned, scores.propensity, row.multipliers)
    return replace(scores, propensity=propensity, online=use)


def _models_of(plan: ScoringPlan, model_of: Indexes, rows: Indexes) -> Sequence[str]:
    if len(plan.models) == 1:
        return plan.models if len(rows) else ()
    counts = np.bincount(model_of[rows], minlength=len(plan.models)).tolist()
    return [model for model, count in zip(plan.models, counts, strict=True) if count]


def _score(scorer: Scorer, matrix: Matrix) -> Probabilities | None:
    try:
        scored = np.asarray(scorer.score(matrix), np.float64)
    except Exception:  # noqa: BLE001 - whatever a model does, the customer gets a decision, marked as degraded
        return None
    sound = scored.shape == (len(matrix),) and bool(((scored >= 0.0) & (scored <= 1.0)).all())
    return scored if sound else None
