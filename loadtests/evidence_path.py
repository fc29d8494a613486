"""The claims of the whole path, each measured on the running product."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

from loadtests.evidence import Claim, Measured
from loadtests.fresh_clone import clone_into, first_decision, run_tests
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.role_processes import RoleProcess
from services.commands import topics
from services.commands.replay import ReplayPlan, replay_plan
from services.settings import read_settings

ROOT = Path(__file__).parents[1]
FIRST_DECISION_SECONDS = 180
KILLS = 20
TAKE_UP_AUC = 0.76
SNAPSHOT_DAYS = ("1993-06-30", "1993-07-31", "1993-08-31", "1993-09-30", "1994-03-30")
SEEDS = (1, 2, 3)
SIMPLE_POLICIES = ("random eligible", "best single offer")
JUDGED_POLICIES = ("as served", "arbitration with model")
"""What was really answered, exploration and control arms included, and what arbitration alone would have."""


def _data() -> Path:
    """The Berka data: KAIROS_DATA, or beside the checkout."""
    folder = Path(os.environ.get("KAIROS_DATA", ROOT.parent / "shared" / "data")) / "berka"
    if not folder.is_dir():
        raise FileNotFoundError(f"the Berka data is not at {folder}; set KAIROS_DATA")
    return folder


def newcomer_decision() -> Measured:
    with tempfile.TemporaryDirectory(prefix="kairos-clone-") as folder:
        found = first_decision(clone_into(Path(folder)))
    stopped = "Ctrl-C left no process" if found.clean_stop else "PROCESSES WERE LEFT"
    text = f"first decision ({found.offer}) after {found.seconds:.0f} s, empty environment, no pip cache; {stopped}"
    return Measured(text, found.seconds <= FIRST_DECISION_SECONDS and found.clean_stop)


def newcomer_tests() -> Measured:
    with tempfile.TemporaryDirectory(prefix="kairos-clone-") as folder:
        seconds, summary = run_tests(clone_into(Path(folder)))
    return Measured(f"{summary} ({seconds:.0f} s with set-up)", "passed" in summary and "failed" not in summary)


def online_equals_offline() -> Measured:
    from loadtests.berka_exactness import measure

    found = asyncio.run(measure(_data()))
    return Measured(found.summary(), not found.differences and found.compared > 0)


def online_equals_offline_under_kills() -> Measured:
    from loadtests.berka_exactness import measure

    found = asyncio.run(measure(_data(), kills=KILLS))
    return Measured(found.summary(), not found.differences and found.kills == KILLS and found.crashes == 0)


def first_loan_auc() -> Measured:
    """Replays with snapshots through running roles, then evaluates what the service itself held."""
    with tempfile.TemporaryDirectory(prefix="kairos-berka-") as name:
        snapshots = Path(name) / "snapshots"
        asyncio.run(_replay_with_snapshots(snapshots, Path(name)))
        command = [sys.executable, "-m", "services", "evaluate", "berka", "--snapshots", str(snapshots)]
        report = _output([*command, "--data", str(_data())], timeout=900)
    aucs = re.findall(r"^(.*?)\s+(\d+)\s+(0\.\d+)\s+(0\.\d+ \.\. 0\.\d+)", report, re.MULTILINE)
    text = "; ".join(f"{title.strip()}: {auc} [{interval.replace(' .. ', ', ')}]" for title, _, auc, interval in aucs)
    return Measured(text, bool(aucs) and float(aucs[0][2]) >= TAKE_UP_AUC)


def policy_value() -> Measured:
    """The closed loop for several seeds; every one must be above both simple policies by its whole interval."""
    texts, holds = [], True
    for seed in SEEDS:
        report = _output([sys.executable, "-m", "services", "simulate", "policies", "--seed", str(seed)], timeout=1800)
        rows = re.findall(
            r"^(\S.*?) over (\S.*?): ([+-][\d.]+%) \[([+-][\d.]+)%, ([+-][\d.]+)%\]", report, re.MULTILINE
        )
        judged = [row for row in rows if row[0] in JUDGED_POLICIES and row[1] in SIMPLE_POLICIES]
        texts += [
            f"seed {seed}, {policy} over {base}: {mean} [{low}%, {high}%]" for policy, base, mean, low, high in judged
        ]
        holds = (
            holds
            and len(judged) == len(SIMPLE_POLICIES) * len(JUDGED_POLICIES)
            and all(float(row[3]) > 0 for row in judged)
        )
    return Measured("; ".join(texts) or "no comparison was printed", holds and bool(texts))


def refusals_and_caps() -> Measured:
    tests = "rejection_holds_on_the_very_next or thousand_concurrent"
    report = _output([sys.executable, "-m", "pytest", "tests/e2e/test_scenarios.py", "-k", tests], timeout=300)
    last = report.strip().splitlines()[-1]
    return Measured(
        f"a rejection in mobile, asked again in three channels; 1,000 concurrent requests: {last}", "2 passed" in last
    )


def ingest_rate() -> Measured:
    """One state builder with forty streams, in its own words: every event exactly once."""
    from loadtests.bench_ingest import measure

    rate = asyncio.run(measure(100_000, 5_000, 3, only="Kairos: 120 windowed aggregates"))["windowed"]
    return Measured(f"{rate.events_a_second:,.0f} events/s", rate.events_a_second >= 20_000)


def http_beside_baseline() -> Measured:
    """There is no target at this stage: the figures are printed, beside the baseline of the same run."""
    from loadtests.bench_http import measure

    rows = asyncio.run(measure(seconds=3.0, rounds=3))
    text = "; ".join(
        f"{r['server']} at {r['connections']}: {r['requests_per_s']:.0f}/s,"
        f" p50 {r['p50_ms']:.1f} ms, p99 {r['p99_ms']:.1f} ms, {r['cpu_ms']:.2f} ms CPU"
        for r in rows
    )
    return Measured(text, len(rows) == 6)


async def _replay_with_snapshots(snapshots: Path, folder: Path) -> None:
    """Servers, a state builder as its own process, and the replay that stops at each date until all is applied."""
    async with EmbeddedServers.start(folder / "servers") as servers:
        environment = {
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "KAIROS_KAFKA_IDEMPOTENCE": "false",
            "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",
            "KAIROS_KAFKA_PARTITIONS": "4",
            "KAIROS_REDIS_URL": servers.redis_url,
            "KAIROS_STRATEGY_PATH": str(ROOT / "deploy/strategies/berka"),
            "KAIROS_CLOCK": "events",
        }
        settings = read_settings(environment)
        await topics.create(settings)
        builder = RoleProcess(arguments=["state-builder"], environment=environment, log=folder / "state-builder.log")
        await builder.start()
        try:
            days = tuple(date.fromisoformat(day) for day in SNAPSHOT_DAYS)
            await replay_plan(settings, ReplayPlan(data=_data(), snapshot_at=days, snapshots=snapshots))
        finally:
            await builder.stop()


def _output(command: list[str], *, timeout: float) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command[1:])} ended with status {done.returncode}: {(done.stdout + done.stderr)[-1500:]}"
        )
    return done.stdout


CLAIMS = (
    Claim(
        name="make run from a fresh clone",
        target="first decision within 3 minutes, nothing typed",
        command="python -m loadtests.fresh_clone",
        measure=newcomer_decision,
        quick=False,
    ),
    Claim(
        name="make test from a fresh clone",
        target="passes, nothing typed",
        command="python -m loadtests.fresh_clone --test",
        measure=newcomer_tests,
        quick=False,
    ),
    Claim(
        name="online equals offline on the Berka log",
        target="0 differences, every account and aggregate",
        command="python -m loadtests.berka_exactness --data ../shared/data/berka",
        measure=online_equals_offline,
    ),
    Claim(
        name="kill -9 of the state builder, 20 times during the replay",
        target="0 differences",
        command="python -m loadtests.berka_exactness --data ../shared/data/berka --kills 20",
        measure=online_equals_offline_under_kills,
        quick=False,
    ),
    Claim(
        name="first loan within six months, from the state as served",
        target="AUC at least 0.76",
        command="kairos evaluate berka --snapshots var/snapshots",
        measure=first_loan_auc,
    ),
    Claim(
        name="true value of the policy after the model goes live",
        target="above random eligible and best single offer, intervals above zero, 3 seeds",
        command="kairos simulate policies --seed 1",
        measure=policy_value,
        quick=False,
    ),
    Claim(
        name="a rejected offer and a cap",
        target="not offered again in any channel; 1,000 concurrent requests never exceed a cap",
        command="pytest tests/e2e/test_scenarios.py",
        measure=refusals_and_caps,
    ),
    Claim(
        name="ingest by one state builder",
        target="designed for at least 20,000 events/s on one core",
        command="python -m loadtests.bench_ingest",
        measure=ingest_rate,
    ),
    Claim(
        name="decisions over HTTP beside the baseline",
        target="printed (no target at this stage)",
        command="python -m loadtests.bench_http",
        measure=http_beside_baseline,
    ),
)
