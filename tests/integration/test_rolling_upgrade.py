"""A rolling upgrade: two layouts of states, and two releases of the program, serve one bank side by side under load.

The previous release is the program as it stood at a commit of this repository's history, run by the same interpreter.
Judged as restarts are (`loadtests/restart_judge.py`): no request fails, and an independent fold of the log equals what
is held, whoever wrote it.
"""

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest

from event_schemas.codec import decode, encode
from loadtests.balanced_client import BalancedClient
from loadtests.restart_cluster import Cluster
from loadtests.restart_judge import Judge, LogCopy
from loadtests.restart_load import RestartLoad
from services.adapters.redis_client import RedisClient
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.adapters.role_processes import RoleProcess
from services.bootstrap import load_strategy

ROOT = Path(__file__).parents[2]
DEMO_BANK = Path("deploy") / "strategies" / "demo_bank"
PREVIOUS = "012ebed4601bb99b65284740dd6aec23da2f7b45"
ACTIONS_A_SECOND = 12.0
MORE_FEATURES = """
features:
  - {name: dining_count, source: bank.transaction.posted, where: 'category == "dining"', aggregate: count,
     windows: [30d], theme: transaction, description: {zh-CN: 餐饮笔数, en: Dining count}, default: 0}
"""
pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]


@dataclass
class UnderLoad:
    """A cluster with constant load on it."""

    cluster: Cluster
    client: BalancedClient
    judge: Judge
    log: LogCopy
    load: RestartLoad
    stop: asyncio.Event

    async def caught_up(self) -> None:
        await self.judge.until_applied(dict(self.log.ends))

    async def more(self, actions: int = 40) -> None:
        """So many more actions are begun."""
        begun = self.load.actions
        await self.cluster.until(lambda: self.load.actions >= begun + actions, "the load goes on")

    async def leave(self, address: str) -> None:
        """Takes a node out of the balancer, then tells it to stop, as a preStop hook does."""
        self.client.take_out(address)
        await self.more(5)
        await gone(self.cluster, self.cluster.apis[address])


async def gone(cluster: Cluster, role: RoleProcess) -> None:
    """Told to stop, for good."""
    assert role.process is not None
    process = role.process
    await role.stop()
    assert process.returncode == 0, role.log_tail()


@asynccontextmanager
async def under_load(cluster: Cluster) -> AsyncIterator[UnderLoad]:
    """What runs in the cluster by now is sent to; leaving ends the load and waits for the log's end."""
    async with AsyncExitStack() as stack:
        settings = cluster.settings
        store = await stack.enter_async_context(RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY))
        log = await stack.enter_async_context(LogCopy.following(settings))
        client = await stack.enter_async_context(BalancedClient().open_to(list(cluster.apis)))
        await cluster.until_serving(client)
        judge = Judge(settings, load_strategy(settings), store)
        load, stop = RestartLoad(client, 1, ACTIONS_A_SECOND), asyncio.Event()
        async with asyncio.TaskGroup() as together:
            together.create_task(load.run(stop))
            yield UnderLoad(cluster, client, judge, log, load, stop)
            stop.set()
        await log.until_quiet()
        await judge.until_applied(log.ends)
        assert client.asked.failures == []
        verdict = await judge.verdict(log.records, load.taken)
        assert (verdict.lost, verdict.doubled) == ([], [])
        assert verdict.compared > 1_000


async def test_two_versions_of_a_strategy_with_states_of_two_layouts_serve_side_by_side(tmp_path: Path) -> None:
    before, after = ROOT / DEMO_BANK, tmp_path / "after"
    shutil.copytree(before, after)
    (after / "features_added.yaml").write_text(MORE_FEATURES, encoding="utf-8")
    other = {"KAIROS_STRATEGY_PATH": str(after)}
    async with Cluster.open(tmp_path, before) as cluster:
        settings = replace(cluster.settings, strategy_path=after)
        loaded = load_strategy(settings)
        assert loaded.features.layout != load_strategy(cluster.settings).features.layout
        for more in (None, other):
            await cluster.start_builder(more)
            await cluster.start_api(more)
        async with RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY) as store:
            judge = Judge(settings, loaded, store)
            async with under_load(cluster) as scene:
                await scene.more()
                await cluster.restart(cluster.builders[0], signal.SIGTERM)
                await cluster.until_building(cluster.builders[0], 2)
                await scene.more()
            await judge.until_applied(scene.log.ends)
            verdict = await judge.verdict(scene.log.records, scene.load.taken)
            assert (verdict.lost, verdict.doubled) == ([], [])


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the previous release, unpacked."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("no git here to unpack the previous release with")
    archived = subprocess.run([git, "-C", ROOT, "archive", PREVIOUS], capture_output=True, check=False)
    if archived.returncode:
        pytest.skip(f"this checkout has no history that reaches back to the previous release, {PREVIOUS[:7]}")
    folder = tmp_path_factory.mktemp("previous")
    subprocess.run(["tar", "-x", "-C", folder], input=archived.stdout, check=True)
    return folder


def as_of(release: Path) -> dict[str, str]:
    """The environment in which `python -m services` is that release, wherever it is started."""
    return {"PYTHONPATH": str(release), "PYTHONSAFEPATH": "1"}


async def test_the_previous_release_and_this_one_serve_one_bank_until_the_last_old_process_has_left(
    tmp_path: Path, previous: Path
) -> None:
    """Builders first, then nodes; half-way the new builder is taken back, and the old one goes on with its states."""
    async with Cluster.open(tmp_path, previous / DEMO_BANK) as cluster:
        old = as_of(previous)
        old_builder, old_api = await cluster.start_builder(old), await cluster.start_api(old)
        async with under_load(cluster) as scene:
            await scene.more()
            await scene.caught_up()
            new_builder = await cluster.start_builder()
            await cluster.until_building(new_builder)
            await scene.more()
            await gone(cluster, new_builder)
            await scene.more()
            await scene.caught_up()
            await cluster.until_building(await cluster.start_builder())
            new_api = await cluster.start_api()
            scene.client.add(new_api)
            await cluster.until_ready(scene.client, new_api)
            await scene.more()
            await gone(cluster, old_builder)
            await scene.more()
            await scene.leave(old_api)
            await scene.more()


def test_the_previous_release_reads_what_this_one_writes(previous: Path) -> None:
    """Types that it does not know yet it names as unknown; nothing else does it refuse."""
    samples = sorted((ROOT / "tests" / "golden" / "events").glob("*.json"))
    written = [encode(decode(sample.read_bytes())) for sample in samples]
    told = read_by(previous, written)
    known = set(read_types(previous))
    refused = {}
    for value, answer in zip(written, told, strict=True):
        event_type = orjson.loads(value)["type"]
        if answer != event_type:
            refused[event_type] = answer
    assert set(refused) == {orjson.loads(value)["type"] for value in written} - known
    assert set(refused.values()) <= {"unknown_type"}


_READ = """
import sys
from event_schemas.codec import DecodeError, decode
for line in sys.stdin.buffer:
    try:
        print(decode(line.rstrip(b"\\n")).type)
    except DecodeError as error:
        print(error.reason)
"""
_TYPES = "from event_schemas.codec import EVENT_TYPES\nfor name in EVENT_TYPES: print(name)"


def read_by(release: Path, events: Sequence[bytes]) -> list[str]:
    """The type of each as that release reads it, or its reason to refuse it."""
    return _run(release, _READ, b"\n".join(events) + b"\n")


def read_types(release: Path) -> list[str]:
    return _run(release, _TYPES, b"")


def _run(release: Path, program: str, given: bytes) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], input=given, capture_output=True, env=as_of(release), check=True
    )
    return done.stdout.decode().splitlines()
