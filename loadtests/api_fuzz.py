"""Requests generated from the OpenAPI document by schemathesis, against the API over real HTTP, with a key that may do
everything: no server error, no undocumented status, no answer that is not as described, nothing accepted that breaks
the description. `python -m loadtests.api_fuzz`

The node has its use cases and its governance; store and bus are in memory. What needs an archive or the outbound topic
answers 503 there, as documented; any other answer of 500 or above is a failure.
"""

import argparse
import asyncio
import itertools
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from services.api.app import create_app
from services.api.authentication import ApiKey, ApiKeys, ApiScope, Client
from services.api.front_door import AsgiApp
from services.api.server import bind, serve
from services.use_cases.governance.simulations import Simulations

ROOT = Path(__file__).parents[1]
REQUESTS = 20_000
KEY = "fuzz-key"
CHECKS = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503]

[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 408, 409, 413, 414, 415, 422, 429, 431, 503]

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 413, 422, 429, 503]
"""
"""All checks are made. 413 refuses, too; a request may fit the description and name a channel that the strategy does
not have (422); and the documented 503 of parts that this node does not have is told from a failure in `Watched`."""
_NOT_HERE = re.compile(
    r"^/v1/(stream|attribution|decision-log|erasures|simulations|customers/[^/]+(/export|/consents)?)"
)
_ROUND_SECONDS = 900


@dataclass(slots=True)
class Watched:
    """The application, with what it answered."""

    app: AsgiApp
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""

        async def seen(message: Any) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                self.statuses[status] += 1
                if status >= 500 and not (status == 503 and _NOT_HERE.match(scope["path"])):
                    self.failures.append(f"{status} {scope['method']} {scope['path'][:100]!r}")
            await send(message)

        await self.app(scope, receive, seen)


class NoSimulations:
    """A store of simulations that keeps none."""

    async def load(self, job_id: str) -> bytes | None:
        return None


@contextmanager
def served() -> Iterator[tuple[str, Watched]]:
    """A node on a free port, in a thread of its own."""
    listener = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    ready, parts = threading.Event(), dict[str, Any]()

    async def run() -> None:
        parts["loop"], parts["stop"] = asyncio.get_running_loop(), asyncio.Event()
        parts["watched"] = Watched(await _node())
        await serve(parts["watched"], listener, stop=parts["stop"], on_started=ready.set)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="api", daemon=True)
    thread.start()
    if not ready.wait(30):
        raise RuntimeError("the API did not start")
    try:
        yield url, parts["watched"]
    finally:
        parts["loop"].call_soon_threadsafe(parts["stop"].set)
        thread.join(20)


def fuzz(url: str, *, examples: int, seed: int, phases: str = "examples,coverage,fuzzing") -> tuple[bool, str]:
    """One run of schemathesis; whether it found nothing, and what it said."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "schemathesis.toml").write_text(CHECKS)
        done = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--header", f"X-API-Key: {KEY}",
                "--phases", phases, "--max-examples", str(examples),
                "--seed", str(seed), "--no-color", "--continue-on-failure", "--suppress-health-check", "all",
            ],
            capture_output=True, text=True, check=False, timeout=_ROUND_SECONDS, cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160", "SCHEMATHESIS_HOOKS": ""},
        )  # fmt: skip
    return done.returncode == 0, done.stdout + done.stderr


def main() -> int:
    """Rounds with different seeds until there were enough requests; the exit status is the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--examples", type=int, default=60, help="examples an operation in a round")
    args = parser.parse_args()
    sound = True
    with served() as (url, watched):
        for seed in itertools.count(1):
            passed, said = fuzz(url, examples=args.examples, seed=seed)
            if not passed:
                print(said)
            sound &= passed
            print(f"round {seed}: {watched.statuses.total()} requests so far", file=sys.stderr, flush=True)
            if not sound or watched.statuses.total() >= args.requests:
                break
    counted = ", ".join(f"{number} x {status}" for status, number in sorted(watched.statuses.items()))
    print(f"{watched.statuses.total()} requests: {counted}")
    print(f"{len(watched.failures)} server errors; schemathesis found {'nothing' if sound else 'faults'}")
    for failure in watched.failures[:20]:
        print(failure)
    return 0 if sound and not watched.failures else 1


async def _node() -> AsgiApp:
    bench = from_tests("governance_bench").Bench()
    desk = await bench.desk()
    client = Client(name="fuzz", channels=None, scopes=frozenset(ApiScope))
    keys = ApiKeys([ApiKey(sha256=sha256(KEY.encode()).digest(), client=client)])
    bank = from_tests("api_bank").Bank()
    return create_app(
        bank.runtime(authenticator=keys, governance=desk, simulations=Simulations(desk, NoSimulations(), bench, bench))
    )


def from_tests(name: str) -> ModuleType:
    """The suite's builders, which are no package."""
    spec = spec_from_file_location(name, ROOT / "tests" / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(name)
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
