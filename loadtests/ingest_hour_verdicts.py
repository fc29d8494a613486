"""What an hour of traffic through one state builder is judged by: its rate, its memory, and how far it falls behind."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from loadtests.results import Line, Plot, Result, Verdict, describe

TARGET = 20_000
"""Events a second of one core."""
MOST_LAG_SECONDS = 5.0
MOST_GROWTH = 0.05
"""Of the builder's memory, from the second tenth of the hour to the last."""
TENTHS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is fed: events a simulated second, for so many of them, so many times as fast as the clock."""

    rate: int
    seconds: int
    speed: float
    customers: int
    ahead: int | None
    """With a number the feeder waits while the builder is so many events behind; None feeds by the clock alone."""

    @property
    def events(self) -> int:
        """Altogether."""
        return self.rate * self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """The state of things when a simulated minute of traffic had been applied."""

    applied: int
    lag: int
    wall: float
    processor: float
    builder_mib: float
    store_mib: float


def hour_result(course: Course, minutes: Sequence[Minute]) -> Result:
    """Plots of the hour and the verdicts."""
    rates = list(rates_of(minutes))
    kept = minutes[len(minutes) // TENTHS :]
    growth = statistics.median(one.builder_mib for one in kept[-TENTHS:]) / statistics.median(
        one.builder_mib for one in kept[:TENTHS]
    )
    lag = max(one.lag for one in minutes)
    wall = minutes[-1].wall - minutes[0].wall
    fed = f"{course.events:,} events, {course.seconds:,} s of traffic at {course.rate:,}/s"
    verdicts = [
        Verdict(
            claim="100 aggregates, held for an hour of simulated traffic",
            target=f"at least {TARGET:,} events a second of one core in every tenth of it",
            measured=f"lowest tenth {min(rates):,.0f}, mean {statistics.fmean(rates):,.0f} a processor second; "
            f"{(minutes[-1].applied - minutes[0].applied) / wall:,.0f} a wall second ({fed})",
            holds=min(rates) >= TARGET and minutes[-1].applied == course.events,
        ),
        Verdict(
            claim="memory of the builder in that hour",
            target=f"grows by at most {MOST_GROWTH:.0%} from the second tenth to the last",
            measured=f"{growth - 1:+.1%}, {minutes[-1].builder_mib:,.0f} MiB at the end",
            holds=growth - 1 <= MOST_GROWTH,
        ),
    ]
    if course.ahead is None:
        behind = lag / (course.rate * course.speed)
        verdicts.append(
            Verdict(
                claim="lag of the builder in that hour",
                target=f"at most {MOST_LAG_SECONDS:g} s of traffic as it was fed",
                measured=f"at most {lag:,} events, {behind:.1f} s at {course.rate * course.speed:,.0f} events/s",
                holds=behind <= MOST_LAG_SECONDS,
            )
        )
    return describe(
        "ingest-hour",
        "An hour of traffic through one state builder",
        figures={"events_per_core_s": statistics.fmean(rates), "builder_growth": growth - 1, "lag_events": float(lag)},
        plots=plots_of(minutes, rates),
        verdicts=verdicts,
        notes=[
            f"{fed}, {course.customers:,} customers, in {wall:,.0f} s; "
            + ("fed by the clock" if course.ahead is None else f"fed at most {course.ahead:,} events ahead")
        ],
    )


def rates_of(minutes: Sequence[Minute]) -> Iterator[float]:
    """Events a processor second of each tenth."""
    ends = [round(place * (len(minutes) - 1) / TENTHS) for place in range(TENTHS + 1)]
    for first, last in pairwise(minutes[end] for end in ends):
        yield (last.applied - first.applied) / max(1e-9, last.processor - first.processor)


def plots_of(minutes: Sequence[Minute], rates: Sequence[float]) -> list[Plot]:
    """Over the simulated hour."""
    first = minutes[0]

    def line(name: str, of: Callable[[Minute], float]) -> Line:
        return Line(name, [(number, of(one)) for number, one in enumerate(minutes)])

    return [
        Plot(
            title="Events a second of one core",
            x="tenth of the hour",
            y="events/s",
            lines=[Line("Kairos, 100 aggregates", list(enumerate(rates, 1)))],
        ),
        Plot(
            title="Memory",
            x="simulated minute",
            y="MiB",
            lines=[line("state builder", lambda one: one.builder_mib), line("store", lambda one: one.store_mib)],
        ),
        Plot(title="Events behind", x="simulated minute", y="events", lines=[line("lag", lambda one: one.lag)]),
        Plot(
            title="Wall seconds",
            x="simulated minute",
            y="seconds",
            lines=[line("since the first batch", lambda one: one.wall - first.wall)],
        ),
    ]
