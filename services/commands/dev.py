"""`kairos dev`: the whole product on one machine, on real servers that it starts, with a bank to serve.

The roles are the same commands as in a distributed deployment, as child processes; only addresses differ.
"""

import argparse
import asyncio
import os
import secrets
import shlex
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from decision_engine.prepared import prepare
from decision_engine.strategy import Strategy
from services.adapters.embedded_servers import EmbeddedServers, free_port
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.role_processes import RoleProcess
from services.commands import topics
from services.commands.dev_snapshots import keep_snapshots
from services.commands.stopping import stop_on_signals
from services.ports import ShellError
from services.settings import Settings, read_settings
from services.simulation.scenario_script import Scenario, load_scenario, scenario_names
from services.use_cases.running_beside import running_beside

if TYPE_CHECKING:
    from services.simulation.traffic_stats import TrafficStats

NAME = "dev"
HELP = "run everything embedded: servers, roles, a bank with customers, and the live terminal"
EXAMPLE = "kairos dev --port 8000 --data ../shared/data/berka"

READY_SECONDS = 90.0
RUNS_KEPT = 3
_STRATEGIES = Path("deploy/strategies")


class RoleNotReady(ShellError):
    """A role did not become ready in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A running embedded deployment: its settings, the environment its roles have, and where it keeps things."""

    settings: Settings
    environment: dict[str, str]
    folder: Path
    roles: tuple[RoleProcess, ...]
    metrics_ports: dict[str, int]

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self.settings.port}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which bank, and how much of it."""
    parser.add_argument("--port", type=int, default=8000, help="port of the API and the screens (default 8000)")
    parser.add_argument(
        "--data", type=Path, help="folder of the Berka data: replay that bank instead of the simulated one"
    )
    parser.add_argument("--customers", type=int, default=3000, help="customers of the simulated bank (default 3000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulated bank (default 1)")
    parser.add_argument("--history-days", type=int, default=30, help="days it has lived before (default 30)")
    parser.add_argument("--day-seconds", type=float, default=60.0, help="seconds a simulated day takes (default 60)")
    parser.add_argument("--rate", type=float, default=40.0, help="most customer visits per second (default 40)")
    parser.add_argument("--scenario", help="play a scenario on screen, such as S9, or all of them, and end")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between a scenario's steps (default 1)")
    parser.add_argument("--seconds", type=float, help="stop by itself after so many seconds (default: at Ctrl-C)")


def run(args: argparse.Namespace) -> int:
    """Runs until Ctrl-C. Raises ShellError when something does not start."""
    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    stop, loop = stop_on_signals(), asyncio.get_running_loop()
    if args.seconds:
        loop.call_later(args.seconds, stop.set)
    strategy = _STRATEGIES / ("berka" if args.data else "demo_bank")
    if args.scenario:
        _scenarios(args.scenario)  # refused before anything is started
    async with deployment(strategy, args.port) as running:
        serve = _play if args.scenario else _serve_replay if args.data else _serve_simulated_bank
        await serve(args, running, stop)
        print("stopping …", file=sys.stderr)
    return 0


@asynccontextmanager
async def deployment(strategy: Path, port: int) -> AsyncIterator[Deployment]:
    """Servers, topics and roles, ready; all stopped on leaving, in reverse."""
    folder = _new_run_folder(Path("var"))
    async with AsyncExitStack() as stack:
        _say("starting Valkey and the broker")
        servers = await stack.enter_async_context(EmbeddedServers.start(folder / "servers"))
        environment = _environment(servers, strategy, folder, port)
        _write_environment(folder / "environment", environment)
        settings = read_settings({**_kairos_environment(), **environment})
        await topics.create(settings)
        optional = _optional_roles(settings, load_strategy_file(strategy))
        ports = {role: free_port() for role in ("state-builder", "archiver", "learner", "guard", *optional)}
        roles = []
        for role in ("state-builder", "api", "archiver", "learner", "guard", *optional):
            own = {"KAIROS_METRICS_PORT": str(ports[role])} if role in ports else {}
            process = RoleProcess(
                arguments=[role], environment={**environment, **own}, log=folder / "logs" / f"{role}.log"
            )
            await process.start()
            stack.push_async_callback(process.stop)
            roles.append(process)
        running = Deployment(
            settings=settings, environment=environment, folder=folder, roles=tuple(roles), metrics_ports=ports
        )
        _say("starting the API, the state builder, the archiver, the learner and the guard")
        await _until_ready(running)
        yield running


def _optional_roles(settings: Settings, strategy: Strategy) -> tuple[str, ...]:
    """Those that have something to do: prices for volumes, credit for conversions, beliefs to learn, receivers."""
    wanted = {
        "pacer": bool(strategy.volumes),
        "attributor": strategy.attribution is not None,
        "online-learner": strategy.online is not None,
        "deliver": settings.webhooks_file is not None,
    }
    return tuple(role for role, is_wanted in wanted.items() if is_wanted)


async def _serve_simulated_bank(args: argparse.Namespace, running: Deployment, stop: asyncio.Event) -> None:
    from services.simulation.traffic import TrafficConfig, TrafficStats, run_demo_traffic
    from services.terminal.live_view import show

    config = TrafficConfig(
        api_url=running.api_url,
        bootstrap_servers=running.settings.kafka_bootstrap_servers,
        strategy_path=running.settings.strategy_path,
        customers=args.customers,
        seed=args.seed,
        history_days=args.history_days,
        day_seconds=args.day_seconds,
        visits_per_second=args.rate,
    )
    stats = TrafficStats()
    traffic = asyncio.create_task(run_demo_traffic(config, stats, stop), name="traffic")
    view = asyncio.create_task(show(stats, running.api_url, running.metrics_ports, stop), name="terminal")
    async with running_beside(_keep_snapshots(running, config.first_day, stats), "snapshots"):
        await _first_of(stop, traffic, view)


async def _keep_snapshots(running: Deployment, first: date, stats: "TrafficStats") -> None:
    """For the customer map, once the bank's history has been lived through."""
    strategy = load_strategy_file(running.settings.strategy_path)
    await keep_snapshots(
        ZoneInfo(strategy.time_zone),
        first,
        lambda: stats.simulated_ms if stats.phase == "live" else 0,
        running.environment,
        running.folder / "logs" / "snapshots.log",
    )


async def _serve_replay(args: argparse.Namespace, running: Deployment, stop: asyncio.Event) -> None:
    from services.commands.replay import replay_into

    replay = asyncio.create_task(replay_into(running.settings, args.data), name="replay")
    await _first_of(stop, replay)
    if stop.is_set():
        return
    _say(f"the log is replayed; ask {running.api_url}/v1/customers/retail:1787 for a customer, Ctrl-C to stop")
    await stop.wait()


def _scenarios(wanted: str) -> list[Scenario]:
    """That of the name, or all of them. Raises ScenarioUnknown."""
    return [load_scenario(name) for name in (scenario_names() if wanted == "all" else [wanted])]


async def _play(args: argparse.Namespace, running: Deployment, stop: asyncio.Event) -> None:
    from services.commands.scenario import play_on_screen

    scenarios = _scenarios(args.scenario)
    prepared = prepare(load_strategy_file(running.settings.strategy_path))
    playing = play_on_screen(running.api_url, prepared, scenarios, args.pause)
    await _first_of(stop, asyncio.create_task(playing, name="scenario"))


async def _first_of(stop: asyncio.Event, *tasks: asyncio.Task[None]) -> None:
    """Waits until one is done or a stop is asked for, then ends the others and passes on a failure."""
    stopping = asyncio.create_task(stop.wait())
    done, pending = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    if stopping in done and pending:
        await asyncio.wait(pending, timeout=5.0)
    for task in pending:
        task.cancel()
    for task in pending:
        with suppress(asyncio.CancelledError):
            await task
    for task in done - {stopping}:
        task.result()


async def _until_ready(running: Deployment) -> None:
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        if await asyncio.to_thread(_is_ready, running.api_url):
            _say(f"ready: {running.api_url}, with the screens /agent, /inbox, /console and /map")
            return
        await asyncio.sleep(0.2)
    tails = "\n".join(f"--- {role.name}\n{role.log_tail()}" for role in running.roles)
    raise RoleNotReady(f"the API at {running.api_url} was not ready within {READY_SECONDS:g} s\n{tails}")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2.0) as answer:  # noqa: S310  # nosec B310 - our own loopback
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _environment(servers: EmbeddedServers, strategy: Path, folder: Path, port: int) -> dict[str, str]:
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",  # the embedded broker speaks too old a form of it
        "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",  # its group join waits half of this
        "KAIROS_KAFKA_PARTITIONS": "4",
        "KAIROS_REDIS_URL": servers.redis_url,
        "KAIROS_STRATEGY_PATH": str(strategy),
        "KAIROS_MODEL_PATH": str(folder / "models"),
        "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
        "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
        "KAIROS_SNAPSHOT_PATH": str(folder / "snapshots"),
        "KAIROS_ARCHIVE_FLUSH_SECONDS": "5",
        "KAIROS_PORT": str(port),
        "KAIROS_DRAIN_NOTICE_SECONDS": "0",  # nobody spreads requests over one node
        "KAIROS_CLOCK": "events",
        "KAIROS_ATTRIBUTION_SECONDS": "3600",  # simulated customers answer within the hour
        "KAIROS_LEARNER_MIN_ROWS": "1500",
        "KAIROS_LEARNER_MIN_POSITIVES": "100",
        "KAIROS_LEARNER_STEP_ROWS": "3000",
        "KAIROS_LEARNER_POLL_SECONDS": "5",
        "KAIROS_LEARNER_APPROVAL": "checks",  # nobody sits beside a demo to approve
        "KAIROS_PSEUDONYM_KEY": secrets.token_hex(16),  # of this run alone, as everything the embedded servers hold
        "KAIROS_PRICES_SECONDS": "10",
        "KAIROS_PRICES_FRESH_SECONDS": "86400",  # a simulated day takes a minute
    }


def _write_environment(path: Path, environment: dict[str, str]) -> None:
    """So that other commands can reach this run: `set -a; . var/latest/environment; set +a; kairos explain …`."""
    path.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in environment.items()))


def _kairos_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("KAIROS_")}


def _new_run_folder(root: Path) -> Path:
    """A fresh folder for this run; the embedded servers forget, so an older run's archive would not fit. `var/latest`
    points at it, and all but the newest few runs are removed."""
    folder = root / f"run-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
    folder.mkdir(parents=True)
    latest = root / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(folder.name)
    for old in sorted(root.glob("run-*"))[:-RUNS_KEPT]:
        _remove(old)
    return folder


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    folder.rmdir()


def _say(sentence: str) -> None:
    print(f"kairos: {sentence}", file=sys.stderr, flush=True)
