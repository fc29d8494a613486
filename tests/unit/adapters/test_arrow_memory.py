"""Arrow hands back what a role no longer needs: its allocator is chosen before it is imported."""

import os
import subprocess
import sys

import pyarrow as pa
import pytest

from services.adapters.arrow_memory import POOL, choose_allocator

_KAIROS = """
from contextlib import suppress
from services.__main__ import main
with suppress(SystemExit):
    main(["archiver", "--help"])
"""
_NURSERY = """
from loadtests.faults.nursery import main
main()
"""
_ASK = """
import pyarrow
print(pyarrow.default_memory_pool().backend_name)
"""
_HAS_JEMALLOC = sys.platform == "linux" and "jemalloc" in pa.supported_memory_backends()


def _pool_of(program: str, **chosen: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != POOL} | chosen
    run = subprocess.run(
        [sys.executable, "-c", program + _ASK],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return str(run.stdout.split()[-1])


@pytest.mark.skipif(not _HAS_JEMALLOC, reason="this build of Arrow has no jemalloc")
@pytest.mark.parametrize("program", [_KAIROS, _NURSERY], ids=["kairos", "roles of a campaign"])
def test_a_role_uses_the_allocator_that_hands_memory_back(program: str) -> None:
    assert _pool_of(program) == "jemalloc"


def test_what_the_operator_chose_is_kept() -> None:
    assert _pool_of(_KAIROS, **{POOL: "system"}) == "system"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Arrow takes its own")
def test_processes_that_a_role_starts_are_given_the_same() -> None:
    environment = {"PATH": "/bin"}
    choose_allocator(environment)
    assert environment == {"PATH": "/bin", POOL: "jemalloc"}
