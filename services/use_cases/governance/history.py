"""The history of acts as lines: who did what, when, why, and what became of it."""

from typing import Literal

from event_schemas.control import KillSwitch, StrategyAct
from services.use_cases.governance.chain import Link, Verdict
from services.use_cases.governance.state import HistoryEntry

_PREFIX = "nbo.control."


def entry(link: Link, refused: str | None) -> HistoryEntry:
    """One record of the chain as a line; `refused` says why the rules forbid it."""
    event = link.event
    outcome: Literal["valid", "void", "broken", "refused"] = (
        "refused" if refused is not None else _OUTCOMES[link.verdict]
    )
    if event is None:
        return HistoryEntry(
            record=link.record,
            sequence=link.sequence,
            hash=link.hash,
            outcome=outcome,
            reason=link.reason,
            event_id="",
            type="",
            about="",
            actor="",
            at=None,
        )
    data = event.data
    return HistoryEntry(
        record=link.record,
        sequence=link.sequence,
        hash=link.hash,
        outcome=outcome,
        reason=refused or link.reason,
        event_id=event.id,
        type=event.type.removeprefix(_PREFIX),
        about=f"{data.kind}:{data.name}" if isinstance(data, KillSwitch) else data.version,
        actor=data.actor,
        at=event.time,
        comment=data.comment,
        share=data.share if isinstance(data, StrategyAct) else None,
        engaged=data.engaged if isinstance(data, KillSwitch) else None,
        previous_version=data.previous_version if isinstance(data, StrategyAct) else None,
    )


_OUTCOMES: dict[Verdict, Literal["valid", "void", "broken", "refused"]] = {
    Verdict.VALID: "valid",
    Verdict.VOID: "void",
    Verdict.BROKEN: "broken",
}
