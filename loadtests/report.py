"""All results of measurements on one page, with plots: `python -m loadtests.report` reads `var/bench/*.json` and writes
`var/bench/report.html`, which needs nothing but itself."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from loadtests.results import FOLDER, Result, ResultUnreadable, Table, Verdict, read_all
from loadtests.svg_plot import draw

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1917; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; border-top: 1px solid #d6d3d1; padding-top: 1.5rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { border: 1px solid #d6d3d1; padding: .25rem .6rem; text-align: left; } th { background: #f5f5f4; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.holds { color: #166534; font-weight: 600; } .missed { color: #b91c1c; font-weight: 700; }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: #44403c; } svg .grid { stroke: #e7e5e4; stroke-width: 1; }
.origin { color: #57534e; font-size: .9rem; } code { background: #f5f5f4; padding: .1rem .3rem; }
"""


def main() -> int:
    """Exit status 1 where there is nothing to report, or a result cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.report", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the results (default var/bench)")
    parser.add_argument("--out", type=Path, help="the page (default report.html in the folder)")
    args = parser.parse_args()
    try:
        results = read_all(args.folder)
    except ResultUnreadable as error:
        print(f"{error}; delete it or measure again", file=sys.stderr)
        return 1
    if not results:
        print(f"no results in {args.folder}: run make bench first", file=sys.stderr)
        return 1
    out = args.out or args.folder / "report.html"
    out.write_text(page(results, datetime.now(UTC)), "utf-8")
    missed = [verdict for result in results for verdict in result.verdicts if not verdict.holds]
    print(f"{len(results)} results, {len(missed)} targets missed: {out}")
    return 0


def page(results: Sequence[Result], at: datetime) -> str:
    """The whole page."""
    contents = "".join(f'<li><a href="#{result.name}">{escape(result.title)}</a></li>' for result in results)
    sections = "".join(_section(result) for result in results)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Kairos, measured</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>Kairos, measured</h1><p>Written {at:%Y-%m-%d %H:%M} UTC. Each section says when, on what machine and by"
        f" which command its figures were measured; the command measures them again.</p><ul>{contents}</ul>"
        f"{_all_verdicts(results)}{sections}</body></html>\n"
    )


def _all_verdicts(results: Sequence[Result]) -> str:
    rows = [verdict for result in results for verdict in result.verdicts]
    return _verdicts(rows, "Every target, and whether it was reached") if rows else ""


def _section(result: Result) -> str:
    parts = [f'<section id="{result.name}"><h2>{escape(result.title)}</h2>{_origin(result)}']
    if result.verdicts:
        parts.append(_verdicts(result.verdicts, "Targets"))
    parts += [f"<p>{escape(note)}</p>" for note in result.notes]
    parts += [f"<figure><figcaption>{escape(plot.title)}</figcaption>{draw(plot)}</figure>" for plot in result.plots]
    parts += [_table(table) for table in result.tables]
    if result.figures:
        rows = [(name, value) for name, value in sorted(result.figures.items())]
        parts.append(f"<details><summary>Figures</summary>{_table(Table('', ('figure', 'value'), rows))}</details>")
    return "".join([*parts, "</section>"])


def _origin(result: Result) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return (
        f'<p class="origin">{escape(result.measured_at)}, commit {escape(result.commit)}'
        f" (+: with changes that no commit has). <code>{escape(result.command)}</code><br>"
        f"{escape(machine)}<br>{escape(versions)}</p>"
    )


def _verdicts(verdicts: Sequence[Verdict], caption: str) -> str:
    rows = "".join(
        f"<tr><td>{escape(each.claim)}</td><td>{escape(each.target)}</td><td>{escape(each.measured)}</td>"
        f'<td class="{"holds" if each.holds else "missed"}">{"holds" if each.holds else "MISSED"}</td></tr>'
        for each in verdicts
    )
    head = "<tr><th>claim</th><th>target</th><th>measured</th><th>verdict</th></tr>"
    return f"<table><caption>{escape(caption)}</caption><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in table.rows)
    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(cell: str | float) -> str:
    if isinstance(cell, str):
        return f"<td>{escape(cell)}</td>"
    return f'<td class="number">{cell:,.0f}</td>' if abs(cell) >= 1_000 else f'<td class="number">{cell:.6g}</td>'


if __name__ == "__main__":
    sys.exit(main())
