"""What `kairos doctor` asks of a store that is a cluster: slots, masters, replicas, functions."""

from collections import Counter
from collections.abc import Mapping

from services.adapters.redis_client import RedisClient, Reply
from services.adapters.redis_cluster_map import ClusterMap, info_of
from services.adapters.redis_slots import PARTS, TAGS, slot_of
from services.commands.doctor_findings import Finding, fail, ok, warn

_SECONDS = 5.0
_PAGE = "docs/connections.md, Redis Cluster"


async def cluster(client: RedisClient) -> list[Finding]:
    """Whether every slot is served, each master answers and has a replica, and all have the same functions. Nothing
    where the store is one server. Raises StoreUnavailable."""
    if client.cluster is None:
        return []
    told = await client.cluster.map(_SECONDS)
    replication = await client.everywhere("INFO", "replication", timeout_s=_SECONDS)
    functions = await client.everywhere("FUNCTION", "LIST", timeout_s=_SECONDS)
    return [_slots(told), _parts(told), *_masters(replication), _functions(functions)]


def _slots(told: ClusterMap) -> Finding:
    if told.uncovered:
        do = "bring their master or a replica of it back, or give them to another: CLUSTER ADDSLOTSRANGE"
        return fail("cluster slots", f"{told.uncovered} of {len(told.owners)} are served by nobody", do)
    return ok("cluster slots", f"all {len(told.owners)} are served, by {len(told.masters)} masters")


def _parts(told: ClusterMap) -> Finding:
    """People are divided into parts of one slot each; a master with far more of them has far more people."""
    counts = Counter(told.owners[slot_of(f"{{{tag}}}".encode())] for tag in TAGS)
    most, fewest = max(counts.values()), min(counts[place] for place in told.masters)
    said = f"{PARTS} of people, {fewest} to {most} a master"
    if most > 2 * max(fewest, 1):
        return warn("cluster parts", said, f"give masters equal ranges of slots: {_PAGE}")
    return ok("cluster parts", said)


def _masters(replication: Mapping[str, Reply]) -> list[Finding]:
    away = [name for name, reply in replication.items() if not isinstance(reply, bytes)]
    alone = [
        name
        for name, reply in replication.items()
        if name not in away and int(info_of(reply).get("connected_slaves", "0")) == 0
    ]
    findings = []
    if away:
        said = f"{', '.join(away)} do not answer"
        findings.append(fail("cluster masters", said, "decisions of their customers go without state until they do"))
    if alone:
        said = f"{', '.join(alone)} have none"
        findings.append(warn("cluster replicas", said, f"their loss is a rebuild from the log: {_PAGE}"))
    return findings or [ok("cluster masters", f"all {len(replication)} answer, each with a replica")]


def _functions(lists: Mapping[str, Reply]) -> Finding:
    libraries = {name: _names(reply) for name, reply in lists.items()}
    everywhere = set[str]().union(*libraries.values())
    lacking = [
        f"{name} lacks {', '.join(sorted(everywhere - own))}" for name, own in libraries.items() if everywhere - own
    ]
    if lacking:
        do = "the next call loads them; where our account may not, FUNCTION LOAD them yourself"
        return warn("cluster functions", "; ".join(lacking), do)
    return ok("cluster functions", f"{', '.join(sorted(everywhere)) or 'none yet'} on every master")


def _names(reply: Reply) -> set[str]:
    found = set()
    for library in reply if isinstance(reply, list) else []:
        flat = library if isinstance(library, list) else []
        named = dict(zip(flat[::2], flat[1::2], strict=False))
        if isinstance(name := named.get(b"library_name"), bytes) and name.startswith(b"kairos"):
            found.add(name.decode())
    return found
