"""One run: processes of the generator sent off together, the processor time of everybody read at the edges of what is
counted, and one finding of it all."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from loadtests.open_loop.histogram import LatencyHistogram
from loadtests.open_loop.metering import Meter, Usage
from loadtests.open_loop.plan import Plan
from loadtests.open_loop.schedule import Phase
from loadtests.open_loop.sender import Sent, merged_sent
from loadtests.open_loop.storm import Storm
from loadtests.open_loop.tally import Tally, merged
from loadtests.open_loop.worker import READY, sent_of

BEGIN_IN_S = 0.2
"""After the last process is ready."""
ENDING_S = 30.0
MOST_LAG_MS = 5.0
"""A generator that was later than this with one request in a hundred has not sent the load that was asked for."""
MOST_PROCESSOR = 0.95
"""The share of a processor beyond which a process of the generator is a bottleneck itself."""


class GeneratorFailed(Exception):
    """A process of the generator ended without a finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A run to make. A plan without streams sends nothing over HTTP; the storm goes onto the bus that `environment`
    names. `watched` are the server's processes, by what they are to be called."""

    plan: Plan
    workers: int = 1
    storm: Sequence[Phase] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    watched: dict[str, int] = field(default_factory=dict)
    most_lag_ms: float = MOST_LAG_MS


@dataclass(frozen=True, slots=True)
class Generator:
    """A process of the generator, and the file in which it leaves what it found: whole or not at all, where a pipe may
    hold a part of it."""

    process: "subprocess.Popen[str]"
    answer: Path

    def end(self) -> None:
        """Kills what runs still."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a run found over the `seconds` that were counted. `usage` is of every process over `measured_s`, which is a
    little longer."""

    seconds: float
    tallies: Mapping[str, Tally]
    lag: LatencyHistogram
    usage: Mapping[str, Usage]
    measured_s: float
    invalid: Sequence[str]
    """Why the run says nothing about the server; empty: it is valid."""

    @property
    def total(self) -> Tally:
        """All steps together."""
        return merged(self.tallies)

    @property
    def offered(self) -> float:
        """Requests a second that were sent, as they were meant to be."""
        return self.total.sent / self.seconds

    @property
    def goodput(self) -> float:
        """Answers a second that were as they should be, in time and not degraded."""
        return self.total.whole / self.seconds

    def processor_ms(self, process: str) -> float:
        """Processor milliseconds of the process for each request that was sent."""
        usage = self.usage.get(process)
        sent = self.offered * self.measured_s
        return usage.processor_s * 1000 / sent if usage is not None and sent else float("nan")


def run_load(load: Load) -> Finding:
    """Makes the run. Raises GeneratorFailed with what the process said."""
    plan = replace(load.plan, run=uuid.uuid4().hex[:12])
    with TemporaryDirectory(prefix="kairos-load-") as folder:
        started: dict[str, Generator] = {}
        try:
            for place in range(load.workers if plan.streams else 0):
                part = replace(plan, share=place, shares=load.workers)
                name = f"generator {place + 1}"
                started[name] = _started("worker", part.as_mapping(), load.environment, Path(folder, name))
            if load.storm:
                name, order = "bus producer", _storm(load, plan).as_mapping()
                started[name] = _started("bus_storm", order, load.environment, Path(folder, name))
            begin_at = _begun([each.process for each in started.values()])
            pids = {name: each.process.pid for name, each in started.items()}
            measured_s, usage = _measured(plan, begin_at, load.watched | pids)
            parts = {name: found(each, plan.timeout_s + ENDING_S) for name, each in started.items()}
        finally:
            for each in started.values():
                each.end()
    sent = _together(parts)
    own = {name: usage[name] for name in started if name in usage}
    return Finding(
        seconds=plan.seconds - plan.warm_up_s,
        tallies=sent.tallies,
        lag=sent.lag,
        usage=usage,
        measured_s=measured_s,
        invalid=faults_of(
            sent.lag, load.most_lag_ms, {name: each.processor_s / measured_s for name, each in own.items()}
        ),
    )


def faults_of(lag: LatencyHistogram, most_lag_ms: float, processor_shares: Mapping[str, float]) -> list[str]:
    """Why a run with such a generator is not valid."""
    faults = []
    if not lag.total:
        return ["nothing was sent in what was to be counted"]
    if (late := lag.percentile_ms(99)) > most_lag_ms:
        faults.append(
            f"the generator was {late:.1f} ms behind its schedule in its worst 1 % (at most {most_lag_ms:g} ms)"
        )
    for name, share in processor_shares.items():
        if share > MOST_PROCESSOR:
            faults.append(f"{name} used {share:.0%} of a processor")
    return faults


def found(generator: Generator, timeout_s: float) -> Sent:
    """What a process of the generator has found, once it has ended. Raises GeneratorFailed."""
    try:
        _, said = generator.process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise GeneratorFailed(f"it has not ended {timeout_s:.0f} s after the run") from error
    if generator.process.returncode:
        raise GeneratorFailed(said.strip()[-2_000:] or f"status {generator.process.returncode}")
    try:
        return sent_of(json.loads(generator.answer.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GeneratorFailed(f"it ended, and left no answer that can be read: {error!r}") from error


def _started(module: str, order: Mapping[str, object], environment: Mapping[str, str], answer: Path) -> Generator:
    process = subprocess.Popen(
        [sys.executable, "-m", f"loadtests.open_loop.{module}", str(answer)],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _tell(process, json.dumps(order))
    return Generator(process, answer)


def _tell(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended: what it said is read later
        process.stdin.write(line + "\n")
        process.stdin.flush()


def _begun(processes: Iterable["subprocess.Popen[str]"]) -> float:
    """Waits until all are ready, and tells them when to begin. Raises GeneratorFailed for one that is not."""
    waiting = list(processes)
    for process in waiting:
        assert process.stdout is not None
        if process.stdout.readline().strip() != READY:
            raise GeneratorFailed(process.communicate()[1].strip()[-2_000:])
    begin_at = monotonic() + BEGIN_IN_S
    for process in waiting:
        _tell(process, repr(begin_at))
    return begin_at


def _storm(load: Load, plan: Plan) -> Storm:
    return Storm(
        phases=load.storm,
        spacing=plan.spacing,
        customers=plan.customers,
        seed=plan.seed,
        run=plan.run,
        warm_up_s=plan.warm_up_s,
        processors=plan.processors,
    )


def _measured(plan: Plan, begin_at: float, processes: Mapping[str, int]) -> tuple[float, dict[str, Usage]]:
    """Waits until what is counted begins, and until it has ended."""
    time.sleep(max(0.0, begin_at + plan.warm_up_s - monotonic()))
    meter = Meter(processes)
    time.sleep(max(0.0, begin_at + plan.seconds - monotonic()))
    return meter.since()


def _together(parts: Mapping[str, Sent]) -> Sent:
    """HTTP's processes and the bus's have different steps; all have the lag of one schedule."""
    by_steps: dict[tuple[str, ...], list[Sent]] = {}
    for part in parts.values():
        by_steps.setdefault(tuple(part.tallies), []).append(part)
    whole = Sent({})
    for alike in by_steps.values():
        joined = merged_sent(alike)
        whole.tallies.update(joined.tallies)
        whole.lag.merge(joined.lag)
    return whole
