"""The findings of a simulated day as a table for people and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from models.evaluation.intervals import Estimate
from models.evaluation.off_policy.judgement import OffPolicyReport
from models.evaluation.off_policy.report import as_json as off_policy_json
from models.evaluation.off_policy.report import report_lines as off_policy_lines
from models.evaluation.report import aligned
from services.simulation.recorded_day.day_findings import Beside, DayFindings
from services.simulation.recorded_day.sides import ACTIVE, DRAFT

FORMAT = 1
"""Raised whenever a field of the JSON changes its meaning or goes."""
SHOWN = 15
APPROXIMATE = (
    "State is that of the recorded world on both sides: what customers would have done with other offers, products "
    "opened included, is not drawn.",
    "Contacts are each side's own. A place that was seen is seen on both sides; other responses count where the same "
    "offer stood there.",
    "Volumes are shared out to partitions every slice; what is charged on acceptance is used by its propensity's part.",
    "Volumes charged on reservation count as unused when the day begins; challengers' shares are scored as recorded.",
)
"""What the figures leave out."""


def text_lines(found: DayFindings, most: int = SHOWN) -> list[str]:
    """Everything as text; of long tables the `most` lines that matter most."""
    return [
        *_head(found),
        *_titled("decisions, options and expected value (minor units)", _beside([found.whole], "of")),
        f"customers: {found.gained:,} gain, {found.lost:,} lose, {found.equal:,} are as before",
        *_titled("value a customer, by tenths of what changes", _tenths(found)),
        *_titled("offers, by what changes most", _beside(found.offers[:most], "offer", first=True)),
        *_titled("offer groups", _beside(found.groups[:most], "group", first=True)),
        *_titled("channels", _beside(found.channels, "channel")),
        *_titled("segments", _beside(found.segments, "segment")),
        *_titled("funnel: candidates dropped", _funnel(found)),
        *_titled("volumes", _volumes(found)),
        *_titled("fairness", _fairness(found)),
        *_titled(f"decisions that change: {found.day.totals.changed:,}", _changes(found)),
        *_off_policy(found),
        "",
        *(f"note           {text}" for text in APPROXIMATE),
    ]


def as_json(found: DayFindings) -> dict[str, object]:
    """Everything, with the seed and what the figures leave out."""
    day, totals = found.day, found.day.totals
    return {
        "format": FORMAT,
        "period": {"since": _moment(day.order.since_ms), "until": _moment(day.order.until_ms)},
        "active": day.order.active.version,
        "draft": day.order.draft.version,
        "draft_models": dict(day.order.instead),
        "seed": found.rule.seed,
        "requests": totals.requests,
        "events": totals.events,
        "unreadable_events": totals.unreadable,
        "odd_rows": day.odd_rows,
        "agreement": {
            "compared": totals.compared,
            "same_choice": totals.same_choice,
            "same_score": totals.same_score,
        },
        "all": asdict(found.whole),
        "customers": {"gained": found.gained, "lost": found.lost, "equal": found.equal},
        "tenths": [asdict(each) for each in found.tenths],
        "offers": [asdict(each) for each in found.offers],
        "groups": [asdict(each) for each in found.groups],
        "channels": [asdict(each) for each in found.channels],
        "segments": [asdict(each) for each in found.segments],
        "candidates": dict(zip((ACTIVE, DRAFT), found.candidates, strict=True)),
        "fallbacks": dict(zip((ACTIVE, DRAFT), found.fallbacks, strict=True)),
        "degraded": {name: dict(sorted(side.degraded.items())) for name, side in totals.sides.items()},
        "funnel": [asdict(each) for each in found.funnel],
        "volumes": [asdict(each) for each in found.volumes],
        "fairness": [asdict(each) for each in found.fairness],
        "changed": totals.changed,
        "changes": [{"active": a, "draft": b, "decisions": n} for a, b, n in found.changes],
        "examples": [asdict(each) for each in found.examples],
        "off_policy": {
            name: off_policy_json(judged) if isinstance(judged, OffPolicyReport) else {"refused": judged}
            for name, judged in found.off_policy.items()
        },
        "not_judged": dict(sorted(totals.choices.left_out.items())),
        "approximate": list(APPROXIMATE),
    }


def _head(found: DayFindings) -> Iterator[str]:
    order, totals = found.day.order, found.day.totals
    yield f"period         {_moment(order.since_ms)} to {_moment(order.until_ms)}"
    yield f"active         {order.active.name} {order.active.version}"
    models = "".join(f", {name} by {version}" for name, version in sorted(order.instead.items()))
    yield f"draft          {order.draft.name} {order.draft.version}{models}"
    yield f"requests       {totals.requests:,}, {totals.events:,} events folded, seed {found.rule.seed}"
    if totals.unreadable or found.day.odd_rows:
        yield f"unreadable     {totals.unreadable:,} events, {found.day.odd_rows:,} archived rows without time or owner"
    yield _agreement(found)


def _agreement(found: DayFindings) -> str:
    totals = found.day.totals
    if not totals.compared:
        return "agreement      none of the decisions was made by the active strategy: it cannot be held against its log"
    return (
        f"agreement      the active side makes {totals.same_choice / totals.compared:.2%} of its {totals.compared:,} "
        f"recorded decisions again as recorded, {totals.same_score:,} with the very same propensities"
    )


def _titled(title: str, rows: Sequence[Sequence[str]]) -> list[str]:
    return ["", title, *aligned(list(rows))] if len(rows) > 1 else []


def _beside(found: Sequence[Beside], title: str, *, first: bool = False) -> list[tuple[str, ...]]:
    decisions = "first" if first else "answered"
    head = (title, "customers", decisions, "draft", "options", "draft", "value", "draft", "change", "95 % interval")
    rows = [
        (
            each.name,
            "" if each.customers is None else f"{each.customers:,}",
            f"{each.active.answered:,}",
            f"{each.draft.answered:,}",
            f"{each.active.options:,}",
            f"{each.draft.options:,}",
            f"{each.active.value:,.0f}",
            f"{each.draft.value:,.0f}",
            f"{each.change.value:+,.0f}",
            reach(each.change),
        )
        for each in found
    ]
    return [head, *rows]


def reach(found: Estimate) -> str:
    """The interval in words; nothing where there is none."""
    return "" if found.low == found.high else f"{found.low:+,.0f} .. {found.high:+,.0f}"


def _tenths(found: DayFindings) -> list[tuple[str, ...]]:
    rows = [
        (f"{t.number}", f"{t.customers:,}", f"{t.active:,.1f}", f"{t.draft:,.1f}", f"{t.draft - t.active:+,.1f}")
        for t in found.tenths
    ]
    return [("tenth", "customers", "active", "draft", "change"), *rows]


def _funnel(found: DayFindings) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("stage", "rule", "reason", "active", "draft", "change")]
    rows.append(("candidates", "", "", *(f"{n:,}" for n in found.candidates), _more(*found.candidates)))
    rows += [(s.stage, s.rule, s.code, f"{s.active:,}", f"{s.draft:,}", _more(s.active, s.draft)) for s in found.funnel]
    options = (found.whole.active.options, found.whole.draft.options)
    return [*rows, ("offered", "", "", *(f"{n:,}" for n in options), _more(*options))]


def _more(active: int, draft: int) -> str:
    return f"{draft - active:+,}" if draft != active else ""


def _volumes(found: DayFindings) -> list[tuple[str, ...]]:
    rows = [
        (v.volume, *(f"{used:,.1f} of {amount:,}" if used is not None and amount is not None else "has none"
                     for used, amount in zip(v.used, v.amounts, strict=True)))
        for v in found.volumes
    ]  # fmt: skip
    return [("volume", "active used", "draft used"), *rows]


def _fairness(found: DayFindings) -> list[tuple[str, ...]]:
    head = ("attribute", "group", "customers", "offer rate", "draft", "of highest", "draft", "value", "draft", "")
    rows = [
        (
            g.attribute,
            g.group,
            f"{g.customers:,}",
            *(f"{rate:.1%}" for rate in g.rates),
            *(f"{ratio:.2f}" for ratio in g.ratios),
            *(f"{value:,.1f}" for value in g.values),
            below_words(g.below),
        )
        for g in found.fairness
    ]
    return [head, *rows]


def below_words(below: tuple[bool, bool]) -> str:
    """Which side is below four fifths."""
    sides = [name for name, low in zip((ACTIVE, DRAFT), below, strict=True) if low]
    return f"below four fifths: {' and '.join(sides)}" if sides else ""


def _changes(found: DayFindings) -> list[tuple[str, ...]]:
    rows = [(a or "fallback", b or "fallback", f"{n:,}") for a, b, n in found.changes]
    return [("first on the active side", "first on the draft's", "decisions"), *rows]


def _off_policy(found: DayFindings) -> Iterator[str]:
    for name, judged in found.off_policy.items():
        yield ""
        yield f"off-policy value by the recorded responses, reward: {name}"
        yield from off_policy_lines(judged) if isinstance(judged, OffPolicyReport) else [f"NO CONCLUSION  {judged}"]
    yield from (f"not judged: {n:,} decisions {why}" for why, n in sorted(found.day.totals.choices.left_out.items()))


def _moment(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
