"""Which versions decide, as the acts say up to a moment: one for everybody, and perhaps one for a share beside it.

An activation for a share names the canary; of one for everybody the canary, if any, is no more, and neither is it after
a rollback. An act that takes effect later is scheduled; until its moment, any other act takes its place. Everything
follows from the acts and their times alone, so every node, and one that starts anew, comes to the same.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from decision_engine.draws import draw_fraction
from decision_engine.identifiers import CustomerId
from event_schemas.codec import Event
from event_schemas.control import StrategyAct, StrategyActivated, StrategyRetired, StrategyRolledBack
from event_schemas.envelope import epoch_ms

DECIDING_ACTS = (StrategyActivated, StrategyRolledBack, StrategyRetired)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionsNow:
    """The acts behind what decides: for everybody (None: nobody said), for a share, and from a later moment on."""

    active: StrategyAct | None = None
    canary: StrategyAct | None = None
    scheduled: StrategyAct | None = None

    def at(self, now: datetime) -> "VersionsNow":
        """As of a moment: what was scheduled for before it has been taken."""
        due = self.scheduled
        if due is None or due.effective_at is None or epoch_ms(due.effective_at) > epoch_ms(now):
            return self
        return _taken(replace(self, scheduled=None), due)

    def after(self, event: Event) -> "VersionsNow":
        """With one more act; events that say nothing of what decides change nothing."""
        if not isinstance(event, DECIDING_ACTS):
            return self
        before, act = self.at(event.time), event.data
        if isinstance(event, StrategyRetired):
            return _without(before, act.version)
        before = replace(before, scheduled=None)
        if isinstance(event, StrategyRolledBack):
            return _rolled_back(before, act)
        if act.effective_at is not None and epoch_ms(act.effective_at) > epoch_ms(event.time):
            return replace(before, scheduled=act)
        return _taken(before, act)

    def wait_s(self, now: datetime) -> float | None:
        """Seconds until what is scheduled takes effect; None: nothing is."""
        due = self.scheduled
        if due is None or due.effective_at is None:
            return None
        return max(0.0, (epoch_ms(due.effective_at) - epoch_ms(now)) / 1000)


def is_in_share(customer_id: CustomerId, version: str, share: float) -> bool:
    """Whether a version decides for the customer while it has that share. It depends on the customer and the version
    alone, on every node; a larger share keeps those of the smaller one."""
    return draw_fraction(customer_id, f"canary {version}") < share


def _taken(versions: VersionsNow, act: StrategyAct) -> VersionsNow:
    if act.share is None or act.share >= 1:
        return replace(versions, active=act, canary=None)
    active = versions.active
    if active is None and act.previous_version is not None:
        # Of all acts on one subject only the newest is kept: what everybody else has is what it came beside.
        active = act.model_copy(update={"version": act.previous_version, "share": None, "previous_version": None})
    return replace(versions, active=active, canary=None if _is(active, act.version) else act)


def _rolled_back(versions: VersionsNow, act: StrategyAct) -> VersionsNow:
    """A rollback names what decides again for everybody; one that names the canary ends just that."""
    if versions.canary is not None and act.version == versions.canary.version and versions.active is not None:
        return replace(versions, canary=None)
    return replace(versions, active=act, canary=None)


def _without(versions: VersionsNow, version: str) -> VersionsNow:
    return replace(
        versions,
        canary=None if _is(versions.canary, version) else versions.canary,
        scheduled=None if _is(versions.scheduled, version) else versions.scheduled,
    )


def _is(act: StrategyAct | None, version: str) -> bool:
    return act is not None and act.version == version
