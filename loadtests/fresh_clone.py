"""A newcomer's first minutes, measured: clone, `make run`, first decision; then `make test`, nothing typed between.

The clone has no environment and pip no cache. `python -m loadtests.fresh_clone [--test]`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from services.adapters.embedded_servers import free_port

ROOT = Path(__file__).parents[1]
LONGEST_RUN_SECONDS = 600
LONGEST_TEST_SECONDS = 2400


@dataclass(frozen=True, slots=True)
class FirstDecision:
    """Seconds from typing `make run` to the first answer that offers something, and that answer's first offer."""

    seconds: float
    offer: str
    clean_stop: bool


def main() -> int:
    """Prints what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test", action="store_true", help="also run make test in the clone")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kairos-clone-") as folder:
        clone = clone_into(Path(folder))
        found = first_decision(clone)
        stopped = "stopped cleanly" if found.clean_stop else "DID NOT STOP CLEANLY"
        print(f"first decision after {found.seconds:.0f} s: {found.offer}; {stopped}")
        if args.test:
            seconds, summary = run_tests(clone)
            print(f"make test: {summary} ({seconds:.0f} s)")
    return 0


def clone_into(folder: Path) -> Path:
    """What is committed, cloned as a stranger would."""
    clone = folder / "kairos"
    subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", str(clone)], check=True)
    return clone


def first_decision(clone: Path) -> FirstDecision:
    """Runs `make run` and asks until an option comes. Raises RuntimeError with the log when none does."""
    port = free_port()
    log = clone.parent / "make-run.log"
    started = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["make", "run", f"PORT={port}"],
            cwd=clone,
            env=bare_environment(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        offer = _until_offered(process, port, started)
        seconds = time.monotonic() - started
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{log.read_text(errors='replace')[-3000:]}") from None
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)
    return FirstDecision(seconds, offer, not _anyone_left(process.pid))


def run_tests(clone: Path) -> tuple[float, str]:
    """Runs `make test` and answers its seconds and pytest's closing line. Raises when it fails."""
    started = time.monotonic()
    done = subprocess.run(
        ["make", "test"],
        cwd=clone,
        env=bare_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_TEST_SECONDS,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"make test ended with status {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}"
        )
    return time.monotonic() - started, done.stdout.strip().splitlines()[-1]


def bare_environment() -> dict[str, str]:
    """This environment without a virtual environment, settings of ours, or pip's cache."""
    kept = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV" and not k.startswith(("KAIROS_", "MAKE"))}
    own = str(Path(sys.prefix) / "bin")
    kept["PATH"] = os.pathsep.join(p for p in kept["PATH"].split(os.pathsep) if p != own)
    return {**kept, "PIP_NO_CACHE_DIR": "1"}


def _until_offered(process: "subprocess.Popen[bytes]", port: int, started: float) -> str:
    number = 0
    while time.monotonic() - started < LONGEST_RUN_SECONDS:
        if process.poll() is not None:
            raise RuntimeError(f"make run ended with status {process.returncode}")
        number += 1
        answer = _ask(port, number)
        for placement in answer.get("placements", []):
            for option in placement.get("options", []):
                return str(option["offer"])
        time.sleep(0.5)
    raise RuntimeError(f"no option was offered within {LONGEST_RUN_SECONDS} s")


def _ask(port: int, number: int) -> dict:
    body = {
        "request_id": f"newcomer-{number}",
        "customer_id": f"retail:{number % 50 + 1}",
        "channel": "mobile",
        "placements": [{"id": "home_banner", "count": 1}],
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/decisions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read())
    except (urllib.error.URLError, OSError):
        return {}


def _anyone_left(group: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.2)
    return True


if __name__ == "__main__":
    sys.exit(main())
