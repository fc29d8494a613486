"""What the image does, without a container engine: the wheel is built, installed with the pinned libraries into an
environment of its own, and every role is started from it, far from the sources, until a decision comes.

`python -m loadtests.installed_wheel`; status 1 where anything falls short.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
import zipfile
from pathlib import Path

from services.adapters.embedded_servers import free_port

ROOT = Path(__file__).parents[1]
SOURCES = ("event_schemas", "decision_engine", "models", "services", "pyproject.toml", "README.md", "LICENSE")
READY_SECONDS = 90
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


class Failed(Exception):
    """A step did not do what it must."""


def main() -> int:
    """Prints each step with its time."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kairos-wheel-") as name:
        folder = Path(name)
        try:
            wheel = built_wheel(folder)
            print(f"built {wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB ({time.monotonic() - started:.0f} s)")
            program = installed(folder, wheel)
            print(f"installed with the pinned libraries ({time.monotonic() - started:.0f} s)")
            check_commands(program, folder)
            offer, roles = first_decision(program, folder)
        except Failed as failed:
            print(f"FAILED: {failed}")
            return 1
    print(f"{roles} roles ready from the wheel; first decision offers {offer} ({time.monotonic() - started:.0f} s)")
    return 0


def built_wheel(folder: Path) -> Path:
    """Built from a copy, so that nothing is left behind, and holding every file that is not Python."""
    copy = folder / "source"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "artifacts"))
        else:
            shutil.copy(source, copy / name)
    _run([*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(copy)])
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise Failed(f"one wheel was to come, and {len(wheels)} did")
    held = set(zipfile.ZipFile(wheels[0]).namelist())
    wanted = {
        path.relative_to(copy).as_posix()
        for package in SOURCES[:4]
        for path in (copy / package).rglob("*")
        if path.is_file()
    }
    missing = sorted(one for one in wanted - held if not one.endswith((".gitkeep", "README.md")))
    if missing:
        raise Failed(f"the wheel lacks {len(missing)} files, such as {', '.join(missing[:5])}")
    return wheels[0]


def installed(folder: Path, wheel: Path) -> Path:
    """The `kairos` of a fresh environment, as deploy/Containerfile makes it."""
    home = folder / "environment"
    venv.create(home, with_pip=False)
    into = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(home / "bin" / "python"),
        "--quiet",
        "--disable-pip-version-check",
    ]
    _run([*into, "install", "--no-deps", "--require-hashes", "-r", str(ROOT / "requirements" / "run.txt")])
    _run([*into, "install", "--no-deps", "--no-index", str(wheel)])
    return home / "bin" / "kairos"


def check_commands(program: Path, folder: Path) -> None:
    """Every command can be loaded, and none is found beside the sources."""
    listed = _run([str(program), "--help"], cwd=folder)
    for command in ("api", "state-builder", "archiver", "learner", "guard", "doctor", "backup", "restore"):
        if command not in listed:
            raise Failed(f"kairos --help does not list {command}")
    _run([str(program), "settings"], cwd=folder)


def first_decision(program: Path, folder: Path) -> tuple[str, int]:
    """Starts everything embedded from the wheel; the first offer of a decision and how many roles there were."""
    home, port = folder / "home", free_port()
    shutil.copytree(ROOT / "deploy" / "strategies", home / "deploy" / "strategies")
    with (folder / "dev.log").open("wb") as log:
        running = subprocess.Popen(
            [str(program), "dev", "--port", str(port), "--customers", "200", "--history-days", "5"],
            cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(), start_new_session=True,
        )  # fmt: skip
        try:
            offer = _first_offer(port, running)
            roles = len(list((home / "var" / "latest" / "logs").glob("*.log")))
        except Failed as failed:
            raise Failed(f"{failed}\n{(folder / 'dev.log').read_text(errors='replace')[-3000:]}") from failed
        finally:
            running.send_signal(signal.SIGINT)
            status = running.wait(60)
    if status != 0:
        raise Failed(f"stopping ended with status {status}")
    return offer, roles


def _first_offer(port: int, running: "subprocess.Popen[bytes]") -> str:
    deadline, customer = time.monotonic() + READY_SECONDS, 0
    while time.monotonic() < deadline:
        if running.poll() is not None:
            raise Failed(f"it ended by itself with status {running.returncode}")
        customer = customer % 200 + 1
        body = {
            "request_id": f"wheel-{time.monotonic_ns()}", "customer_id": f"retail:{customer}", "channel": "mobile",
            "placements": [{"id": "home_banner", "count": 1}],
        }  # fmt: skip
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/decisions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                options = json.load(answer)["placements"][0].get("options")
            if options:
                return str(options[0]["offer"])
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.2)
    raise Failed(f"no decision offered anything within {READY_SECONDS} s")


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode != 0:
        raise Failed(
            f"{' '.join(command[:8])} … ended with status {done.returncode}:\n{done.stdout}{done.stderr}"[-3000:]
        )
    return done.stdout


def _environment() -> dict[str, str]:
    """Without what would lead back to the sources."""
    return {
        k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"} and not k.startswith("KAIROS_")
    }


if __name__ == "__main__":
    sys.exit(main())
