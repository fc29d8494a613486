"""What `capacity` measured, judged by its targets, and as the report draws it."""

from collections.abc import Iterable, Mapping
from operator import itemgetter

from loadtests.open_loop.capacity import HALF, MOST_USED, THREE_TIMES, Measured, Watched
from loadtests.open_loop.load import Finding
from loadtests.open_loop.product import API
from loadtests.open_loop.profiles import DEADLINE_MS
from loadtests.open_loop.stages import Stage
from loadtests.open_loop.tally import REFUSALS, Tally
from loadtests.open_loop.telling import curve_plot, figures, stages_plot
from loadtests.results import Line, Plot, Result, Table, Verdict, describe

HALF_P50_MS, HALF_P99_MS = 2.0, 8.0
MOST_TAIL = 4.0
LEAST_GOODPUT = 0.9
AGENTS_IN_TIME = 0.99
LEAST_OVER_NAIVE = 2.0
AGENT_STEP = "panel"


def result_of(found: Measured) -> Result:
    """Tables, plots and verdicts."""
    half = found.below[HALF].finding
    own = {"capacity_per_s": found.capacity}
    if found.naive_capacity is not None:
        own["naive_capacity_per_s"] = found.naive_capacity
    loads = {f"{share:.0%}": each for share, each in found.below.items()}
    return describe(
        "http-capacity",
        "Decisions over HTTP: capacity, latency by load, overload",
        figures=own | {f"half_{name}": value for name, value in figures(half).items()},
        plots=[
            _latency_plot(found),
            _goodput_plot(found),
            curve_plot({f"{share} of capacity": each.finding.total for share, each in loads.items()}),
            stages_plot({share: each.stages for share, each in loads.items()}, across="load, of capacity"),
        ],
        tables=[_below_table(found), _above_table(found), _stages_table(found.below[HALF].stages)],
        verdicts=verdicts(found),
        notes=[*_notes(loads), *_notes({f"{times:g} times": each for times, each in found.above.items()})],
    )


def verdicts(found: Measured) -> list[Verdict]:
    """Every target, and whether it was reached. A run whose generator was late reaches none."""
    half, used, over = found.below[HALF].finding, found.below[MOST_USED].finding, found.above[THREE_TIMES].finding
    judged = [_at_half(half), _tail(used), _late(found), _overload(found, over), _agents(over), _refusals(over)]
    if found.naive_capacity is not None:
        ratio = found.capacity / found.naive_capacity
        text = f"{found.capacity:,.0f}/s beside {found.naive_capacity:,.0f}/s: {ratio:.2f} times"
        judged.append(
            Verdict(
                "capacity beside the naive application",
                f"at least {LEAST_OVER_NAIVE:g} times",
                text,
                ratio >= LEAST_OVER_NAIVE,
            )
        )
    return judged


def _at_half(half: Finding) -> Verdict:
    p50, p99 = (half.total.accepted.percentile_ms(percent) for percent in (50, 99))
    return Verdict(
        "latency at half of capacity",
        f"p50 under {HALF_P50_MS:g} ms, p99 under {HALF_P99_MS:g} ms",
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms at {half.offered:,.0f}/s{_why(half)}",
        p50 < HALF_P50_MS and p99 < HALF_P99_MS and not half.invalid,
    )


def _tail(used: Finding) -> Verdict:
    p50, p99 = (used.total.accepted.percentile_ms(percent) for percent in (50, 99))
    return Verdict(
        "tail at 80 % of capacity",
        f"p99 at most {MOST_TAIL:g} times p50",
        f"p99 {p99:.2f} ms, p50 {p50:.2f} ms: {p99 / p50:.1f} times at {used.offered:,.0f}/s{_why(used)}",
        p99 <= MOST_TAIL * p50 and not used.invalid,
    )


def _late(found: Measured) -> Verdict:
    """Up to the capacity, and above it what was accepted."""
    runs = [*found.below.values(), *found.above.values()]
    late = sum(each.finding.total.late for each in runs)
    accepted = sum(each.finding.total.accepted.total for each in runs)
    return Verdict(
        "nothing late that is not marked as degraded",
        f"0 answers over {DEADLINE_MS:g} ms without `degraded`, at every load",
        f"{late:,} of {accepted:,}",
        late == 0,
    )


def _overload(found: Measured, over: Finding) -> Verdict:
    share = over.goodput / found.capacity
    return Verdict(
        "goodput at three times capacity",
        f"at least {LEAST_GOODPUT:.0%} of capacity",
        f"{over.goodput:,.0f}/s: {share:.0%} of capacity{_why(over)}",
        share >= LEAST_GOODPUT and not over.invalid,
    )


def _agents(over: Finding) -> Verdict:
    agents = over.tallies[AGENT_STEP]
    share = agents.in_time / max(1, agents.sent)
    p99 = agents.accepted.percentile_ms(99)
    return Verdict(
        "agents at three times capacity",
        f"at least {AGENTS_IN_TIME:.0%} of their decisions within the deadline",
        f"{share:.2%} of {agents.sent:,}, p99 {p99:.1f} ms{_why(over)}",
        share >= AGENTS_IN_TIME and not over.invalid,
    )


def _refusals(over: Finding) -> Verdict:
    total = over.total
    rest = total.sent - total.accepted.total
    others = {name: count for name, count in total.outcomes.items() if name not in ("200", *REFUSALS)}
    text = f"{total.retry_after:,} of {rest:,}"
    if total.refused.total:
        text += f", p99 {total.refused.percentile_ms(99):.1f} ms"
    if others:
        text += f"; besides {', '.join(f'{name} {count:,}' for name, count in others.items())}"
    return Verdict(
        "the rest at three times capacity",
        "429 or 503 with `Retry-After`",
        f"{text}{_why(over)}",
        total.retry_after == rest and not over.invalid,
    )


def _why(finding: Finding) -> str:
    return "".join(f"; NOT VALID: {fault}" for fault in finding.invalid)


def _notes(runs: Mapping[str, Watched]) -> Iterable[str]:
    for name, each in runs.items():
        for fault in each.finding.invalid:
            yield f"{name} of capacity: not valid: {fault}"


def _latency_plot(found: Measured) -> Plot:
    runs = sorted(((each.finding.offered, each.finding.total) for each in found.below.values()), key=itemgetter(0))
    lines = [
        Line(f"p{percent:g}", [(rate, total.accepted.percentile_ms(percent)) for rate, total in runs])
        for percent in (50, 90, 99, 99.9)
    ]
    return Plot(title="Latency by load", x="decisions a second", y="ms", lines=lines, log_y=True)


def _goodput_plot(found: Measured) -> Plot:
    measured = [each.finding for each in (*found.below.values(), *found.above.values())]
    runs = sorted(((finding.offered, finding) for finding in measured), key=itemgetter(0))
    lines = [
        Line("answered whole and in time", [(rate, finding.goodput) for rate, finding in runs]),
        Line(
            "refused with Retry-After", [(rate, finding.total.retry_after / finding.seconds) for rate, finding in runs]
        ),
    ]
    return Plot(title="Goodput by load", x="decisions a second asked for", y="a second", lines=lines)


def _below_table(found: Measured) -> Table:
    columns = ("of capacity", "sent/s", "whole, in time", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "CPU ms a decision")
    rows: list[list[str | float]] = [
        [
            f"{share:.0%}",
            round(each.finding.offered),
            _share(each.finding.total),
            *(round(each.finding.total.accepted.percentile_ms(percent), 2) for percent in (50, 90, 99, 99.9)),
            round(each.finding.processor_ms(API), 3),
        ]
        for share, each in found.below.items()
    ]
    return Table(f"Up to the capacity of {found.capacity:,.0f} a second", columns, rows)


def _above_table(found: Measured) -> Table:
    columns = (
        "times capacity", "sent/s", "goodput/s", "of capacity", "agents in time", "refused", "p99 of answers ms",
        "p99 of refusals ms", "generator late, p99 ms",
    )  # fmt: skip
    rows: list[list[str | float]] = []
    for times, each in found.above.items():
        finding, total = each.finding, each.finding.total
        agents = finding.tallies[AGENT_STEP]
        rows.append(
            [
                f"{times:g}",
                round(finding.offered),
                round(finding.goodput),
                f"{finding.goodput / found.capacity:.0%}",
                f"{agents.in_time / max(1, agents.sent):.1%}",
                f"{total.refusals() / max(1, total.sent):.1%}",
                round(total.accepted.percentile_ms(99), 1),
                round(total.refused.percentile_ms(99), 1) if total.refused.total else "-",
                round(finding.lag.percentile_ms(99), 1),
            ]
        )
    return Table("Above it, one decision in ten for an agent", columns, rows)


def _stages_table(stages: Mapping[str, Stage]) -> Table:
    rows = [(name, round(stage.mean_us, 1)) for name, stage in stages.items()]
    return Table("Stages of a decision at half of capacity", ("stage", "us"), rows)


def _share(tally: Tally) -> str:
    return f"{tally.whole / max(1, tally.sent):.2%}"
