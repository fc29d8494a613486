"""The two strategies of a simulation, made ready: the active one and the draft, each with the models it scores by."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from decision_engine.alike import DIFFERENT, likeness
from decision_engine.condition_bits import ConditionBits, compile_conditions
from decision_engine.deciding_together import Question, Together
from decision_engine.draft import Draft
from decision_engine.engine import decide
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.propensity import Scorer, Scorers
from decision_engine.rejections import Indexes, Mask
from decision_engine.scoring import PRIOR
from decision_engine.strategy import Strategy
from services.simulation.recorded_day.feature_parts import PartedFeatures, part_features
from services.simulation.recorded_day.needed_features import cut_features, needed_attributes, needed_of_members

ACTIVE, DRAFT = "active", "draft"
Versions = tuple[tuple[str, str], ...]
"""Model names with the versions that score."""
LoadModel = Callable[[str], Scorer]
"""The scorer of a model version. Raises ModelsError, ShellError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideTerms:
    """One side as declared: its strategy, and model versions that replace the recorded ones, by name."""

    name: str
    strategy: Strategy
    instead: Mapping[str, str]


class Side:
    """A strategy ready to decide recorded requests."""

    def __init__(self, terms: SideTerms, load: LoadModel) -> None:
        self.name = terms.name
        self.strategy = terms.strategy
        self.prepared: PreparedStrategy = prepare(terms.strategy)
        self._instead = terms.instead
        self._load = load
        self._loaded: dict[str, Scorer] = {}
        self._scorers: dict[Versions, Scorers] = {}

    def scorers(self, recorded: Versions) -> Scorers:
        """The models that score a request whose record names these versions; always the same mapping for the same."""
        found = self._scorers.get(recorded)
        if found is None:
            versions = {**dict(recorded), **self._instead}
            names = [name for name in self.prepared.scoring.models if versions.get(name, PRIOR) != PRIOR]
            found = self._scorers[recorded] = {name: self._scorer(versions[name]) for name in names}
        return found

    def needed(self, versions: Collection[Versions], further: Collection[str]) -> frozenset[str]:
        """The attributes that this side can read where these versions score."""
        scorers = [scorer for each in versions for scorer in self.scorers(each).values()]
        return needed_attributes(self.prepared, [scorer.schema for scorer in scorers], further)

    def _scorer(self, version: str) -> Scorer:
        if version not in self._loaded:
            self._loaded[version] = self._load(version)
        return self._loaded[version]


class Deciding:
    """Decides with both sides. Where both know the same about customers, conditions are asked once for both."""

    def __init__(self, sides: Sequence[Side], *, together: bool = True) -> None:
        self._sides = sides
        self._together = together
        """False: one by one with the plain engine, which a test compares with."""
        self._union: ConditionBits | None = None
        self._places: dict[str, Indexes] = {}
        self._alike = DIFFERENT
        if len(sides) == len({side.name for side in sides}) == 2 and shared_declarations(sides):
            self._union = _conditions_of(sides)
            self._alike = likeness(*[side.strategy for side in sides])
            for side in sides:
                places = side.prepared.conditions.places
                self._places[side.name] = np.array([self._union.places[text] for text in places], np.intp)

    def drafts(self, questions: Mapping[str, Sequence[Question]]) -> dict[str, list[Draft]]:
        """The drafts by side; the questions of the sides are about the same requests, in the same order."""
        if not self._together:
            return {side.name: [decide(side.prepared, *q) for q in questions[side.name]] for side in self._sides}
        truth: dict[str, Mask | None] = {side.name: None for side in self._sides}
        if self._union is not None:
            first = questions[self._sides[0].name]
            both = self._union.evaluate_all([(q.request, q.snapshot) for q in first]) if first else None
            truth = {name: None if both is None else both.take(at, axis=1) for name, at in self._places.items()}
        found: dict[str, list[Draft]] = {}
        first_of_all: Together | None = None
        for side in self._sides:
            if not questions[side.name]:
                found[side.name] = []
                continue
            mine = questions[side.name], truth[side.name]
            decided = Together(side.prepared, *mine, beside=first_of_all, alike=self._alike)
            found[side.name] = decided.drafts
            if self._union is not None:
                first_of_all = first_of_all or decided
        return found


def _conditions_of(sides: Sequence[Side]) -> ConditionBits:
    """The conditions of all sides, each once; those of the segments that online learning tells apart included."""
    strategies = [side.strategy for side in sides]
    offers = tuple(offer for strategy in strategies for offer in strategy.offers)
    learning = [strategy.online for strategy in strategies if strategy.online is not None]
    segments = tuple(dict.fromkeys(name for online in learning for name in online.segments))
    online = replace(learning[0], segments=segments) if learning else None
    return compile_conditions(replace(strategies[0], offers=offers, online=online))


def shared_declarations(sides: Sequence[Side]) -> bool:
    """Whether all sides know the same about customers, so that one reading serves them all."""
    first = sides[0].strategy
    return all(_known_about(side.strategy) == _known_about(first) for side in sides[1:])


@dataclass(frozen=True, slots=True)
class ReadFeatures:
    """The features that are read of customers, and of those they are linked to (None: nothing is)."""

    own: PartedFeatures
    members: CompiledFeatures | None


def features_of(
    sides: Sequence[Side], versions: Collection[Versions], further: Mapping[str, Collection[str]]
) -> dict[str, ReadFeatures]:
    """The features that each side reads, cut to what is needed; the same value where they are shared."""
    needed = {side.name: side.needed(versions, further.get(side.name, ())) for side in sides}
    if shared_declarations(sides):
        features = _cut(sides[0].strategy, frozenset().union(*needed.values()))
        return {side.name: features for side in sides}
    return {side.name: _cut(side.strategy, needed[side.name]) for side in sides}


class SharedSides:
    """Both sides with what all partitions of a process have of them alike: how they decide, what they read."""

    def __init__(self, sides: Mapping[str, Side]) -> None:
        self.sides = sides
        self._deciding: dict[bool, Deciding] = {}
        self._features: dict[object, dict[str, ReadFeatures]] = {}

    def deciding(self, *, together: bool) -> Deciding:
        """How both decide."""
        if together not in self._deciding:
            self._deciding[together] = Deciding([self.sides[ACTIVE], self.sides[DRAFT]], together=together)
        return self._deciding[together]

    def features(
        self, versions: Collection[Versions], further: Mapping[str, Collection[str]]
    ) -> dict[str, ReadFeatures]:
        """As `features_of`."""
        key = frozenset(versions), *((name, frozenset(names)) for name, names in further.items())
        known = self._features.get(key)
        if known is None:
            known = self._features[key] = features_of(list(self.sides.values()), versions, further)
        return known


def _cut(strategy: Strategy, needed: Collection[str]) -> ReadFeatures:
    of_members = needed_of_members(strategy, needed)
    members = cut_features(strategy, of_members) if of_members else None
    return ReadFeatures(part_features(cut_features(strategy, needed)), members)


def _known_about(strategy: Strategy) -> tuple[object, ...]:
    return strategy.declarations, strategy.links, strategy.linked, strategy.dictionary, strategy.consents
