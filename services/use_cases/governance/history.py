"""The history of acts as lines: who did what, when, why, and what became of it."""

from collections.abc import Mapping
from typing import Literal

from event_schemas.control import ChainedAct, DataExport, KillSwitch, StrategyAct, StrategySimulation
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
        about=_about(data),
        actor=data.actor,
        at=event.time,
        comment=data.comment,
        share=data.share if isinstance(data, StrategyAct) else None,
        engaged=data.engaged if isinstance(data, KillSwitch) else None,
        previous_version=data.previous_version if isinstance(data, StrategyAct) else None,
        effective_at=data.effective_at if isinstance(data, StrategyAct) else None,
        exported=_exported(data) if isinstance(data, DataExport) else None,
        report_digest=data.report_digest if isinstance(data, StrategySimulation) else None,
    )


def _exported(data: DataExport) -> Mapping[str, object]:
    return {"rows": data.rows, "part": data.part, "attributes": list(data.attributes)}


def _about(data: ChainedAct) -> str:
    """What an act is about, as `HistoryEntry.about` says it."""
    if isinstance(data, KillSwitch):
        return f"{data.kind}:{data.name}"
    if isinstance(data, DataExport):
        return f"export:{data.what}"
    return data.version if isinstance(data, StrategyAct | StrategySimulation) else ""


_OUTCOMES: dict[Verdict, Literal["valid", "void", "broken", "refused"]] = {
    Verdict.VALID: "valid",
    Verdict.VOID: "void",
    Verdict.BROKEN: "broken",
}
