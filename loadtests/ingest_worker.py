"""One state builder as a process of its own, until it is told to stop: `python -m loadtests.ingest_worker hourly`.

The servers come from the usual settings (KAIROS_KAFKA_BOOTSTRAP_SERVERS, KAIROS_REDIS_URL, …)."""

import argparse
import cProfile
import os
import pstats

import uvloop

from loadtests.ingest_log import features_of
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.commands.state_builder import build_states, calm_collector
from services.commands.stopping import stop_on_signals
from services.settings import read_settings


async def work(what: str, run: str) -> None:
    """Builds the states of these features."""
    settings, features = read_settings(os.environ), features_of(what, run)
    calm_collector()
    await build_states(settings, features, PrometheusMetrics(), stop_on_signals())


def main() -> int:
    """Runs until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", help="hourly, windowed, or a strategy file")
    parser.add_argument("--run", default="", help="makes a layout of its own of the same work")
    parser.add_argument("--profile", action="store_true", help="prints where the time went when it stops")
    args = parser.parse_args()
    if not args.profile:
        uvloop.run(work(args.what, args.run))
        return 0
    profile = cProfile.Profile()
    profile.runcall(uvloop.run, work(args.what, args.run))
    pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
