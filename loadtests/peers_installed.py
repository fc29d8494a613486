"""The environments other systems live in (`make setup-peers`): one each, since they pin what others pin otherwise."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = {"quixstreams": ".venv-peers", "feast": ".venv-feast", "mlserver": ".venv-mlserver"}
_ASK = (
    "import json, sys; from importlib.metadata import version; "
    "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
)


@dataclass(frozen=True, slots=True)
class Peer:
    """An installed system: its interpreter, and the versions that matter for its speed."""

    python: str
    versions: Mapping[str, str]

    @property
    def told(self) -> str:
        """The versions in words."""
        return ", ".join(f"{name} {version}" for name, version in self.versions.items())


def installed_peer(name: str, libraries: Sequence[str]) -> Peer | None:
    """Where it is installed; None, with a line on how to get it, where it is not."""
    python = ROOT / ENVIRONMENTS[name] / "bin" / "python"
    done = None
    if python.exists():
        done = subprocess.run([python, "-c", _ASK, *libraries], capture_output=True, text=True, check=False, timeout=60)
    if done is None or done.returncode:
        print(f"{name} is left out: it is not in {ENVIRONMENTS[name]} (make setup-peers)", file=sys.stderr)
        return None
    return Peer(str(python), json.loads(done.stdout))
