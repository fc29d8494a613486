"""A Redis Cluster of Valkey or Redis servers on this machine, for tests: masters with equal shares of the slots, and
replicas of them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.adapters.embedded_servers import EmbeddedServer, embedded_cluster_node
from services.adapters.redis_client import RedisClient, Reply
from services.adapters.redis_cluster_map import info_of
from services.adapters.redis_slots import SLOTS

FORM_SECONDS = 30.0
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class EmbeddedCluster:
    """Running servers of one cluster; `replicas` has those of the masters in the same order, where there are any."""

    masters: Sequence[EmbeddedServer]
    replicas: Sequence[EmbeddedServer]

    @property
    def redis_url(self) -> str:
        """For `KAIROS_REDIS_URL`."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.masters)}"


@asynccontextmanager
async def embedded_cluster(
    directory: Path, *, masters: int = 3, replicas: bool = False, binary: str | None = None
) -> AsyncIterator[EmbeddedCluster]:
    """So many masters, with a replica each where wanted, once they agree that all slots are served."""
    count = masters * (2 if replicas else 1)
    async with AsyncExitStack() as stack:
        nodes = await asyncio.gather(
            *(stack.enter_async_context(embedded_cluster_node(directory, binary)) for _ in range(count))
        )
        cluster = EmbeddedCluster(nodes[:masters], nodes[masters:])
        async with asyncio.timeout(FORM_SECONDS):
            await form_cluster(cluster)
        yield cluster


async def form_cluster(cluster: EmbeddedCluster) -> None:
    """Gives the masters their slots, makes all servers known to each other, and waits until they agree."""
    nodes = [*cluster.masters, *cluster.replicas]
    for number, node in enumerate(nodes):
        await told(node, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
    for number, node in enumerate(cluster.masters):
        first, end = (SLOTS * n // len(cluster.masters) for n in (number, number + 1))
        await told(node, "CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1))
    await join(nodes[0], nodes[1:])
    await until_agreed(nodes)
    for master, replica in zip(cluster.masters, cluster.replicas, strict=False):
        await told(replica, "CLUSTER", "REPLICATE", await id_of(master))
    for replica in cluster.replicas:
        await until_told(replica, ("INFO", "replication"), {"master_link_status": "up"})
    await until_agreed(nodes)


async def join(known: EmbeddedServer, new: Sequence[EmbeddedServer]) -> None:
    """Introduces servers to a cluster by one of it."""
    for node in new:
        await told(known, "CLUSTER", "MEET", "127.0.0.1", str(node.port), str(node.bus_port))


async def until_agreed(nodes: Sequence[EmbeddedServer]) -> None:
    """Returns when every one of these servers knows all of them and takes the cluster for whole."""
    wanted = {"cluster_state": "ok", "cluster_known_nodes": str(len(nodes))}
    for node in nodes:
        await until_told(node, ("CLUSTER", "INFO"), wanted)


async def until_told(node: EmbeddedServer, command: Sequence[str], wanted: Mapping[str, str]) -> None:
    """Returns when all of these lines are among what the server answers."""
    async with RedisClient.open(f"redis://127.0.0.1:{node.port}") as client:
        while not wanted.items() <= info_of(await client.execute(*command, timeout_s=5.0)).items():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)


async def id_of(node: EmbeddedServer) -> str:
    """The name of a server within its cluster."""
    reply = await told(node, "CLUSTER", "MYID")
    return reply.decode() if isinstance(reply, bytes) else str(reply)


async def told(node: EmbeddedServer, *command: str) -> Reply:
    """The reply of one server, by itself."""
    async with RedisClient.open(f"redis://127.0.0.1:{node.port}") as client:
        return await client.execute(*command, timeout_s=5.0)
