"""The history for people."""

from services.use_cases.governance.state import GovernanceState, HistoryEntry


def history_lines(state: GovernanceState, about: str | None = None) -> list[str]:
    """One line an act, oldest first; only what concerns `about` where it is given."""
    return [history_line(line) for line in state.history if about is None or line.about == about]


def history_line(line: HistoryEntry) -> str:
    """When, what, who, why, and what became of it."""
    when = "-" if line.at is None else f"{line.at:%Y-%m-%d %H:%M:%SZ}"
    share = f" for {line.share:.0%}" if line.share is not None and line.share < 1 else ""
    engaged = "" if line.engaged is None else (" stop" if line.engaged else " release")
    why = f": {line.comment}" if line.comment else ""
    rows = "" if line.exported is None else f", {line.exported['rows']} rows"
    became = "" if line.outcome == "valid" else f"  [{line.outcome}: {line.reason}]"
    what = line.type or "unreadable"
    return f"{line.record:>5}  {when}  {what}{engaged} {line.about}{share}{rows} by {line.actor or '?'}{why}{became}"
