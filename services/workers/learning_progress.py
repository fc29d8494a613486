"""What has been tried for one model in this process, and what the control topic tells of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from event_schemas.control import ModelDeclined, ModelPromoted, ModelProposed, ModelRetired

ModelAct = ModelPromoted | ModelProposed | ModelDeclined | ModelRetired
"""What becomes of a model's versions."""


@dataclass(slots=True)
class LearningProgress:
    """Of one model."""

    rows: int = 0
    """Labelled rows at the last reading of the archive, of `closed` contacts then."""
    closed: int = 0
    wanted: int = 0
    """Rows from which the archive is worth reading again."""
    last_act: datetime | None = None
    """When the control topic last told of this model, by whomever."""
    proposed: str | None = None
    """A version that waits for a person since `proposed_at`."""
    proposed_at: datetime | None = None
    declined: str | None = None
    """The last version that somebody said no to."""
    champion: str | None = None
    """The version in service, as the control topic tells."""
    tried: datetime | None = None
    """The moment of the timetable that was last tried."""
    since_ms: int = 0
    """Where the window begins that rows were counted in (0: the archive's beginning)."""

    def forget_rows(self) -> None:
        """What was counted no longer holds."""
        self.rows = self.closed = self.wanted = 0

    def note(self, event: ModelAct) -> None:
        """Takes in what became of one of its versions."""
        self.last_act = max(event.time, self.last_act or event.time)
        if isinstance(event, ModelProposed):
            self.proposed, self.proposed_at = event.data.version, event.time
        elif isinstance(event, ModelDeclined):
            self.proposed, self.declined = None, event.data.version
        elif isinstance(event, ModelPromoted):
            self.proposed, self.champion = None, event.data.version
        elif event.data.role == "champion":
            self.champion = None

    def waiting(self, now: datetime, proposal_days: int) -> str | None:
        """The version under review; None once its proposal has lapsed."""
        if self.proposed is None or self.proposed_at is None:
            return None
        return self.proposed if now <= self.proposed_at + timedelta(days=proposal_days) else None
