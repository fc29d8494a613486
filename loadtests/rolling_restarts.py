"""API nodes and state builders serve the demo bank under load while each is restarted in turn.

    python -m loadtests.rolling_restarts --seconds 60

First every node is told to stop (SIGTERM), as an upgrade does it, then every builder is killed (SIGKILL). The load is
constant; its client does what a load balancer does (`balanced_client`). No request may fail; at the end an independent
fold of the log is compared with what the store holds, key by key: nothing lost, nothing doubled.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from loadtests.balanced_client import Asked, BalancedClient
from loadtests.restart_cluster import Cluster, Restart, times_begun
from loadtests.restart_judge import Judge, LogCopy, Verdict
from loadtests.restart_load import Acknowledged, RestartLoad
from services.adapters.redis_client import RedisClient
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.bootstrap import load_strategy

STRATEGY = Path(__file__).parents[1] / "deploy" / "strategies" / "demo_bank"
SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything. The load lasts `seconds` at least, and as long as all restarts take; `rate` is actions a
    second. The first `stopped` of each role are told to stop, the first `killed` builders are killed."""

    seconds: float = 60.0
    rate: float = 25.0
    seed: int = 1
    apis: int = 2
    builders: int = 3
    stopped: int = 3
    killed: int = 3


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Everything that was seen."""

    asked: Asked
    taken: Acknowledged
    restarts: list[Restart] = field(default_factory=list)
    crashes: int = 0
    """Ends of a process that nobody asked for."""
    verdict: Verdict = field(default_factory=Verdict)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the claim does."""
        clean = all(restart.is_clean for restart in self.restarts)
        return clean and not self.crashes and not self.asked.failures and self.verdict.holds

    def summary(self) -> str:
        """One line with every figure."""
        told = [restart.seconds for restart in self.restarts if restart.by == "SIGTERM"]
        killed = len(self.restarts) - len(told)
        found = self.verdict
        return (
            f"{len(told)} restarts by SIGTERM (gone within {max(told, default=0.0):.1f} s), {killed} by SIGKILL, "
            f"{self.crashes} crashes; {self.asked.answered:,} requests, {len(self.asked.failures)} failed, "
            f"{self.asked.retried} refused connections taken up by the other node, {self.taken.degraded} decisions "
            f"degraded; {found.log_events:,} events in the log ({found.repeats} of them repeated), "
            f"{found.customers} customers, {found.compared:,} values compared: "
            f"{len(found.lost)} lost, {len(found.doubled)} doubled; {self.seconds:.0f} s"
        )

    def complaints(self) -> list[str]:
        """Whatever is not as it should be, a line each."""
        unclean = [str(restart) for restart in self.restarts if not restart.is_clean]
        return [*self.asked.failures, *self.verdict.lost, *self.verdict.doubled, *unclean]


async def measure(folder: Path, plan: Plan) -> Outcome:
    """Starts everything in the folder, and judges."""
    began = monotonic()
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster.open(folder, STRATEGY))
        for _ in range(plan.apis):
            await cluster.start_api()
        for _ in range(plan.builders):
            await cluster.start_builder()
        settings, loaded = cluster.settings, load_strategy(cluster.settings)
        store = await stack.enter_async_context(RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY))
        log = await stack.enter_async_context(LogCopy.following(settings))
        client = await stack.enter_async_context(BalancedClient().open_to(list(cluster.apis)))
        judge, load, stop = Judge(settings, loaded, store), RestartLoad(client, plan.seed, plan.rate), asyncio.Event()
        await cluster.until_serving(client)
        async with asyncio.TaskGroup() as together:
            together.create_task(load.run(stop))
            await asyncio.gather(asyncio.sleep(plan.seconds), _restart_all(cluster, client, judge, log, plan))
            stop.set()
        await log.until_quiet()
        await judge.until_applied(log.ends)
        verdict = await judge.verdict(log.records, load.taken)
        outcome = Outcome(asked=client.asked, taken=load.taken, restarts=cluster.restarts, crashes=cluster.crashes)
    outcome.verdict, outcome.seconds = verdict, monotonic() - began
    return outcome


async def _restart_all(cluster: Cluster, client: BalancedClient, judge: Judge, log: LogCopy, plan: Plan) -> None:
    """Each in turn, the next when the one before works again."""
    for address, api in list(cluster.apis.items())[: plan.stopped]:
        await cluster.restart(api, signal.SIGTERM)
        await cluster.until(lambda node=address: not client.is_ready(node), "the balancer notices")  # type: ignore[misc]
        await cluster.until_ready(client, address)
    victims = [(builder, signal.SIGTERM) for builder in cluster.builders[: plan.stopped]]
    victims += [(builder, signal.SIGKILL) for builder in cluster.builders[: plan.killed]]
    for builder, by in victims:
        before = times_begun(builder)
        await cluster.restart(builder, by)
        await cluster.until_building(builder, before + 1)
        await judge.until_applied(dict(log.ends))


def main() -> int:
    """Status 1 where a request failed, or anything was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the load lasts at least")
    parser.add_argument("--rate", type=float, default=25.0, help="actions a second")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    plan = Plan(seconds=arguments.seconds, rate=arguments.rate, seed=arguments.seed)
    with tempfile.TemporaryDirectory(prefix="kairos-restarts-") as folder:
        outcome = asyncio.run(measure(Path(folder), plan))
    for line in outcome.complaints()[:SHOWN]:
        print("  " + line, file=sys.stderr)
    print(outcome.summary())
    return 0 if outcome.holds else 1


if __name__ == "__main__":
    sys.exit(main())
