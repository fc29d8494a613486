"""Serves the scorers that are live, from the registry on disk, swapped by what the control topic says.

A version serves only after its files, its columns and a few trial calls have been checked, all of it off the event
loop. When any check fails the scorer that served before goes on serving. Beside the version in service (the champion) a
model may have a challenger, which serves a share of the customers, and a shadow, which decides nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Protocol

import numpy as np

from decision_engine.errors import SchemaMismatch
from decision_engine.propensity import Scorer, Scorers
from event_schemas.codec import Event
from event_schemas.control import (
    Challenge,
    ModelChallenged,
    ModelPromoted,
    ModelRetired,
    ModelShadowed,
    Promotion,
    Shadowing,
)
from models.compatibility import AvailableColumns
from models.errors import ChecksumMismatch, ModelsError
from models.manifest import content_hash
from models.registry import ModelRegistry
from services.use_cases.model_acts import Role, promotion_of, retirement_of
from services.use_cases.model_traffic import Challenger, Shadow, SharedScorers
from services.use_cases.short_turns import short_turns

__all__ = ["ArtifactModelProvider", "promotion_of", "retirement_of"]

FailureHook = Callable[[str], None]
"""Called with the model's name when a version could not be put in service."""
ControlEvent = ModelPromoted | ModelRetired
Act = Promotion | Challenge | Shadowing
"""What puts a version in a role."""

_log = logging.getLogger(__name__)
_WARM_UP_ROWS = (1, 8, 50, 200)
"""The first calls of a model allocate and page in its trees; customers should not wait for that."""
_NOBODY = {"champion": "base rates", "challenger": "the version in service", "shadow": "nothing"}


class ScorerUnfit(ModelsError):
    """A scorer gives something other than probabilities."""


class Forms(Protocol):
    """Faster ways to the same scores."""

    def at_once(self, scorer: Scorer) -> Scorer:
        """The scorer in the fastest form that is there now. Not for the event loop."""
        ...

    def later(self, scorer: Scorer, done: Callable[[Scorer], None]) -> None:
        """Calls `done` on the event loop if there is a faster form after all."""
        ...

    def show(self, name: str, scorer: Scorer | None) -> None:
        """Notes the scorer a model serves by; None: none."""
        ...


class OnlyForm:
    """Every scorer as it was loaded."""

    def at_once(self, scorer: Scorer) -> Scorer:
        """The scorer itself."""
        return scorer

    def later(self, scorer: Scorer, done: Callable[[Scorer], None]) -> None:
        """Never."""

    def show(self, name: str, scorer: Scorer | None) -> None:
        """Nobody asks."""


@dataclass(frozen=True, slots=True)
class _Serving:
    """Scorers by role and model; replaced whole, never changed."""

    by_role: Mapping[Role, Mapping[str, Scorer]] = field(
        default_factory=lambda: {"champion": {}, "challenger": {}, "shadow": {}}
    )

    def with_scorer(self, role: Role, name: str, scorer: Scorer | None) -> "_Serving":
        others = {n: s for n, s in self.by_role[role].items() if n != name}
        return _Serving({**self.by_role, role: others if scorer is None else {**others, name: scorer}})

    def deciding(self) -> list[Scorer]:
        """Those that customers may meet: champions and challengers."""
        return [*self.by_role["champion"].values(), *self.by_role["challenger"].values()]

    def swapped(self, before: Scorer, now: Scorer) -> "_Serving":
        """With one scorer in the place of another wherever that stands."""
        return _Serving(
            {role: {n: now if s is before else s for n, s in found.items()} for role, found in self.by_role.items()}
        )


class ArtifactModelProvider:
    """Implements `ports.ModelProvider`. Handlers are to be subscribed to the control topic."""

    def __init__(
        self,
        registry: ModelRegistry,
        available: AvailableColumns,
        on_failure: FailureHook = lambda _: None,
        forms: Forms | None = None,
    ) -> None:
        self._registry = registry
        self._available = available
        self._on_failure = on_failure
        self._forms: Forms = forms or OnlyForm()
        self._serving = _Serving()
        self._live: Scorers = MappingProxyType({})
        self._shadows: Mapping[str, Shadow] = MappingProxyType({})
        self._acts: dict[tuple[Role, str], Act] = {}
        """The newest act for every role, served or refused: another strategy may fill what this one cannot."""
        self._since: dict[tuple[Role, str], datetime] = {}
        """When each of them was done."""

    def scorers(self) -> Scorers:
        """The mapping that is live now; it is never changed, only replaced."""
        return self._live

    def shadows(self) -> Mapping[str, Shadow]:
        """The versions that score without deciding, by model; never changed, only replaced."""
        return self._shadows

    async def on_promoted(self, event: Event) -> None:
        """Puts the promoted version in service, or keeps the one before and says why."""
        if isinstance(event, ModelPromoted):
            await self._take("champion", event.data, event.time)

    async def on_challenged(self, event: Event) -> None:
        """Gives the version its share, or leaves all customers to the version in service and says why."""
        if isinstance(event, ModelChallenged):
            await self._take("challenger", event.data, event.time)

    async def on_shadowed(self, event: Event) -> None:
        """Has the version score in the shadow."""
        if isinstance(event, ModelShadowed):
            await self._take("shadow", event.data, event.time)

    async def on_retired(self, event: Event) -> None:
        """Ends a role, so that base rates serve, or the champion serves all; a version that is not in it changes
        nothing."""
        if not isinstance(event, ModelRetired):
            return
        name, version, role = event.data.name, event.data.version, event.data.role
        current = self._serving.by_role[role].get(name)
        act = self._acts.get((role, name))
        if act is not None and version in (None, act.version):
            del self._acts[role, name]
        if current is not None and version in (None, current.version):
            self._put(self._serving.with_scorer(role, name, None))
            _log.info("model version %s is %s no longer", *(current.version, role), extra={"action": "model_retired"})

    async def adopt(self, available: AvailableColumns) -> None:
        """Puts in service what was promoted and these columns can fill, and nothing else. Puts it in place as its last
        step, so that the strategy that has the columns can be put in place together with it."""
        while True:
            acts = dict(self._acts)
            with short_turns():
                fit = await asyncio.to_thread(self._fit, acts, available)
            if acts == self._acts:
                break
        self._available = available
        self._put(fit)

    async def _take(self, role: Role, act: Act, at: datetime) -> None:
        self._acts[role, act.name] = act
        self._since[role, act.name] = at
        current = self._serving.by_role[role].get(act.name)
        if current is not None and current.version == act.version:
            if role != "champion" or isinstance(self._live, SharedScorers):
                self._put(self._serving)  # the share may be another, or over
            return
        available = self._available
        try:
            with short_turns():
                scorer = await asyncio.to_thread(self._checked_scorer, act, available)
            if self._available is not available:
                self._available.require(scorer.schema)
        except (ModelsError, SchemaMismatch) as error:
            serving = _NOBODY[role] if current is None or role != "champion" else current.version
            _log.error(
                "model version %s was refused as %s, %s goes on serving: %s",
                *(act.version, role, serving, error),
                extra={"action": "model_refused"},
            )
            if role != "champion":
                self._put(self._serving.with_scorer(role, act.name, None))
            self._on_failure(act.name)
            return
        self._put(self._serving.with_scorer(role, act.name, scorer))
        _log.info("model version %s is %s now", *(act.version, role), extra={"action": f"model_{role}"})

    def _put(self, serving: _Serving) -> None:
        """What serves from now on, by one reference."""
        known = {id(scorer) for scorer in self._serving.deciding()}
        self._serving = serving
        champions = MappingProxyType(dict(serving.by_role["champion"]))
        rivals = {
            name: Challenger(scorer, act.share)
            for name, scorer in serving.by_role["challenger"].items()
            if isinstance(act := self._acts.get(("challenger", name)), Challenge) and self._challenged(name)
        }
        self._live = SharedScorers(champions, MappingProxyType(rivals)) if rivals else champions
        self._shadows = MappingProxyType(
            {
                name: Shadow(scorer, act.sample)
                for name, scorer in serving.by_role["shadow"].items()
                if isinstance(act := self._acts.get(("shadow", name)), Shadowing)
                and (name not in champions or champions[name].version != scorer.version)
            }
        )
        for name in {name for role, name in self._acts if role == "champion"} | champions.keys():
            self._forms.show(name, champions.get(name))
        for scorer in serving.deciding():
            if id(scorer) not in known:
                known.add(id(scorer))
                self._forms.later(scorer, partial(self._quicken, scorer))

    def _challenged(self, name: str) -> bool:
        """Whether the challenge stands: a promotion since then has ended it, so that a version that was promoted and
        taken back does not keep its share."""
        promoted, challenged = self._since.get(("champion", name)), self._since[("challenger", name)]
        return name in self._serving.by_role["champion"] and promoted is not None and challenged >= promoted

    def _quicken(self, before: Scorer, now: Scorer) -> None:
        if any(before is scorer for found in self._serving.by_role.values() for scorer in found.values()):
            self._put(self._serving.swapped(before, now))
            _log.info("model version %s is compiled now", now.version, extra={"action": "model_compiled"})

    def _fit(self, acts: Mapping[tuple[Role, str], Act], available: AvailableColumns) -> _Serving:
        """For every role what was named last, or else what serves, where these columns can fill it."""
        fit = _Serving()
        for (role, name), act in acts.items():
            fit = fit.with_scorer(role, name, self._fitting(role, act, available))
        return fit

    def _fitting(self, role: Role, act: Act, available: AvailableColumns) -> Scorer | None:
        current = self._serving.by_role[role].get(act.name)
        try:
            if current is None or current.version != act.version:
                return self._checked_scorer(act, available)
        except (ModelsError, SchemaMismatch) as error:
            self._tell_refused(act.name, act.version, error)
        try:
            if current is not None:
                available.require(current.schema)
        except SchemaMismatch as error:
            self._tell_refused(act.name, act.version, error)
            return None
        return current

    def _tell_refused(self, name: str, version: str, error: Exception) -> None:
        _log.error("model version %s is not for the strategy to come: %s", version, error, extra={"action": "refused"})
        self._on_failure(name)

    def _checked_scorer(self, act: Act, available: AvailableColumns) -> Scorer:
        manifest = self._registry.verify(act.version)
        if content_hash(manifest) != act.checksum or manifest.schema.hash != act.schema_hash:
            raise ChecksumMismatch(f"{act.version}: the registry holds another model than was promoted")
        if manifest.name != act.name:
            raise ChecksumMismatch(f"{act.version}: is a {manifest.name}, not a {act.name}")
        available.require(manifest.schema)
        loaded = self._loaded(act.version)
        scorer = self._forms.at_once(self._registry.load(act.version)) if loaded is None else loaded
        _warm_up(scorer)
        return scorer

    def _loaded(self, version: str) -> Scorer | None:
        """The version as it serves in another role already; an id stands for one content for ever."""
        found = (scorer for found in self._serving.by_role.values() for scorer in found.values())
        return next((scorer for scorer in found if scorer.version == version), None)


def _warm_up(scorer: Scorer) -> None:
    for rows in _WARM_UP_ROWS:
        for filling in (np.nan, 0.0, 1.0):
            probabilities = scorer.score(np.full((rows, len(scorer.schema.columns)), filling))
            within = probabilities.shape == (rows,) and bool(np.all((probabilities >= 0) & (probabilities <= 1)))
            if not within:  # NaN fails the comparison too
                raise ScorerUnfit(f"{scorer.version}: trial calls gave values outside 0..1")
