"""`kairos verify berka`: proves on real data that online aggregates equal an independent recomputation."""

import argparse
import subprocess
import sys
from pathlib import Path

from services.ports import ShellError

NAME = "verify"
HELP = "replay the Berka bank through embedded servers and compare every online aggregate with pandas on the raw files"
EXAMPLE = "kairos verify berka --data ../shared/data/berka --kills 20"

MEASUREMENT = "loadtests.berka_exactness"


class CheckoutNeeded(ShellError):
    """The measurement is not part of the installed program."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to verify, where the data are, and how often to kill the state builder meanwhile."""
    parser.add_argument("what", choices=("berka",), help="berka: online equals offline, for every account")
    parser.add_argument("--data", type=Path, required=True, help="folder with the Berka gzip files")
    parser.add_argument("--kills", type=int, default=0, help="SIGKILLs of the state builder meanwhile (default 0)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the moments of the kills (default 1)")


def run(args: argparse.Namespace) -> int:
    """Status 0 only without a difference. Raises CheckoutNeeded.

    The recomputation is kept out of the program on purpose, so that it cannot share its mistakes; it runs as a
    process of its own from the checkout.
    """
    root = Path(__file__).parents[2]
    if not (root / "loadtests" / "berka_exactness.py").is_file():
        raise CheckoutNeeded(f"the recomputation is in loadtests/ of a source checkout; {root} is none")
    command = [sys.executable, "-m", MEASUREMENT, "--data", str(args.data.resolve())]
    command += ["--kills", str(args.kills), "--seed", str(args.seed)]
    return subprocess.run(command, cwd=root, check=False).returncode
