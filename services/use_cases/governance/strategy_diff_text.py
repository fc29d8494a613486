"""A diff of two strategies in lines for people, and as values for other programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from services.use_cases.governance.strategy_diff import Change, Plain, Step, StrategyDiff, compact

_SHOWN_CHARACTERS = 160
_SINGULAR = {
    "offers": "offer", "groups": "group", "issues": "issue", "features": "feature", "derived": "derived attribute",
    "segments": "segment", "tags": "tag", "placements": "placement", "profile": "profile attribute",
    "policies": "policy", "volumes": "volume", "levers": "lever", "triggers": "trigger", "experiments": "experiment",
    "consents": "consent", "models": "model", "holdouts": "holdout", "links": "link", "linked": "linked attribute",
    "boosts": "boost", "context": "context attribute", "service_first": "service-first rule",
    "context_weights": "context weight", "contact_policy": "contact policy", "treatments": "treatment",
    "eligibility": "eligibility rule", "applicability": "applicability rule", "suitability": "suitability rule",
    "rules": "rule", "reasons": "reason", "limits": "limit",
}  # fmt: skip
"""What one of a list is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a change is about. `area` is the section (`offers`); `thing` in words (`offer gold_card, treatment banner`);
    `field` the way inside of it (`content.zh-CN.title`), empty for the whole thing."""

    area: str
    thing: str
    field: str


def subject(path: Sequence[Step]) -> Subject:
    """The place of a change in words."""
    area, *steps = path
    thing, field = "", ""
    for step in steps:
        if isinstance(step, str):
            field = f"{field}.{step}" if field else step
            continue
        last = (field or str(area)).rpartition(".")[2]
        way, about = field.rpartition(".")[0], f"{_SINGULAR.get(last, last)} {step.name}"
        inside = f"{thing}, {about}" if thing else about
        thing, field = (f"{inside} of {way}" if way else inside), ""
    return Subject(area=str(area), thing=thing, field=field)


def change_text(change: Change) -> str:
    """One difference as a line."""
    of = subject(change.path)
    about = ", ".join(part for part in (of.thing or of.area, of.field) if part)
    if change.kind == "moved":
        return f"{about}: another order"
    if change.kind == "added":
        return f"{about}: added {_shown(change.after)}"
    if change.kind == "removed":
        return f"{about}: removed {_shown(change.before)}"
    return f"{about}: {_shown(change.before)} -> {_shown(change.after)}"


def diff_lines(found: StrategyDiff, *, with_files: bool = True) -> list[str]:
    """Everything as text: by area what differs, then the files."""
    lines: list[str] = []
    area = None
    for change in found.changes:
        if change.path[0] != area:
            area = str(change.path[0])
            lines += ["", area] if lines else [area]
        sign = {"added": "+", "removed": "-", "changed": "~", "moved": "^"}[change.kind]
        lines.append(f"  {sign} {change_text(change)}")
    if with_files:
        for file in found.files:
            lines += ["", f"{file.name} ({file.kind})", *(f"  {line}" for line in file.lines[2:] or file.lines)]
    return lines or ["no difference"]


def diff_as_json(found: StrategyDiff) -> dict[str, object]:
    """Everything for other programs, each change with its line for people."""
    return {
        "changes": [_as_json(change) for change in found.changes],
        "files": [asdict(file) for file in found.files],
    }


def _shown(value: Plain) -> str:
    text = value if isinstance(value, str) else compact(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _as_json(change: Change) -> dict[str, object]:
    return {
        "kind": change.kind,
        **asdict(subject(change.path)),
        "before": change.before,
        "after": change.after,
        "text": change_text(change),
    }
