"""What the learner needs from outside, and what a fit comes to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from decision_engine.features.definitions import Value
from event_schemas.control import ModelPromoted, ModelProposed
from models.decision_log.contact_index import ContactIndex
from models.decision_log.labelled_rows import LogQuery
from models.evaluation.promotion_checks import Assessment
from models.manifest import Manifest
from models.registry import ModelRegistry
from services.ports import EventPublisher
from services.workers.drift_watch import DriftWatch

PROPOSAL_DAYS = 7
"""How long a proposal may be approved, unless a setting says otherwise."""


class PutForward(Protocol):
    """Makes the event that promotes a registered version, or proposes it to whoever approves."""

    def __call__(
        self, manifest: Manifest, assessment: Assessment, *, event_id: str, at: datetime, actor: str
    ) -> ModelPromoted | ModelProposed: ...


@dataclass(frozen=True, slots=True)
class Learnt:
    """A fit that happened, and what the checks found; it was put forward when none failed."""

    manifest: Manifest
    assessment: Assessment

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it was not put forward; empty when it was."""
        return self.assessment.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerTools:
    """What the learner needs from outside; `on_learnt` is told of every fit."""

    registry: ModelRegistry
    publisher: EventPublisher
    new_id: Callable[[], str]
    now: Callable[[], datetime]
    put_forward: PutForward
    replay: bool = False
    """Whether the log is a replay's, so that its age says nothing."""
    on_learnt: Callable[[Learnt], None] = lambda _: None
    protected: Callable[[LogQuery], Mapping[str, Mapping[str, Value]]] = lambda _: {}
    """By customer the attributes that fairness is judged by, asked for once a fit."""
    contacts: ContactIndex = field(default_factory=ContactIndex)
    """Knows how much of the archive there is; to be shared with the drift watch."""
    proposal_days: int = PROPOSAL_DAYS
    """An older proposal waits for nobody: it cannot be approved any more."""
    drift: DriftWatch | None = None
    """Asks for a fit on recent rows when the version in service has drifted; None: nobody watches."""
