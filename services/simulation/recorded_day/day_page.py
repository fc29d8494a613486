"""The findings of a simulated day as one self-contained page: no scripts, nothing fetched."""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from models.evaluation.full_report.html_table import (
    MISSING,
    Cell,
    Content,
    figure,
    figures,
    flag,
    glyphs,
    paragraph,
    table,
)
from models.evaluation.full_report.svg_plot import Axis, Frame, bar, drawn, level, padded, share_bar
from models.evaluation.intervals import Estimate
from models.evaluation.off_policy.judgement import OffPolicyReport
from services.simulation.recorded_day.day_findings import Beside, DayFindings
from services.simulation.recorded_day.day_text import APPROXIMATE, as_json, below_words, reach
from services.simulation.recorded_day.sides import ACTIVE, DRAFT

_STYLE = files("models.evaluation.full_report").joinpath("report.css")
_OWN_STYLE = """
.tiles { grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); }
thead tr.over th[colspan] { border-bottom: 0; padding-bottom: 0; } thead th[colspan] { text-align: center; }
table.funnel th:nth-child(-n+3), table.changes th:nth-child(2), table.examples th { text-align: left; }
td.muted { color: var(--muted); } td.left { text-align: left; }
details { margin: 4px 0 14px; } summary { cursor: pointer; color: var(--muted); font-size: 13.5px; }
"""
_LARGE = 100
"""Estimates from here on are printed with one decimal place."""
_AS_BEFORE = 0.5
"""A change of value below it is printed as nothing."""


def day_page(found: DayFindings) -> str:
    """The page; equal findings have equal pages."""
    sections = list(_sections(found))
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in sections)
    body = "".join(
        f'<section id="{name}"><h2>{escape(title)}</h2>{"".join(content)}</section>'
        for name, title, content in sections
    )
    title = f"Simulation of {found.day.order.draft.name} {found.day.order.draft.version}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}{_OWN_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{''.join(_header(found))}<nav>{links}</nav><main>{body}</main>"
        f"<footer>{''.join(paragraph(text) for text in APPROXIMATE)}</footer></body></html>\n"
    )


def _header(found: DayFindings) -> Iterator[str]:
    facts, totals = as_json(found), found.day.totals
    period = facts["period"]
    span = f"{period['since']} to {period['until']}" if isinstance(period, dict) else ""
    yield paragraph(
        f"{totals.requests:,} recorded requests, {span}, decided again by {found.day.order.draft.name} "
        f"{facts['draft']} and by {found.day.order.active.name} {facts['active']}. Seed {found.rule.seed}.",
        "muted",
    )
    if totals.same_choice != totals.compared or not totals.compared:
        yield paragraph(
            f"The active side makes {totals.same_choice:,} of {totals.compared:,} of its recorded decisions again as "
            "recorded.",
            "note warn",
        )
    whole = found.whole
    tiles = (
        ("expected value", f"{whole.draft.value:,.0f}", f"active {whole.active.value:,.0f}"),
        ("change", f"{whole.change.value:+,.0f}", reach(whole.change)),
        ("decisions that change", f"{totals.changed:,}", f"of {totals.requests:,}"),
        ("customers who gain", f"{found.gained:,}", f"{found.lost:,} lose"),
    )
    cells = "".join(
        f'<div class="tile"><span>{escape(a)}</span><b>{escape(b)}</b><span>{escape(c)}</span></div>'
        for a, b, c in tiles
    )
    yield f'<div class="tiles">{cells}</div>'


def _sections(found: DayFindings) -> Iterator[tuple[str, str, Sequence[str]]]:
    yield "gains", "Who gains, who loses", [_tenths(found)]
    yield "segments", "Segments", [_beside("segment", found.segments, drawn_too=True)]
    yield "offers", "Offers and groups", [_beside("offer", found.offers), _beside("group", found.groups)]
    yield "channels", "Channels", [_beside("channel", found.channels)]
    yield "funnel", "Funnel by rule", [_funnel(found)]
    yield "volumes", "Volumes", [_volumes(found)]
    yield "fairness", "Fairness between groups", [_fairness(found)]
    yield "changes", "Decisions that change", [_changes(found), _examples(found)]
    yield "policy", "Value by the recorded responses", list(_off_policy(found))


def _tenths(found: DayFindings) -> str:
    changes = [tenth.draft - tenth.active for tenth in found.tenths]
    low, high = padded(changes, zero=True)
    frame = Frame(
        title="change of expected value a customer, by tenths",
        x=Axis(low=-0.5, high=len(changes) - 0.5, title="tenth", categories=[str(t.number) for t in found.tenths]),
        y=Axis(low=low, high=high, title="value a customer"),
    )
    marks = [
        bar(frame, n, each, f"{each:+,.1f}", "bar" if each >= 0 else "bar second") for n, each in enumerate(changes)
    ]
    plot = figure(drawn(frame, [*marks, level(frame, 0.0)]), "Draft less active, from who loses most to who gains most")
    rows = [
        (str(t.number), f"{t.customers:,}", f"{t.active:,.1f}", f"{t.draft:,.1f}", _signed(t.draft - t.active, 1))
        for t in found.tenths
    ]
    listed = table(("tenth", "customers", "active", "draft", "change"), rows)
    said = f"{found.gained:,} customers gain, {found.lost:,} lose, {found.equal:,} are as before."
    return paragraph(said) + figures(plot, listed)


def _beside(title: str, found: Sequence[Beside], *, drawn_too: bool = False) -> str:
    marks: Sequence[Content | None] = [None] * len(found)
    if drawn_too:
        marks = glyphs([each.change for each in found], 0.0)
    rows = [_beside_row(each, mark) for each, mark in zip(found, marks, strict=True)]
    moved = [row for row, each in zip(rows, found, strict=True) if drawn_too or not _is_as_before(each)]
    stays = [row for row, each in zip(rows, found, strict=True) if not drawn_too and _is_as_before(each)]
    head = [(title, 1), ("options", 2), ("expected accepts", 2), ("expected value", 2), ("change", 1)]
    head += [("95 % interval", 1)] if drawn_too else []
    listed = _paired(head, moved) or paragraph("Nothing changes." if stays else "None.", "muted")
    if stays:
        kinds = f"{title}s" if len(stays) > 1 else title
        listed += f"<details><summary>{len(stays)} {kinds} as before</summary>{_paired(head, stays)}</details>"
    return listed


def _beside_row(each: Beside, mark: Content | None) -> tuple[Content, ...]:
    row = (
        each.name,
        f"{each.active.options:,}",
        f"{each.draft.options:,}",
        f"{each.active.accepts:,.1f}",
        f"{each.draft.accepts:,.1f}",
        f"{each.active.value:,.0f}",
        f"{each.draft.value:,.0f}",
        _signed(each.change.value),
    )
    return row if mark is None else (*row, mark)


def _is_as_before(each: Beside) -> bool:
    return each.active.options == each.draft.options and abs(each.change.value) < _AS_BEFORE


def _signed(change: float, digits: int = 0) -> Content:
    """A change with its sign; a dash where it is printed as nothing."""
    return f"{change:+,.{digits}f}" if abs(change) >= _AS_BEFORE / 10**digits else Cell(MISSING, "muted")


def _paired(head: Sequence[tuple[str, int]], rows: Sequence[Sequence[Content]]) -> str:
    """A table whose titles stand over one column each, or over two: the active side's and the draft's."""
    over = "".join(
        f'<th scope="col" rowspan="2">{escape(title)}</th>' if width == 1 else f'<th colspan="2">{escape(title)}</th>'
        for title, width in head
    )
    under = "".join(f'<th scope="col">{ACTIVE}</th><th scope="col">{DRAFT}</th>' for _, width in head if width > 1)
    plain = table([""], rows)
    before, _, body = plain.partition("<thead>")
    _, _, after = body.partition("</thead>")
    return f'{before}<thead><tr class="over">{over}</tr><tr>{under}</tr></thead>{after}' if plain else ""


def _funnel(found: DayFindings) -> str:
    most = max((max(step.active, step.draft) for step in found.funnel), default=1)
    rows: list[tuple[Content, ...]] = [("candidates", "", "", *(f"{count:,}" for count in found.candidates), "", "")]
    for step in found.funnel:
        bars = (Cell(share_bar(step.active / most)), Cell(share_bar(step.draft / most, "bar second")))
        rows.append((step.stage, _left(step.rule), _left(step.code), f"{step.active:,}", f"{step.draft:,}", *bars))
    options = (found.whole.active.options, found.whole.draft.options)
    rows.append(("offered", "", "", *(f"{count:,}" for count in options), "", ""))
    return table(("stage", "rule", "reason", ACTIVE, DRAFT, "", ""), rows, "funnel")


def _volumes(found: DayFindings) -> str:
    rows = [
        (
            each.volume,
            *(
                "has none" if used is None or amount is None else f"{used:,.1f} of {amount:,}"
                for used, amount in zip(each.used, each.amounts, strict=True)
            ),
        )
        for each in found.volumes
    ]
    return table(("volume", "active used", "draft used"), rows) or paragraph("Neither strategy has volumes.", "muted")


def _fairness(found: DayFindings) -> str:
    rows: list[tuple[Content, ...]] = [
        (
            each.attribute,
            _left(each.group),
            f"{each.customers:,}",
            *(f"{rate:.1%}" for rate in each.rates),
            *(f"{ratio:.2f}" for ratio in each.ratios),
            *(f"{value:,.1f}" for value in each.values),
            flag(below_words(each.below)),
        )
        for each in found.fairness
    ]
    head = (
        ("attribute", 1),
        ("group", 1),
        ("customers", 1),
        ("offer rate", 2),
        ("of highest", 2),
        ("value a customer", 2),
        ("", 1),
    )
    return _paired(head, rows) or paragraph("No groups were declared.", "muted")


def _changes(found: DayFindings) -> str:
    rows = [(a or "fallback", _left(b or "fallback"), f"{count:,}") for a, b, count in found.changes]
    return table(("first on the active side", "first on the draft's", "decisions"), rows, "changes") or paragraph(
        "None.", "muted"
    )


def _examples(found: DayFindings) -> str:
    none = "fallback"
    rows: list[tuple[Content, ...]] = [
        (each.decision_id, *map(_left, (each.customer_id, each.channel, each.active or none, each.draft or none)))
        for each in found.examples
    ]
    listed = table(("decision", "customer", "channel", ACTIVE, DRAFT), rows, "examples")
    return f"<details><summary>{len(rows)} of them, one by one</summary>{listed}</details>" if rows else ""


def _left(text: str) -> Cell:
    return Cell(escape(text), "left")


def _off_policy(found: DayFindings) -> Iterator[str]:
    for name, judged in found.off_policy.items():
        yield f"<h3>Reward: {escape(name)}</h3>"
        if not isinstance(judged, OffPolicyReport):
            yield paragraph(judged, "note warn")
            continue
        values = [policy.estimates[policy.headline] for policy in judged.policies]
        marks = glyphs([judged.logged, *values])
        rows: list[tuple[Content, ...]] = [("as recorded", "mean", *_estimate(judged.logged), marks[0])]
        rows += [
            (policy.name, policy.headline.value, *_estimate(value), mark)
            for policy, value, mark in zip(judged.policies, values, marks[1:], strict=True)
        ]
        yield table(("policy", "estimator", "a choice", "low", "high", ""), rows)
        yield from (
            paragraph(f"No conclusion on {policy.name}: {why}", "note warn")
            for policy in judged.policies
            for why in policy.refusals
        )


def _estimate(found: Estimate) -> tuple[str, str, str]:
    form = "{:,.1f}" if abs(found.value) >= _LARGE else "{:.5f}"
    return form.format(found.value), form.format(found.low), form.format(found.high)
