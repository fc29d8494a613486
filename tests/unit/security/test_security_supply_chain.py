"""What is installed is what was looked at: every requirement by version and hash, from no address of its own."""

from pathlib import Path

import pytest

from loadtests.supply_chain import PACKAGES, REQUIREMENTS, ROOT, unpinned

DIGEST = "a" * 64
GOOD = f"a==1.0 \\\n    --hash=sha256:{DIGEST}\n    # via b\n"


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.name)
def test_requirements_are_pinned_by_hash(file: Path) -> None:
    assert unpinned(file.read_text()) == []


def test_there_are_requirements_to_look_at() -> None:
    assert {"run.txt", "dev.txt"} <= {file.name for file in REQUIREMENTS}


@pytest.mark.parametrize(
    "fault",
    [
        "b==2.0\n",
        f"b>=2.0 \\\n    --hash=sha256:{DIGEST}\n",
        "--index-url https://evil.example/simple\n",
        "--extra-index-url https://evil.example/simple\n",
        "-i https://evil.example\n",
        "--trusted-host evil.example\n",
        "--find-links /tmp\n",
        "-e .\n",
        "b @ https://evil.example/b.whl\n",
        "git+https://evil.example/b.git\n",
    ],
)
def test_what_is_not_pinned_is_found(fault: str) -> None:
    assert unpinned(GOOD) == []
    assert unpinned(GOOD + fault)
    assert unpinned(fault + GOOD)


def test_nothing_of_the_code_reads_pickles_or_evaluates_texts() -> None:
    """Models are LightGBM's text form; conditions are compiled by our own parser."""
    code = [file for folder in PACKAGES for file in (ROOT / folder).rglob("*.py")]
    assert len(code) > 300
    words = ("import pickle", "import marshal", "import shelve", "yaml.load(", "yaml.unsafe_load", "shell=True")
    assert [(str(file), word) for file in code for word in words if word in file.read_text()] == []
