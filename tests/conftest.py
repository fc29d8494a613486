"""Lifetimes shared by the whole suite: real servers, from Python packages or by address."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from services.adapters.embedded_cluster import embedded_cluster
from services.adapters.embedded_servers import EmbeddedServers, embedded_broker, embedded_valkey
from services.adapters.redis_client import RedisClient

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class ServerAddresses:
    """Servers that stand elsewhere, emptied for one test."""

    redis_url: str
    bootstrap_servers: str


@pytest.fixture
async def servers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EmbeddedServers | ServerAddresses]:
    """A fresh store and broker of one test's own: embedded, or those of KAIROS_TEST_KAFKA and KAIROS_TEST_REDIS. By the
    parameter "cluster" the store is the cluster, which is emptied."""
    kafka, redis = os.environ.get("KAIROS_TEST_KAFKA"), os.environ.get("KAIROS_TEST_REDIS")
    wants_cluster = getattr(request, "param", "one server") == "cluster"
    if kafka and redis:
        await empty_broker(kafka)
        standing = request.getfixturevalue("cluster_of_three") if wants_cluster else redis
        yield ServerAddresses(await _emptied(standing), kafka)
    elif wants_cluster:
        async with embedded_broker(tmp_path) as broker:
            url = await _emptied(request.getfixturevalue("cluster_of_three"))
            yield ServerAddresses(url, f"127.0.0.1:{broker.port}")
    else:
        async with EmbeddedServers.start(tmp_path / "servers") as started:
            yield started


@pytest.fixture(scope="session")
def cluster_of_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis Cluster of three masters that stands as long as the suite: of Valkey, or of the server program
    KAIROS_TEST_REDIS_SERVER. It lives in a thread of its own, for tests have a loop each."""
    loop, folder = asyncio.new_event_loop(), tmp_path_factory.mktemp("cluster")
    thread = Thread(target=loop.run_forever, name="cluster")
    thread.start()
    stack = AsyncExitStack()
    opening = stack.enter_async_context(embedded_cluster(folder, binary=os.environ.get("KAIROS_TEST_REDIS_SERVER")))
    try:
        yield asyncio.run_coroutine_threadsafe(opening, loop).result().redis_url
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def emptied() -> Callable[[str], Awaitable[str]]:
    """Empties the cluster behind a URL, and answers it."""
    return _emptied


async def _emptied(url: str) -> str:
    async with RedisClient.open(url) as client:
        await client.execute("FLUSHALL", timeout_s=5.0)
    return url


@pytest.fixture(params=["one server", "cluster"])
async def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty store, once one server and once the cluster."""
    if request.param == "cluster":
        url: str = await _emptied(request.getfixturevalue("cluster_of_three"))
        yield url
        return
    async with embedded_valkey(tmp_path) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


async def empty_broker(bootstrap_servers: str) -> None:
    """Removes every topic that an earlier test left; what its groups committed goes with it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        while topics := [topic for topic in await admin.list_topics() if not topic.startswith("__")]:
            await admin.delete_topics(topics)
    finally:
        await admin.close()


@pytest.fixture(scope="session")
def small_bank() -> ModuleType:
    """The builders of `tests/api_bank.py`."""
    return _beside("api_bank")


@pytest.fixture(scope="session")
def log() -> ModuleType:
    """The builders of `tests/learning_log.py`."""
    return _beside("learning_log")


@pytest.fixture
def tiny_berka(tmp_path: Path) -> Path:
    """The folder of a tiny Berka bank, written by `tests/tiny_berka.py`."""
    folder: Path = _beside("tiny_berka").write_tiny_berka(tmp_path / "berka")
    return folder


@pytest.fixture(scope="session")
def governance_bench() -> ModuleType:
    """The builders of `tests/governance_bench.py`."""
    spec = spec_from_file_location("governance_bench", Path(__file__).parent / "governance_bench.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["governance_bench"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data sets; tests that need them are skipped, and say so, where they are absent."""
    folder = Path(os.environ.get("KAIROS_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "berka" / "trans.asc.gz").exists():
        pytest.skip(f"no real data at {folder}: set KAIROS_DATA to run this test")
    return folder


def _beside(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
