"""What `kairos doctor` asks of the store, the bus and the chain of acts."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from event_schemas.topics import ALL_TOPICS, TopicSpec
from services.adapters.kafka_examination import TopicFound, examine_topics
from services.adapters.redis_client import RedisClient, Reply, ReplyError
from services.adapters.redis_namespaces import RedisNamespaces
from services.bootstrap import LoadedStrategy
from services.bus_wiring import bus_security, wanted_topics
from services.commands.control_records import chain_of, read_control
from services.commands.doctor_cluster import cluster
from services.commands.doctor_findings import Finding, fail, ok, warn
from services.commands.governance_connections import kept_head
from services.ports import ShellError
from services.settings import Settings

PATIENCE_SECONDS = 20.0
SLOW_PING_MS = 5.0
_PINGS = 5
"""The quickest of so many counts: one may have waited for us."""
WARN_SKEW_SECONDS, FAIL_SKEW_SECONDS = 1.0, 60.0
_RUNBOOKS = "docs/runbooks"


async def store(settings: Settings, loaded: LoadedStrategy | None) -> list[Finding]:
    """Whether it answers, how fast, how it is set, how far its clock is from ours, and whether the states are whole."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), RedisClient.open(settings.redis_url) as client:
            findings = [
                _speed(min([await _ping_ms(client) for _ in range(_PINGS)])),
                *await cluster(client),
                *await _memory(client),
                *await _clock(client),
            ]
            if loaded is not None:
                findings.append(await _states(client, settings, loaded.features.layout))
            return findings
    except (ShellError, OSError, TimeoutError) as error:
        said = f"does not answer: {error or type(error).__name__}"
        return [fail("store", said, "check KAIROS_REDIS_URL, its password and certificates, and the network between")]


async def _ping_ms(client: RedisClient) -> float:
    started = time.perf_counter()
    await client.ping()
    return (time.perf_counter() - started) * 1000


def _speed(milliseconds: float) -> Finding:
    said = f"answers in {milliseconds:.1f} ms"
    if milliseconds > SLOW_PING_MS:
        return warn("store", said, "a decision makes two round trips: bring store and API nearer to one another")
    return ok("store", said)


async def _memory(client: RedisClient) -> list[Finding]:
    replies = await client.everywhere("INFO", "memory")
    return [_memory_of(_named("store memory", where), _info(reply)) for where, reply in _told(replies)]


def _memory_of(about: str, told: Mapping[str, str]) -> Finding:
    policy, most = told.get("maxmemory_policy", "unknown"), int(told.get("maxmemory", "0"))
    used = int(told.get("used_memory", "0"))
    said = f"{used / 1e9:.2f} GB used, policy {policy}"
    if policy != "noeviction":
        return fail(about, said, "CONFIG SET maxmemory-policy noeviction: evicted states and caps are lost ones")
    if most and used > 0.8 * most:
        return warn(about, f"{said}, of {most / 1e9:.2f} GB", "enlarge it: docs/operations.md, Sizing")
    return ok(about, said)


async def _clock(client: RedisClient) -> list[Finding]:
    before = time.time()
    replies = await client.everywhere("TIME")
    now = (before + time.time()) / 2
    return [_clock_of(_named("clock", where), reply, now) for where, reply in _told(replies)]


def _clock_of(about: str, reply: Reply, now: float) -> Finding:
    if not isinstance(reply, list):
        return warn(about, "the store does not tell its time", "look at its version")
    skew = abs(int(_text(reply[0])) + int(_text(reply[1])) / 1e6 - now)
    said = f"{skew:.3f} s from the store's"
    if skew > FAIL_SKEW_SECONDS:
        return fail(about, said, "run NTP here and on the store: caps and windows would be wrong")
    if skew > WARN_SKEW_SECONDS:
        return warn(about, said, "run NTP here and on the store")
    return ok(about, said)


def _told(replies: Mapping[str, Reply]) -> list[tuple[str, Reply]]:
    """Of a cluster's masters those that answer; that the others do not is said elsewhere."""
    return [(where, reply) for where, reply in replies.items() if not isinstance(reply, ReplyError)]


def _named(about: str, where: str) -> str:
    return f"{about} {where}".strip()


async def _states(client: RedisClient, settings: Settings, layout: str) -> Finding:
    namespaces = RedisNamespaces(client, settings.namespace)
    if not await namespaces.begun(layout):
        return warn(
            "states", f"none of layout {layout} were begun", "start kairos state-builder, or kairos rebuild states"
        )
    if not await namespaces.is_whole(layout):
        return fail("states", f"those of layout {layout} are not whole yet", f"{_RUNBOOKS}/KairosStatesNotWhole.md")
    return ok("states", f"those of layout {layout} are whole")


async def topics(settings: Settings) -> list[Finding]:
    """Whether the brokers answer and every topic is as this program needs it."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            found = await examine_topics(
                settings.kafka_bootstrap_servers, [topic.name for topic in ALL_TOPICS], bus_security(settings)
            )
    except (ShellError, OSError, TimeoutError) as error:
        said = f"does not answer: {error or type(error).__name__}"
        return [fail("bus", said, "check KAIROS_KAFKA_BOOTSTRAP_SERVERS, its listeners and the network between")]
    findings = [ok("bus", f"answers at {settings.kafka_bootstrap_servers}")]
    missing = [topic.name for topic in ALL_TOPICS if topic.name not in found]
    if missing:
        return [*findings, fail("topics", f"missing: {', '.join(missing)}", "kairos topics creates them")]
    return [*findings, *_counts(found, settings), *_policies(found, wanted_topics(settings))]


def _counts(found: Mapping[str, TopicFound], settings: Settings) -> list[Finding]:
    counts = {topic.partitions for topic in found.values()}
    findings = []
    if len(counts) > 1:
        told = ", ".join(f"{name} {topic.partitions}" for name, topic in sorted(found.items()))
        do = "give all as many as the largest, then rebuild the states (docs/operations.md, More partitions)"
        findings.append(fail("topics", f"not all have as many partitions: {told}", do))
    else:
        findings.append(ok("topics", f"{len(found)} with {counts.pop()} partitions each"))
    if leaderless := sum(topic.leaderless for topic in found.values()):
        findings.append(fail("leaders", f"{leaderless} partitions have none", "bring the missing brokers back"))
    fewest = min(topic.replicas for topic in found.values())
    if fewest < settings.kafka_replication:
        said = f"{fewest} of {settings.kafka_replication} wanted"
        findings.append(warn("replicas", said, "kafka-reassign-partitions.sh, or lower KAIROS_KAFKA_REPLICATION"))
    elif fewest < 3:
        findings.append(
            warn("replicas", f"{fewest} of each partition", "three in production: a broker's loss is a log's")
        )
    else:
        findings.append(ok("replicas", f"{fewest} of each partition"))
    return findings


def _policies(found: Mapping[str, TopicFound], topics: Sequence[TopicSpec]) -> list[Finding]:
    """Retention and compaction, where the broker tells them."""
    wrong = [problem for topic in topics for problem in _policy_problems(topic, found[topic.name].configs)]
    if wrong:
        return [
            fail("retention", "; ".join(wrong), "kafka-configs.sh --alter --topic …; docs/operations.md has the table")
        ]
    told = sum(1 for topic in found.values() if "retention.ms" in topic.configs)
    return [ok("retention", f"as it should be, of {told} topics that tell it")]


def _policy_problems(topic: TopicSpec, configs: Mapping[str, str]) -> list[str]:
    problems = []
    wanted = "compact" if topic.compacted else "delete"
    policy = configs.get("cleanup.policy", wanted)
    if policy != wanted:
        problems.append(f"{topic.name}: cleanup.policy {policy}, not {wanted}")
    kept = int(configs.get("retention.ms", "-1"))
    if not topic.compacted and kept >= 0 and (topic.retention_ms is None or kept < topic.retention_ms):
        least = "for ever" if topic.retention_ms is None else f"{topic.retention_ms // 86_400_000} days"
        problems.append(f"{topic.name}: kept {kept / 86_400_000:.1f} days, not {least}")
    return problems


async def chain(settings: Settings) -> Finding:
    """Whether the acts of governance are what they were, up to where the store knows of them."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head, faults = chain_of((await read_control(settings, "doctor")).deliveries)
            known = await kept_head(settings)
    except (ShellError, OSError, TimeoutError) as error:
        return fail("chain of acts", f"cannot be read: {error or type(error).__name__}", "mend bus and store first")
    do = f"kairos audit verify; {_RUNBOOKS}/KairosGovernanceChainFaulty.md"
    if faults:
        return fail("chain of acts", f"{faults} faults", do)
    if known is not None and known.sequence > head.sequence:
        return fail("chain of acts", f"{head.sequence} acts, and the store knows of {known.sequence}", do)
    return ok("chain of acts", f"{head.sequence} acts verify")


def _info(reply: object) -> dict[str, str]:
    return dict(line.split(":", 1) for line in _text(reply).splitlines() if ":" in line)


def _text(reply: object) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)
