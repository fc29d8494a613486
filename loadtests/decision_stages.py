"""Where a decision's processor time goes, stage by stage, in an API process that is fed without sockets.

The world is that of `loadtests.bench_http` (1,000 offers, of which rules leave 50 for 200 trees), the process
`loadtests.decision_process`: the deployed code from the HTTP protocol's bytes to its bytes, with Valkey and a broker as
processes of their own on the other processor. Its stack is sampled by its own CPU clock, and each sample counts for the
innermost function that belongs to a stage; times are shares of the measured CPU per decision, so they add up to it.

`--against FOLDER` measures the same world with the code of another checkout, in turns with this one, and prints the
ratio: medians over rounds, which a busy machine leaves alone better than any absolute figure.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.bench_world import PLACEMENT, build_world, fill_store, promote_model
from loadtests.open_loop.product import CUSTOMERS, REFUSED, TREES
from loadtests.results import Result, Table, describe, write
from loadtests.server_processes import processors
from services.adapters.embedded_servers import EmbeddedServers
from services.bootstrap import load_strategy, open_publisher
from services.commands import topics
from services.settings import read_settings

HERE = Path(__file__).parents[1]
BODY = json.dumps(
    {
        "request_id": "r-%d",
        "customer_id": "retail:%d",
        "channel": "mobile",
        "placements": [{"id": PLACEMENT, "count": 3}],
    }
)
CONCURRENT = 16
SAMPLED = 15_000
"""Decisions under the sampler: at some 250 samples a CPU second about 4,000 samples."""
STAGES: Sequence[tuple[str, Sequence[str]]] = (
    ("HTTP in", ("guarded_protocol.py:", "httptools_impl.py:HttpToolsProtocol")),
    ("HTTP out", ("httptools_impl.py:RequestResponseCycle.send", "front_door.py:_send")),
    ("body: read, parse, validate", ("bodies.py:", "decision_request.py:", "type_adapter.py:")),
    ("admission, rates, shedding", ("rate_limits.py:", "callers.py:", "load_gate.py:", "load_limit.py:")),
    ("idempotency", ("idempotent_answers.py:",)),
    ("deadlines", ("deadlines.py:", "timeouts.py:")),
    ("store and ledger: client", ("redis_", "circuit_breaker.py:")),
    ("state: decode, windows, facts", ("customer_facts.py:",)),
    (
        "rules and gates",
        (
            "condition_bits.py:", "predicate_index.py:", "interval_tests.py:", "engine.py:_screen", "rejections.py:",
            "candidates.py:", "contact_policy.py:screen", "kill_switches.py:",
        ),
    ),
    ("matrix", ("matrix.py:",)),
    ("model", ("gbdt_scorer.py:", "lignum_form.py:", "mask_form.py:", "scorer_watch.py:", "scoring.py:")),
    (
        "arbitration, trial, slate",
        (
            "arbitration.py:", "trial_ranking.py:", "experiment_layers.py:", "slate.py:", "exploration.py:",
            "lottery.py:Lottery.order",
        ),
    ),
    ("reservation: plan", ("reservation.py:plan", "contact_rules.py:")),
    ("settlement, reasons", ("settlement.py:",)),
    ("record: columns, encode", ("decision_record.py:", "tracked_options.py:")),
    ("answer", ("decision_answer.py:",)),
    ("publish", ("kafka_", "sender.py:", "conn.py:", "client.py:AIO", "message_accumulator.py:", "producer.py:")),
    ("metrics", ("decision_metrics.py:", "prometheus_metrics.py:")),
    ("following topics", ("fetcher.py:", "group_coordinator.py:", "subscription_state.py:", "control_topic.py:")),
    ("engine: the rest", ("engine.py:", "replay.py:")),
    ("the fed client", ("decision_process.py:_Pipe", "decision_process.py:_Source")),
)  # fmt: skip
"""A stage by name, and how the names of its functions (file:qualified name) begin; the first that fits counts."""
OTHER = "use case, event loop, the rest"


@dataclass(frozen=True, slots=True)
class Stages:
    """CPU microseconds per decision, altogether and by stage."""

    cpu_us: float
    by_stage: Mapping[str, float]
    samples: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: `decisions` a round, `sampled` under the sampler (0: none)."""

    against: Path | None = None
    rounds: int = 7
    decisions: int = 1_500
    sampled: int = SAMPLED
    profiled: bool = False


class _Process:
    """An API process of one checkout, driven by lines of JSON."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, **task: object) -> dict[str, Any]:
        """Its answer. Raises RuntimeError when it ends instead."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the measured process ended with status {self._process.wait()}")
        return dict(json.loads(line))


def main() -> int:
    """Prints the table, and with another checkout the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout to compare with")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each, in turn")
    parser.add_argument("--decisions", type=int, default=1_500, help="decisions a round")
    parser.add_argument("--sampled", type=int, default=SAMPLED, help="decisions under the sampler, 0: none")
    parser.add_argument("--profile", action="store_true", help="print the calls by cProfile, which distorts times")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON line instead")
    args = parser.parse_args()
    plan = Plan(args.against, args.rounds, args.decisions, args.sampled, profiled=args.profile)
    result = asyncio.run(measure(plan))
    write(result)
    print(json.dumps(dict(result.figures)) if args.json else _as_text(result))
    return 0


async def measure(plan: Plan) -> Result:
    """CPU per decision, the ratio to the other checkout, and the table of stages of each."""
    async with world_to_decide_in() as given:
        return await asyncio.to_thread(measured_in, given, plan)


@asynccontextmanager
async def world_to_decide_in() -> AsyncIterator[dict[str, object]]:
    """Valkey, a broker, strategy, model and customers; what a measured process has to be told."""
    with tempfile.TemporaryDirectory(prefix="kairos-stages-") as name:
        folder = Path(name)
        world = build_world(folder, trees=TREES, customers=CUSTOMERS, refused=REFUSED)
        async with EmbeddedServers.start(folder / "servers") as servers:
            environment = {
                "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
                "KAIROS_KAFKA_IDEMPOTENCE": "false",
                "KAIROS_KAFKA_PARTITIONS": "4",
                "KAIROS_REDIS_URL": servers.redis_url,
                "KAIROS_STRATEGY_PATH": str(world.strategy),
                "KAIROS_MODEL_PATH": str(world.model_root),
                "KAIROS_LOG_LEVEL": "ERROR",
                "KAIROS_DECISION_TIMEOUT_MS": "1000",
            }
            settings = read_settings(environment)
            await topics.create(settings)
            await fill_store(servers.redis_url, load_strategy(settings).features, world)
            async with open_publisher(settings) as publisher:
                await promote_model(publisher, world)
            yield {"environment": environment, "body": BODY, "customers": CUSTOMERS, "cpus": processors()[0]}


def stages_of(cpu_us: float, stacks: Sequence[tuple[Sequence[str], int]]) -> Stages:
    """The CPU time shared out over the stages, as the samples tell."""
    counts: Counter[str] = Counter()
    for stack, count in stacks:
        counts[_stage(stack)] += count
    total = counts.total() or 1
    return Stages(cpu_us, {stage: cpu_us * count / total for stage, count in counts.most_common()}, total)


def _stage(stack: Sequence[str]) -> str:
    for frame in stack:
        for stage, beginnings in STAGES:
            if frame.startswith(tuple(beginnings)):
                return stage
    return OTHER


def measured_in(given: dict[str, object], plan: Plan) -> Result:
    """The same in a world that stands already."""
    checkouts = {"now": HERE} if plan.against is None else {"before": plan.against, "now": HERE}
    with ExitStack() as stack:
        processes = {name: stack.enter_context(_running(tree, given)) for name, tree in checkouts.items()}
        found: dict[str, list[float]] = {name: [] for name in processes}
        for number in range(plan.rounds):
            for name in list(processes) if number % 2 == 0 else list(processes)[::-1]:
                answer = processes[name].ask(do="run", decisions=plan.decisions, concurrent=CONCURRENT)
                found[name].append(float(answer["cpu_us"]))
        tables = {name: _sampled(process, plan.sampled) for name, process in processes.items() if plan.sampled}
        if plan.profiled:
            print(processes["now"].ask(do="profile", decisions=plan.decisions, concurrent=CONCURRENT)["profile"])
    return _result(found, tables)


def _sampled(process: _Process, decisions: int) -> Stages:
    answer = process.ask(do="sample", decisions=decisions, concurrent=CONCURRENT)
    return stages_of(float(answer["cpu_us"]), answer["stacks"])


def _result(found: Mapping[str, list[float]], tables: Mapping[str, Stages]) -> Result:
    figures = {f"{name}_cpu_us_per_decision": statistics.median(times) for name, times in found.items()}
    if "before" in found:
        pairs = zip(found["now"], found["before"], strict=True)
        figures["cpu_ratio_now_to_before"] = statistics.median(now / before for now, before in pairs)
    stages = list(dict.fromkeys(stage for table in tables.values() for stage in table.by_stage))
    rows = [
        [stage, *(round(table.by_stage.get(stage, 0.0)) for table in tables.values()),
         *(round(100 * table.by_stage.get(stage, 0.0) / table.cpu_us, 1) for table in tables.values())]
        for stage in stages
    ]  # fmt: skip
    columns = ("stage", *(f"{name}: us" for name in tables), *(f"{name}: %" for name in tables))
    for name, table in tables.items():
        figures |= {f"{name}_{stage}_us": us for stage, us in table.by_stage.items()}
        figures[f"{name}_samples"] = table.samples
    title = "CPU microseconds per decision by stage, one process"
    shown = [Table(title, columns, rows)] if tables else []
    return describe("decision-stages", "Where a decision's time goes", figures=figures, tables=shown)


def _as_text(result: Result) -> str:
    lines = [f"{name}: {value:.3g}" for name, value in result.figures.items() if not name.endswith("_us")]
    for table in result.tables:
        lines.append("| " + " | ".join(table.columns) + " |")
        lines.append("|" + "---|" * len(table.columns))
        lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.rows]
    return "\n".join(lines)


@contextmanager
def _running(tree: Path, given: dict[str, object]) -> Iterator[_Process]:
    command = [sys.executable, str(Path(__file__).with_name("decision_process.py")), json.dumps(given)]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(tree)},
        cwd=tree,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        measured = _Process(process)
        measured.answer()  # it is ready
        yield measured
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
