"""A finding in words, as a table, and as a result that the report draws."""

from collections.abc import Mapping, Sequence

from loadtests.open_loop.load import Finding
from loadtests.open_loop.stages import Stage
from loadtests.open_loop.tally import Tally
from loadtests.open_loop.thresholds import Judged
from loadtests.results import Line, Plot, Table, Verdict

ALL = "all"
LEAST_STEP = 1.01
"""Points of a percentile curve are at least so far apart."""
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
COLUMNS = (
    "step", "sent/s", "in time", "degraded", "late", "refused", "errors", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms",
    "max ms",
)  # fmt: skip


def steps_table(finding: Finding, title: str = "By step") -> Table:
    """One row a step, and one for all where there are several. Latencies are of what was answered as it should be."""
    rows = [_row(name, tally, finding.seconds) for name, tally in finding.tallies.items()]
    if len(rows) > 1:
        rows.append(_row(ALL, finding.total, finding.seconds))
    return Table(title, COLUMNS, rows)


def processes_table(finding: Finding) -> Table:
    """What each process took."""
    rows = [
        (
            name,
            f"{usage.processor_s / finding.measured_s:.0%}",
            round(finding.processor_ms(name), 3),
            round(usage.resident_mib, 1),
        )
        for name, usage in finding.usage.items()
    ]
    return Table("Processes", ("process", "of a processor", "CPU ms a request", "memory MiB"), rows)


def outcomes_text(finding: Finding) -> str:
    """Every outcome and how often; what was not sent because there was nothing to answer."""
    total = finding.total
    parts = [f"{name} {count:,}" for name, count in sorted(total.outcomes.items())]
    if total.unasked:
        parts.append(f"without an offer to respond to, not sent {total.unasked:,}")
    return ", ".join(parts)


def curve_plot(curves: Mapping[str, Tally], title: str = "Latency by percentile") -> Plot:
    """The percentile curve of each: how long the slowest share takes, 1 in 10, 1 in 100, … to the left."""
    lines = [
        Line(name, _thinned([(1 / share, latency) for share, latency in tally.accepted.curve()]))
        for name, tally in curves.items()
        if tally.accepted.total
    ]
    return Plot(title=title, x="one request in …", y="ms", lines=lines, log_x=True, log_y=True)


def seconds_plot(finding: Finding) -> Plot:
    """What was sent and what was answered in time, by second of the run."""
    seconds = sorted(finding.total.by_second.items())
    lines = [
        Line("sent", [(float(second), float(row[0])) for second, row in seconds]),
        Line("in time", [(float(second), float(row[1])) for second, row in seconds]),
    ]
    return Plot(title="Requests by second of the run", x="second", y="requests", lines=lines)


def stages_plot(
    spent: Mapping[str, Mapping[str, Stage]], title: str = "Stages of a decision", across: str = ""
) -> Plot:
    """By run, the mean time of a decision in each stage, one on the other; `across` says what the runs differ in."""
    runs = list(spent)
    names = list(dict.fromkeys(stage for stages in spent.values() for stage in stages))
    nothing = Stage(0.0, 0.0)
    lines = [
        Line(name, [(float(place), round(spent[run].get(name, nothing).mean_us, 1)) for place, run in enumerate(runs)])
        for name in names
    ]
    return Plot(title=title, x=across, y="us a decision", lines=lines, kind="bars", labels=runs)


def verdict(judged: Judged) -> Verdict:
    """A threshold as the report shows it."""
    bound = judged.threshold
    return Verdict(bound.text, bound.text.partition("=")[2], f"{judged.found:.4g} {bound.unit}", judged.holds)


def figures(finding: Finding) -> dict[str, float]:
    """The single numbers of a run; what was never measured is left out."""
    total = finding.total
    found = {
        "offered_per_s": finding.offered,
        "goodput_per_s": finding.goodput,
        "generator_lag_p99_ms": finding.lag.percentile_ms(99),
        "late_share": total.late / total.sent if total.sent else 0.0,
    }
    found |= {f"p{percent:g}_ms".replace(".", "_"): total.accepted.percentile_ms(percent) for percent in PERCENTILES}
    found |= {f"cpu_ms_{name.replace(' ', '_')}": finding.processor_ms(name) for name in finding.usage}
    return {name: round(value, 4) for name, value in found.items() if value == value}


def as_text(table: Table) -> str:
    """The table in Markdown."""
    rows = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in (table.columns, *table.rows)]
    return "\n".join([rows[0], "|" + "---|" * len(table.columns), *rows[1:]])


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without those that nobody could tell from the one before, but with the last."""
    kept = list(points[:1])
    for point in points[1:-1]:
        if point[0] >= kept[-1][0] * LEAST_STEP:
            kept.append(point)
    return [*kept, *points[1:][-1:]]


def _row(name: str, tally: Tally, seconds: float) -> Sequence[str | float]:
    shares = (tally.in_time, tally.degraded, tally.late, tally.refusals(), tally.errors())
    latencies = [tally.accepted.percentile_ms(percent) for percent in PERCENTILES]
    return (
        name,
        round(tally.sent / seconds, 1),
        *(f"{count / tally.sent:.2%}" if tally.sent else "-" for count in shares),
        *(round(latency, 2) for latency in (*latencies, tally.accepted.most_ms())),
    )
