"""`make faults`: the fault campaign.

    python -m loadtests.faults --seed 1 --faults 500
    python -m loadtests.faults --seed 1 --faults 50 --kinds store clients
    python -m loadtests.faults --seed 1 --faults 100 --broker kafka
    python -m loadtests.faults --seed 1 --faults 7 --kinds long
    python -m loadtests.faults --list

Prints a line a fault and a table at the end, and writes `var/bench/faults-<broker>.json` as it goes. Exit status 0
only if every fault was recovered from with nothing lost, doubled, exceeded or unexplained, and no answer that nothing
allows.
"""

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
import time
from pathlib import Path

from loadtests.faults import report
from loadtests.faults.campaign import Order, Outcome, run
from loadtests.faults.catalogue import kinds, plan
from loadtests.faults.system import NotRecovered
from loadtests.results import write

WRITE_EVERY = 10


def main() -> int:
    """Runs it; see the module."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="draws the faults, their moments and the load (default 1)")
    parser.add_argument("--faults", type=int, default=500, help="how many (default 500)")
    parser.add_argument("--kinds", nargs="*", default=[], help="kinds or groups of kinds (default all but long)")
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no fault later than that")
    parser.add_argument("--keep", type=Path, help="new folder for the logs of servers and roles (default: removed)")
    parser.add_argument("--list", action="store_true", help="name every kind, and end")
    args = parser.parse_args()
    available = kinds(durable_broker=args.broker == "kafka")
    if args.list:
        print("\n".join(f"{kind.group:<11} {kind.name:<26} {kind.meaning}" for kind in available.values()))
        return 0
    try:
        planned = plan(available, args.kinds, args.faults, args.seed)
    except ValueError as error:
        parser.error(str(error))
    logging.disable(logging.CRITICAL)  # every cut is spoken of, and every cut is meant
    order = Order(
        broker=args.broker, seed=args.seed, plan=planned, on_fault=_said, until_s=time.monotonic() + args.minutes * 60
    )
    try:
        outcome = _ran(order, args.keep)
    except NotRecovered as error:
        print(error, file=sys.stderr)
        return 1
    print(report.table(outcome))
    print(f"written to {write(report.result(outcome))}")
    return 0 if report.holds(outcome) else 1


def _ran(order: Order, keep: Path | None) -> Outcome:
    if keep is not None:
        keep.mkdir(parents=True)
        return asyncio.run(_until_told(order, keep))
    with tempfile.TemporaryDirectory(prefix="kairos-faults-", ignore_cleanup_errors=True) as name:
        return asyncio.run(_until_told(order, Path(name)))


async def _until_told(order: Order, folder: Path) -> Outcome:
    """SIGTERM ends it as Ctrl-C does: with every server and role."""
    running = asyncio.ensure_future(run(order, folder))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await running


def _said(outcome: Outcome) -> None:
    """One line a fault."""
    one = outcome.struck[-1]
    took = "NOT RECOVERED" if one.recovery_s is None else f"{one.recovery_s:6.2f} s"
    amiss = "".join(f"  {name}: {len(entries)} ({entries[0]})" for name, entries in one.findings.items())
    amiss += "".join(f"  {problem}" for problem in one.problems)
    print(f"{one.number:>4} {one.kind:<28} {took}{amiss[:600]}", flush=True)
    if len(outcome.struck) % WRITE_EVERY == 0:
        write(report.result(outcome))


if __name__ == "__main__":
    sys.exit(main())
