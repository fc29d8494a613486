"""A new marketer's path in Chromium, counted and timed: a new offer with two treatments, rule and cap, checked,
simulated, submitted, approved by a second person, live in a decision. `python -m loadtests.marketer_path`"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEST = "tests/browser/test_console.py::test_a_marketer_brings_an_offer_live_by_clicks_alone"
FOUND = ROOT / "var/screenshots/marketer_path.json"
MOST_CLICKS = 30


def main() -> int:
    """Walks the path; the last line says how many clicks and how long it took."""
    FOUND.unlink(missing_ok=True)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--timeout", "280", TEST],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    if run.returncode != 0 or not FOUND.is_file():
        print(run.stdout[-3000:], run.stderr[-1000:], file=sys.stderr)
        print("the path was not walked to its end")
        return 1
    found = json.loads(FOUND.read_text())
    seconds = found["seconds"]
    print(
        f"{found['clicks']} clicks (fewer than {MOST_CLICKS}), {seconds['all']:.0f} s by script, of which "
        f"{seconds['writing']:.0f} s writing and {seconds['simulation']:.0f} s simulating; no file edited, no restart"
    )
    return 0 if found["clicks"] < MOST_CLICKS else 1


if __name__ == "__main__":
    sys.exit(main())
