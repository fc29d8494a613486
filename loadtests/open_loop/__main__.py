"""Open-loop load on the product: requests are sent when they are due, and every latency counts from then.

python -m loadtests.open_loop --profile app --rate 300 --seconds 20 --threshold p99=50ms
python -m loadtests.open_loop --profile decide --phases 200x10,400x10,800x10 --url http://127.0.0.1:8000

Without --url the product is started for the run: one API process on one processor, everything else on the other, 1,000
offers. Exit status 1 where a threshold does not hold or the run is not valid, 2 where it could not be made.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from loadtests.open_loop import thresholds
from loadtests.open_loop.load import Finding, GeneratorFailed, Load, run_load
from loadtests.open_loop.plan import Plan
from loadtests.open_loop.product import CUSTOMERS, own_product
from loadtests.open_loop.profiles import PROFILES, Profile, UnknownProfile, profile_of
from loadtests.open_loop.schedule import Phase, ScheduleUnreadable, phases_of
from loadtests.open_loop.telling import (
    as_text,
    curve_plot,
    figures,
    outcomes_text,
    processes_table,
    seconds_plot,
    steps_table,
    verdict,
)
from loadtests.open_loop.thresholds import Judged, ThresholdUnreadable
from loadtests.results import describe, write

UNUSABLE = 2


def main() -> int:
    """Makes one run."""
    args = _arguments().parse_args()
    try:
        profile = profile_of(args.profile, deadline_ms=args.deadline, think_s=args.think)
        bounds = [thresholds.threshold_of(text) for text in args.threshold]
        load = _load(args, profile)
        finding = asyncio.run(_made(args, load, profile))
        judged = [thresholds.judge(bound, finding) for bound in bounds]
    except (UnknownProfile, ScheduleUnreadable, ThresholdUnreadable, GeneratorFailed, OSError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return UNUSABLE
    _tell(args, profile, finding, judged)
    return 0 if not finding.invalid and all(each.holds for each in judged) else 1


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.open_loop",
        description=f"{__doc__}\nProfiles:\n" + "\n".join(f"  {name}: {p.title}" for name, p in PROFILES.items()),
        epilog=f"Thresholds. {thresholds.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", default="app", help=f"one of {', '.join(PROFILES)}")
    parser.add_argument("--rate", type=float, default=200.0, help="requests (of a storm: events) a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--phases", help="instead of --rate and --seconds: 100x10,400x10 or 100-900x60 (a ramp)")
    parser.add_argument("--spacing", choices=("poisson", "even"), default="poisson")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--warm-up", type=float, default=3.0, help="seconds before the run, sent but not counted")
    parser.add_argument("--url", help="of an API that runs already, such as http://127.0.0.1:8000")
    parser.add_argument("--header", action="append", default=[], metavar="NAME: VALUE", help="such as X-API-Key: …")
    parser.add_argument("--customers", type=int, default=CUSTOMERS, help="asked for: retail:1 to retail:N")
    parser.add_argument("--deadline", type=float, help="milliseconds a decision may take (default 100)")
    parser.add_argument("--think", type=float, help="mean seconds between the requests of one customer")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds after which a request is given up")
    parser.add_argument("--workers", type=int, default=1, help="processes of the generator")
    parser.add_argument("--watch", action="append", default=[], metavar="NAME=PID", help="a process to measure")
    parser.add_argument("--threshold", action="append", default=[], metavar="MEASURE=VALUE", help="see below")
    parser.add_argument("--name", help="keep the result as var/bench/NAME.json for loadtests.report")
    return parser


def _load(args: argparse.Namespace, profile: Profile) -> Load:
    warm_up = f"{args.rate:g}x{args.warm_up:g}," if args.warm_up and not args.phases else ""
    phases = phases_of(args.phases or f"{warm_up}{args.rate:g}x{args.seconds:g}")
    if args.phases and args.warm_up:
        phases = (Phase(phases[0].start, phases[0].start, args.warm_up), *phases)
    target = urlsplit(args.url or "http://127.0.0.1:0")
    plan = Plan(
        host=target.hostname or "127.0.0.1",
        port=target.port or (443 if target.scheme == "https" else 80),
        tls=target.scheme == "https",
        headers=dict(_pair(text, ":") for text in args.header),
        streams=profile.streams,
        phases=phases,
        spacing=args.spacing,
        customers=args.customers,
        seed=args.seed,
        warm_up_s=args.warm_up,
        timeout_s=args.timeout,
    )
    watched = {name: int(pid) for name, pid in (_pair(text, "=") for text in args.watch)}
    factor = profile.events_per_request
    storm = tuple(Phase(phase.start * factor, phase.end * factor, phase.seconds) for phase in phases) if factor else ()
    return Load(plan=plan, workers=args.workers, storm=storm, watched=watched)


async def _made(args: argparse.Namespace, load: Load, profile: Profile) -> Finding:
    if args.url:
        return await asyncio.to_thread(run_load, load)
    async with _own(load, events=profile.events_per_request > 0) as whole:
        return await asyncio.to_thread(run_load, whole)


@asynccontextmanager
async def _own(load: Load, *, events: bool) -> AsyncIterator[Load]:
    """The load, aimed at a product of its own."""
    async with own_product(state_builder=events) as product:
        plan = replace(load.plan, port=product.port, processors=product.others, customers=product.customers)
        yield replace(load, plan=plan, environment=product.environment, watched={**product.watched, **load.watched})


def _pair(text: str, separator: str) -> tuple[str, str]:
    name, found, value = text.partition(separator)
    if not found:
        raise ScheduleUnreadable(f"{text!r}: expected NAME{separator} VALUE")
    return name.strip(), value.strip()


def _tell(args: argparse.Namespace, profile: Profile, finding: Finding, judged: list[Judged]) -> None:
    print(f"{profile.title}: {finding.offered:,.0f} a second for {finding.seconds:g} s\n")
    tables = [steps_table(finding), processes_table(finding)]
    for table in tables:
        print(as_text(table), end="\n\n")
    print(f"outcomes: {outcomes_text(finding)}")
    late = [f"p{percent} {finding.lag.percentile_ms(percent):.2f} ms" for percent in (50, 99)]
    print(f"the generator itself was late by {', '.join(late)}")
    for each in judged:
        found = f"{each.found:.4g} {each.threshold.unit}"
        print(f"{'holds ' if each.holds else 'FAILED'} {each.threshold.text} (found {found})")
    for fault in finding.invalid:
        print(f"NOT VALID: {fault}")
    if args.name:
        curves = {**finding.tallies, **({"all": finding.total} if len(finding.tallies) > 1 else {})}
        result = describe(
            args.name,
            profile.title,
            figures=figures(finding),
            plots=[curve_plot(curves), seconds_plot(finding)],
            tables=tables,
            verdicts=[verdict(each) for each in judged],
            notes=[f"not valid: {fault}" for fault in finding.invalid],
        )
        print(f"kept in {write(result)}")


if __name__ == "__main__":
    sys.exit(main())
