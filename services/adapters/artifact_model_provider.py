"""Serves the scorers that are live, from the registry on disk, swapped by what the control topic says.

A version serves only after its files, its columns and a few trial calls have been checked. When any check fails the
scorer that served before goes on serving.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from types import MappingProxyType

import numpy as np

from decision_engine.errors import SchemaMismatch
from decision_engine.propensity import Scorer, Scorers
from event_schemas.codec import Event
from event_schemas.control import ModelPromoted, ModelRetired, Promotion, Retirement
from models.compatibility import AvailableColumns
from models.errors import ChecksumMismatch, ModelsError
from models.manifest import Manifest, content_hash
from models.registry import ModelRegistry

FailureHook = Callable[[str], None]
"""Called with the model's name when a version could not be put in service."""
ControlEvent = ModelPromoted | ModelRetired

_log = logging.getLogger(__name__)
_WARM_UP_ROWS = (1, 8, 50, 200)
"""The first calls of a model allocate and page in its trees; customers should not wait for that."""


class ScorerUnfit(ModelsError):
    """A scorer gives something other than probabilities."""


class ArtifactModelProvider:
    """Implements `ports.ModelProvider`. Handlers are to be subscribed to the control topic."""

    def __init__(
        self, registry: ModelRegistry, available: AvailableColumns, on_failure: FailureHook = lambda _: None
    ) -> None:
        self._registry = registry
        self._available = available
        self._on_failure = on_failure
        self._live: Scorers = MappingProxyType({})

    def scorers(self) -> Scorers:
        """The mapping that is live now; it is never changed, only replaced."""
        return self._live

    async def on_promoted(self, event: Event) -> None:
        """Puts the promoted version in service, or keeps the one before and says why."""
        if not isinstance(event, ModelPromoted):
            return
        promotion = event.data
        current = self._live.get(promotion.name)
        if current is not None and current.version == promotion.version:
            return
        try:
            scorer = await asyncio.to_thread(self._checked_scorer, promotion)
        except (ModelsError, SchemaMismatch) as error:
            serving = "base rates" if current is None else current.version
            _log.error(
                "model version %s was refused, %s goes on serving: %s",
                *(promotion.version, serving, error),
                extra={"action": "model_refused"},
            )
            self._on_failure(promotion.name)
            return
        self._live = MappingProxyType({**self._live, promotion.name: scorer})
        _log.info("model version %s serves now", promotion.version, extra={"action": "model_promoted"})

    async def on_retired(self, event: Event) -> None:
        """Takes the model out of service, so that base rates serve; a version that does not serve changes nothing."""
        if not isinstance(event, ModelRetired):
            return
        current = self._live.get(event.data.name)
        if current is not None and event.data.version in (None, current.version):
            self._live = MappingProxyType({n: s for n, s in self._live.items() if n != event.data.name})
            _log.info("model version %s serves no longer", current.version, extra={"action": "model_retired"})

    def _checked_scorer(self, promotion: Promotion) -> Scorer:
        manifest = self._registry.verify(promotion.version)
        if content_hash(manifest) != promotion.checksum or manifest.schema.hash != promotion.schema_hash:
            raise ChecksumMismatch(f"{promotion.version}: the registry holds another model than was promoted")
        if manifest.name != promotion.name:
            raise ChecksumMismatch(f"{promotion.version}: is a {manifest.name}, not a {promotion.name}")
        self._available.require(manifest.schema)
        scorer = self._registry.load(promotion.version)
        _warm_up(scorer)
        return scorer


def promotion_of(manifest: Manifest, *, event_id: str, at: datetime, actor: str) -> ModelPromoted:
    """The event that puts a registered version in service everywhere."""
    return ModelPromoted(
        id=event_id,
        source="kairos/models",
        subject=f"model:{manifest.name}",
        time=at,
        data=Promotion(
            name=manifest.name,
            version=manifest.version,
            path=manifest.version,
            checksum=content_hash(manifest),
            schema_hash=manifest.schema.hash,
            metrics={name: metric.value for name, metric in manifest.metrics.items() if np.isfinite(metric.value)},
            actor=actor,
        ),
    )


def retirement_of(name: str, *, event_id: str, at: datetime, actor: str) -> ModelRetired:
    """The event that takes a model out of service everywhere; it replaces the promotion on the compacted topic."""
    return ModelRetired(
        id=event_id,
        source="kairos/models",
        subject=f"model:{name}",
        time=at,
        data=Retirement(name=name, actor=actor),
    )


def _warm_up(scorer: Scorer) -> None:
    for rows in _WARM_UP_ROWS:
        for filling in (np.nan, 0.0, 1.0):
            probabilities = scorer.score(np.full((rows, len(scorer.schema.columns)), filling))
            within = probabilities.shape == (rows,) and bool(np.all((probabilities >= 0) & (probabilities <= 1)))
            if not within:  # NaN fails the comparison too
                raise ScorerUnfit(f"{scorer.version}: trial calls gave values outside 0..1")
