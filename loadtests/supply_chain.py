"""What is delivered: pinned by hash, looked through, listed. `make audit`, `python -m loadtests.supply_chain`

Without `--known-faults` nothing is asked of the network.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENTS = tuple(sorted((ROOT / "requirements").glob("*.txt")))
SBOM = ROOT / "var" / "sbom.cdx.json"
PACKAGES = ("services", "decision_engine", "event_schemas", "models")
_ADDRESS = re.compile(r"^--?[a-z-]*(index|find-links|trusted|editable)|^-[ief]\b|(https?|git|file)\+?:", re.IGNORECASE)
_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[^]]+\])?==[^ ;\\]+( ;[^\\]*)?( \\)?")
_NOT_ASKED = ("could not be audited", "ConnectionError", "Max retries")
"""What pip-audit says, with exit status 0 too, where it learnt nothing of a package."""
ANSWERED: dict[str, str] = {}
"""Findings of pip-audit by id, with why each does not concern us."""


def unpinned(requirements: str) -> list[str]:
    """What of a requirements file is no exact version with hashes, or says where packages are to come from."""
    faults, name, hashes = [], "", 1
    for line in requirements.splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if _ADDRESS.search(text):
            faults.append(f"says where packages come from: {text[:60]}")
        elif text.startswith("--hash=sha256:"):
            hashes += 1
        elif _PINNED.fullmatch(text):
            if not hashes:
                faults.append(f"{name} has no hash")
            name, hashes = text.split("=", 1)[0], 0
        else:
            faults.append(f"not pinned: {text[:60]}")
    return faults if hashes else [*faults, f"{name} has no hash"]


def main() -> int:
    """Every part; the exit status is the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--known-faults", action="store_true", help="also ask the registry for known faults")
    parts = [_pins(), _bandit(), _bill_of_materials()]
    if parser.parse_args().known_faults:
        parts.append(_known_faults())
    return 0 if all(parts) else 1


def _pins() -> bool:
    faults = [f"{file.name}: {fault}" for file in REQUIREMENTS for fault in unpinned(file.read_text())]
    print(f"requirements: {len(REQUIREMENTS)} files, {len(faults)} faults", *faults, sep="\n  ")
    return not faults


def _bandit() -> bool:
    done = _run("bandit", "--quiet", "--recursive", *PACKAGES, "--configfile", "pyproject.toml")
    print("bandit: nothing found" if done.returncode == 0 else f"bandit:\n{done.stdout}{done.stderr}")
    return done.returncode == 0


def _bill_of_materials() -> bool:
    SBOM.parent.mkdir(exist_ok=True)
    done = _run(
        "cyclonedx_py", "requirements", "requirements/run.txt", "--output-reproducible", "--output-file", str(SBOM)
    )
    sound = done.returncode == 0
    print(f"bill of materials: {SBOM.relative_to(ROOT)}" if sound else f"no bill of materials: {done.stderr}")
    return sound


def _known_faults() -> bool:
    ignored = [part for finding in ANSWERED for part in ("--ignore-vuln", finding)]
    done = _run("pip_audit", "--requirement", "requirements/run.txt", "--disable-pip", "--require-hashes", *ignored)
    said = (done.stdout + done.stderr).strip()
    if any(words in said for words in _NOT_ASKED):
        print("known faults: NOT CHECKED, the registry that is reached from here does not tell them")
        return False
    print(f"known faults: {said or 'none'}")
    return done.returncode == 0


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = (sys.executable, "-m", module, *arguments)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


if __name__ == "__main__":
    sys.exit(main())
