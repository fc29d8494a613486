"""Servers under measurement: each a process on the first processor, with the client and everything else on the second.

Where a machine has one processor all share it, and figures say little. Times are of the process alone (Linux).
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.adapters.embedded_servers import die_with_parent

START_SECONDS = 180.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server under load. `body` has places (`%d`) for a running number and a customer's number."""

    name: str
    port: int
    path: str
    body: str
    pid: int


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of closed-loop load found; `cpu_ms` is the server's processor time a request."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    latencies_ms: tuple[float, ...] = ()
    """Evenly spaced quantiles of the whole distribution."""
    refused: float = 0.0
    """The share of answers that were not 200."""


def closed_loop_round(
    server: Server, *, connections: int, seconds: float, customers: int, may_refuse: bool = False
) -> Round:
    """Each connection asks again as soon as it is answered. Raises RuntimeError where an answer is not 200, unless the
    server may refuse: then answers that are count for the rate, and all for the latencies."""
    load = {
        "port": server.port,
        "path": server.path,
        "body": server.body,
        "connections": connections,
        "seconds": seconds,
        "customers": customers,
        "cpus": processors()[1],
    }
    before = processor_seconds(server.pid)
    command = [sys.executable, "-m", "loadtests.closed_loop", json.dumps(load)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60)
    found = json.loads(done.stdout)
    if found["errors"] and not may_refuse:
        raise RuntimeError(f"{server.name}: {found['errors']} of {found['requests']} answers were not 200")
    refused = found["errors"] / max(1, found["requests"])
    return Round(
        requests_per_s=found["requests_per_s"] * (1 - refused),
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        cpu_ms=(processor_seconds(server.pid) - before) * 1000 / max(1, found["sent"]),
        latencies_ms=tuple(found["latencies_ms"]),
        refused=refused,
    )


def middle_round(rounds: Sequence[Round]) -> Round:
    """The medians of their figures, and the mean share of what was refused."""
    return Round(
        requests_per_s=statistics.median(one.requests_per_s for one in rounds),
        p50_ms=statistics.median(one.p50_ms for one in rounds),
        p99_ms=statistics.median(one.p99_ms for one in rounds),
        cpu_ms=statistics.median(one.cpu_ms for one in rounds),
        refused=statistics.fmean(one.refused for one in rounds),
    )


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], health: str) -> Iterator[int]:
    """The process, from its first healthy answer on; what it said is printed where it does not come up. Raises
    RuntimeError."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
            preexec_fn=partial(_begin, processors()[0]),  # noqa: PLW1509
        )
        try:
            _until_healthy(process, health)
            yield process.pid
        except Exception:
            log.seek(0)
            print(log.read().decode(errors="replace")[-4000:], file=sys.stderr)
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def processors() -> tuple[list[int], list[int]]:
    """For the server and for everything else; the same where there is only one."""
    if not hasattr(os, "sched_getaffinity"):
        return [], []
    cpus = sorted(os.sched_getaffinity(0))
    return [cpus[0]], cpus[1:2] or [cpus[0]]


def processor_seconds(pid: int) -> float:
    """User and system time so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mib(pid: int) -> float:
    """Memory in use (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _begin(cpus: list[int]) -> None:
    die_with_parent()
    if cpus:
        os.sched_setaffinity(0, cpus)


def _until_healthy(process: "subprocess.Popen[bytes]", url: str) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode} before it answered")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer within {START_SECONDS:.0f} s")
