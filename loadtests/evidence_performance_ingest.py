"""The claims of ingest, of other systems side by side, of cost curves and of the capacity model.

Each measurement is run once for the claims about it; what it found is kept in `var/bench` too, for the report.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from loadtests.evidence import Claim, Measured
from loadtests.results import Result, Verdict, write

if TYPE_CHECKING:
    from loadtests.bench_ingest import Rate

EVENTS, CUSTOMERS, REPEATS = 200_000, 5_000, 3


@lru_cache(maxsize=1)
def ingest_on_kafka() -> "Mapping[str, Rate]":
    """Every contestant over one log on an Apache Kafka."""
    from loadtests.bench_ingest import ingest_result, measure_on_kafka

    rates = measure_on_kafka(EVENTS, CUSTOMERS, REPEATS)
    write(ingest_result(rates))
    return rates


def ingest_rate() -> Measured:
    """Of 100 aggregates, by processor seconds."""
    from loadtests.bench_ingest import rate_verdicts

    rates = ingest_on_kafka()
    return judged(rate_verdicts({"hundred": rates["hundred"]}))


def beside_quix() -> Measured:
    """On the same aggregates; without Quix Streams in the run the claim does not hold."""
    from loadtests.bench_ingest import quix_verdicts

    return judged(quix_verdicts(ingest_on_kafka()), expected=2)


def ingest_hour() -> Measured:
    """By the clock, on the embedded broker."""
    from loadtests.ingest_hour import hold
    from loadtests.ingest_hour_verdicts import Course, hour_result

    course = Course(rate=1_000, seconds=3_600, speed=20.0, customers=CUSTOMERS, ahead=None)
    return of_result(hour_result(course, hold(course, on_kafka=False)))


def decisions_side_by_side() -> Measured:
    """All that are installed; without the others in the run the claim does not hold."""
    import asyncio

    from loadtests.side_by_side import OTHERS, decisions_result, measure_decisions

    rows, versions = asyncio.run(measure_decisions(seconds=3.0, rounds=REPEATS))
    found = of_result(decisions_result(rows, versions))
    missing = [name for name in OTHERS if name not in {row.name for row in rows}]
    told = [f"{row.name}, {row.connections}: {row.found.cpu_ms:.2f} ms of processor a request" for row in rows]
    told += [f"not measured beside it: {', '.join(missing)}"] if missing else []
    return Measured("; ".join((found.text, *told)), found.holds and not missing)


def rules_side_by_side() -> Measured:
    """The predicate index beside the engines of the registry."""
    from loadtests.bench_rules import rules_result

    return of_result(rules_result(repeats=25))


def all_curves() -> Measured:
    """All curves, printed and kept for the plots; only growth by offers has a bound."""
    from loadtests import cost_curves

    results = [measurement() for measurement in cost_curves.CURVES.values()]
    texts = [f"{result.title}: {_figures(result)}" for result in results]
    judgements = [of_result(result) for result in results]
    return Measured("; ".join(texts), all(one.holds for one in judgements))


def capacity() -> Measured:
    """Measured here, predicted and simulated."""
    from loadtests.capacity_check import SIZES, capacity_result
    from loadtests.capacity_measured import measured
    from loadtests.capacity_model import Aims, Bank

    return of_result(capacity_result(measured(), [Bank(customers=customers) for customers in SIZES], Aims()))


def of_result(result: Result) -> Measured:
    """Keeps it, and judges by all its verdicts."""
    write(result)
    return judged(result.verdicts, expected=0)


def judged(found: Sequence[Verdict], *, expected: int = 1) -> Measured:
    """All must hold, and there must be as many as expected: what was not measured does not hold."""
    text = "; ".join(f"{'' if one.holds else 'MISSED: '}{one.claim}: {one.measured}" for one in found)
    if len(found) < expected:
        text = "; ".join(filter(None, (text, f"only {len(found)} of {expected} could be measured")))
    return Measured(text or "no bound", len(found) >= expected and all(one.holds for one in found))


def _figures(result: Result) -> str:
    return ", ".join(f"{name} {value:,.2f}" for name, value in result.figures.items())


def _claim(name: str, target: str, command: str, measure: Callable[[], Measured], *, quick: bool = False) -> Claim:
    return Claim(name=name, target=target, command=f"python -m {command}", measure=measure, quick=quick)


CLAIMS = (
    _claim(
        "ingest, 100 aggregates",
        "at least 20,000 events a second of one core, exactly once, on Apache Kafka",
        "loadtests.bench_ingest --kafka",
        ingest_rate,
    ),
    _claim(
        "ingest beside Quix Streams, exactly-once on",
        "at least twice its events a second on the same aggregates in the same run, by wall and by processor",
        "loadtests.bench_ingest --kafka",
        beside_quix,
    ),
    _claim(
        "ingest held for an hour of simulated traffic",
        "1,000 events/s for 3,600 s at twenty-fold speed: 20,000/s of a core in each tenth, memory flat, lag under 5 s",
        "loadtests.ingest_hour",
        ingest_hour,
    ),
    _claim(
        "decisions side by side",
        "naive application, FastAPI and Feast, MLServer in the same run; twice the naive one's requests per CPU second",
        "loadtests.side_by_side --parts decisions",
        decisions_side_by_side,
    ),
    _claim(
        "rules side by side",
        "faster than cel-expr-python, zen-engine and rule-engine on the same 1,000 rules",
        "loadtests.side_by_side --parts rules",
        rules_side_by_side,
        quick=True,
    ),
    _claim(
        "cost curves",
        "offers, events, connections, customers: printed and plotted; 10,000 offers at most 3 times 1,000",
        "loadtests.cost_curves",
        all_curves,
    ),
    _claim(
        "capacity model agrees with a simulation",
        "p99 within 20 % up to 70 % of utilisation; the processes it asks for are enough and not many more than needed",
        "loadtests.capacity_check",
        capacity,
    ),
)
