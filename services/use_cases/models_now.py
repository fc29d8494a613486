"""What the control topic says the model versions are to do now, and which of them wait for approval."""

from dataclasses import dataclass, field
from datetime import datetime

from event_schemas.codec import Event
from event_schemas.control import (
    Challenge,
    ModelChallenged,
    ModelDeclined,
    ModelPromoted,
    ModelProposed,
    ModelRetired,
    ModelShadowed,
    Promotion,
    Proposal,
    Shadowing,
)
from services.use_cases.model_acts import Role

MODEL_ACTS = tuple(
    f"nbo.control.model.{kind}" for kind in ("promoted", "challenged", "shadowed", "retired", "proposed", "declined")
)
"""The events that `ModelsNow` is to be told of."""


@dataclass(slots=True)
class ModelsNow:
    """The newest act on every role of every model, and the proposals nobody has answered."""

    roles: dict[tuple[Role, str], Promotion | Challenge | Shadowing] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    """By version."""
    proposed_at: dict[str, datetime] = field(default_factory=dict)
    """When each was proposed, by version."""
    since: dict[tuple[Role, str], datetime] = field(default_factory=dict)
    """When the newest act on each role was done."""

    async def note(self, event: Event) -> None:
        """Takes one event of the control topic in, in order within a subject."""
        if isinstance(event, ModelPromoted):
            self.roles["champion", event.data.name] = event.data
            self.since["champion", event.data.name] = event.time
        elif isinstance(event, ModelChallenged):
            self.roles["challenger", event.data.name] = event.data
            self.since["challenger", event.data.name] = event.time
        elif isinstance(event, ModelShadowed):
            self.roles["shadow", event.data.name] = event.data
            self.since["shadow", event.data.name] = event.time
        elif isinstance(event, ModelRetired):
            found = self.roles.get((event.data.role, event.data.name))
            if found is not None and event.data.version in (None, found.version):
                del self.roles[event.data.role, event.data.name]
        elif isinstance(event, ModelProposed):
            self.proposals[event.data.version] = event.data
            self.proposed_at[event.data.version] = event.time
        elif isinstance(event, ModelDeclined):
            self.proposals.pop(event.data.version, None)

    def standing(self) -> "ModelsNow":
        """Without what a later promotion has ended: a challenge before it, and every proposal before it."""
        return ModelsNow(
            roles={key: act for key, act in self.roles.items() if key[0] != "challenger" or self._challenges(key[1])},
            proposals={version: p for version, p in self.proposals.items() if self._open(p)},
            proposed_at=self.proposed_at,
            since=self.since,
        )

    def _challenges(self, name: str) -> bool:
        promoted = self.since.get(("champion", name))
        return promoted is not None and self.since["challenger", name] >= promoted

    def _open(self, proposal: Proposal) -> bool:
        promoted = self.since.get(("champion", proposal.name))
        return promoted is None or self.proposed_at[proposal.version] > promoted
