"""How the models do: what each version is to do, what it was made of and how good it was, and what waits for somebody.

Roles and proposals are what the control topic says, figures what the registry's manifests say. What has drifted is read
from the archive by `results_reading.LogReading.drift`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from decision_engine.model_training import Family
from decision_engine.strategy import Strategy
from event_schemas.control import Challenge, Promotion, Shadowing
from models.errors import RegistryError
from models.manifest import Manifest, Metric
from models.registry import ModelRegistry
from models.training.card_text import CARD_TEXT_FILE
from services.use_cases.model_acts import Role
from services.use_cases.models_now import ModelsNow

SHOWN_METRICS = ("auc", "log_loss", "log_loss_gain", "calibration_error", "predicted_to_observed")
_EARLIER = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """A version as registered. `fault` says why the registry cannot vouch for it (empty: it does); then nothing else is
    known of it."""

    version: str
    created_at: str = ""
    rows: int = 0
    positives: int = 0
    since_ms: int = 0
    until_ms: int = 0
    reason: str | None = None
    metrics: Mapping[str, Metric] | None = None
    has_card: bool = False
    has_report: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleNow:
    """A version in a role of a model, since when and by whom. `share` is of the customers (challenger) or of the
    decisions (shadow); 1 for the version in service."""

    role: Role
    facts: VersionFacts
    since: datetime | None
    actor: str | None
    approved_by: str | None
    share: float = 1.0
    previous: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingProposal:
    """A version that waits for a second person, until `lapses`."""

    facts: VersionFacts
    actor: str
    reason: str
    comment: str | None
    compared_with: str | None
    checks: Mapping[str, str]
    proposed: datetime
    lapses: datetime
    lapsed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHealth:
    """One model of the strategy, or of the control topic alone (`declared` is False). Without a champion base rates
    serve. `offers` are how many it scores; `registered` its versions, the newest first, at most five of `versions`."""

    name: str
    declared: bool
    family: Family
    offers: int
    champion: RoleNow | None
    challenger: RoleNow | None
    shadow: RoleNow | None
    proposals: tuple[WaitingProposal, ...]
    registered: tuple[VersionFacts, ...]
    versions: int

    @property
    def faults(self) -> tuple[str, ...]:
        """Versions that are to do something and that the registry cannot vouch for."""
        roles = (self.champion, self.challenger, self.shadow)
        return tuple(role.facts.fault for role in roles if role is not None and role.facts.fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDesk:
    """Reads the registry and what the control topic has said. Evaluation reports lie in `reports` as
    `<version>.html`; proposals hold for so many days."""

    registry: ModelRegistry
    acts: ModelsNow
    reports: Path
    proposal_days: int

    def health(self, strategy: Strategy, now: datetime) -> tuple[ModelHealth, ...]:
        """Every model, by name. Reads files: not for the event loop. Raises OSError."""
        acts = self.acts.standing()
        declared = scored_by(strategy)
        names = {*declared, *(name for _, name in acts.roles), *(p.name for p in acts.proposals.values())}
        return tuple(self._model(name, strategy, declared, acts, now) for name in sorted(names))

    def card(self, version: str) -> str | None:
        """The version's card as Markdown, verified; None where it has none. Raises RegistryError."""
        found = self.registry.file(version, CARD_TEXT_FILE)
        return None if found is None else found.decode()

    def report(self, version: str) -> bytes | None:
        """The version's evaluation report, a page; None where none was written. Raises RegistryError for a version
        that is not registered."""
        self.registry.manifest(version)  # only names of versions become paths
        try:
            return self._report_path(version).read_bytes()
        except FileNotFoundError:
            return None

    def _report_path(self, version: str) -> Path:
        return self.reports / f"{version}.html"

    def _model(
        self, name: str, strategy: Strategy, declared: Mapping[str, int], acts: ModelsNow, now: datetime
    ) -> ModelHealth:
        versions = self.registry.versions(name)
        return ModelHealth(
            name=name,
            declared=name in declared,
            family=strategy.training(name).family,
            offers=declared.get(name, 0),
            champion=self._role("champion", name, acts),
            challenger=self._role("challenger", name, acts),
            shadow=self._role("shadow", name, acts),
            proposals=tuple(self._proposals(name, acts, now)),
            registered=tuple(self._facts(version) for version in versions[: -_EARLIER - 1 : -1]),
            versions=len(versions),
        )

    def _role(self, role: Role, name: str, acts: ModelsNow) -> RoleNow | None:
        act = acts.roles.get((role, name))
        if act is None:
            return None
        return RoleNow(
            role=role,
            facts=self._facts(act.version),
            since=acts.since.get((role, name)),
            actor=act.actor,
            approved_by=None if isinstance(act, Shadowing) else act.approved_by,
            share=act.share if isinstance(act, Challenge) else act.sample if isinstance(act, Shadowing) else 1.0,
            previous=act.previous_version if isinstance(act, Promotion) else None,
        )

    def _proposals(self, name: str, acts: ModelsNow, now: datetime) -> Iterable[WaitingProposal]:
        for version, proposal in sorted(acts.proposals.items(), reverse=True):
            if proposal.name == name:
                proposed = acts.proposed_at[version]
                lapses = proposed + timedelta(days=self.proposal_days)
                yield WaitingProposal(
                    facts=self._facts(version),
                    actor=proposal.actor,
                    reason=proposal.reason,
                    comment=proposal.comment,
                    compared_with=proposal.compared_with,
                    checks=dict(proposal.checks),
                    proposed=proposed,
                    lapses=lapses,
                    lapsed=now > lapses,
                )

    def _facts(self, version: str) -> VersionFacts:
        try:
            manifest = self.registry.manifest(version)
        except RegistryError as error:
            return VersionFacts(version=version, fault=str(error))
        return _facts_of(manifest, self._report_path(version).is_file)


def scored_by(strategy: Strategy) -> dict[str, int]:
    """The models of a strategy, and how many offers each scores."""
    found = {training.name: 0 for training in strategy.trainings}
    for offer in strategy.offers:
        found[offer.model] = found.get(offer.model, 0) + 1
    for training in strategy.trainings:
        found[training.name] += sum(offer.group in training.groups for offer in strategy.offers)
    return found


def _facts_of(manifest: Manifest, has_report: Callable[[], bool]) -> VersionFacts:
    data = manifest.data
    return VersionFacts(
        version=manifest.version,
        created_at=manifest.created_at,
        rows=0 if data is None else data.rows,
        positives=0 if data is None else data.positives,
        since_ms=0 if data is None else data.since_ms,
        until_ms=0 if data is None else data.until_ms,
        reason=manifest.reason,
        metrics={name: manifest.metrics[name] for name in SHOWN_METRICS if name in manifest.metrics},
        has_card=CARD_TEXT_FILE in manifest.files,
        has_report=has_report(),
    )
