"""Faults that last: a broker away for a minute, a group that never rests, a copy far behind, kills at one exact point,
a node with hardly any handles. They come only where `--kinds` names them."""

import asyncio
import random
import signal
from collections import Counter
from itertools import cycle, pairwise

import httpx

from event_schemas.topics import STATE_TOPICS
from loadtests.faults.bank import PARTITIONS
from loadtests.faults.battle import Battle
from loadtests.faults.confined_node import ConfinedNode, confined_node
from loadtests.faults.consumer_group import ConsumerGroup
from loadtests.faults.kinds_processes import SESSION_S
from loadtests.faults.kinds_store import promoted_behind
from loadtests.faults.proxy import Condition
from loadtests.faults.system import decision_body
from services.commands.state_builder import consumer_group

MINUTE_S = 60.0
DECISIONS_A_SECOND = 5
MOST_SILENT_S = 2.0
"""No decision for longer, and deciding has stopped; a node is asked for one five times a second."""
TAKEN_S = 60.0
REBALANCES = 20
SETTLED_S = 10.0
FAR_EVENTS = 5_000
KILLS = 20
WRITTEN_S = 30.0
CONNECTIONS = 200
STORMS = 3
ANSWERED_S = 5.0
"""How long a caller waits for an answer of the node with few handles: an answer or a refusal, never nothing."""
HELD_S = 3.0
MOST_BUSY = 0.5
"""Of a processor, while every handle is taken and nobody asks for anything: more is a loop that spins."""
MOST_LOG_BYTES = 1_000_000


async def broker_away_a_minute(battle: Battle, draw: random.Random) -> None:
    """F4: a broker silent for half a minute and refusing for another: all decide, responses are told to come again."""
    before = Counter(battle.load.statuses)
    async with asyncio.TaskGroup() as group:
        group.create_task(_away_for_a_minute(battle))
        asking = group.create_task(_asked_for_a_minute(battle, draw))
    answers = [answer for answer in asking.result() if answer is not None]
    battle.note_figure("broker_away_asked", len(asking.result()))
    battle.note_figure("broker_away_decided", len(answers))
    battle.expect(len(answers) == len(asking.result()), f"decided {len(answers)} of {len(asking.result())}")
    moments = sorted(moment for moment, _ in answers)
    silent_s = max((later - sooner for sooner, later in pairwise(moments)), default=MINUTE_S)
    battle.note_figure("broker_away_longest_s_without_a_decision", silent_s)
    battle.expect(silent_s < MOST_SILENT_S, f"nothing was decided for {silent_s:.1f} s")
    told = battle.load.statuses - before
    for status in ("202", "503 Retry-After"):
        battle.note_figure(f"broker_away_responses_{status[:3]}", told["response", status, battle.load.during])
    untaken = [tracking for _, tracking in answers if tracking is not None]
    battle.expect(await _taken(battle, untaken), "responses were not taken once the broker was back")


async def twenty_rebalances(battle: Battle, draw: random.Random) -> None:
    """F10: for a minute, and until twenty rebalances are over, builders come and go: asked to end, killed, stopped."""
    builders = battle.named("builder")
    ended = [len(battle.system.roles[name].own_ends) for name in builders]
    loop, ways = asyncio.get_running_loop(), cycle(("terminate", "stop", "terminate", "kill"))
    async with ConsumerGroup.watched(battle.system.broker.bootstrap_servers, _group(battle)) as group:
        began = loop.time()
        while loop.time() < began + MINUTE_S or group.rebalances < REBALANCES:
            since = group.rebalances
            await _comes_and_goes(battle, draw.choice(builders), next(ways))
            try:
                async with asyncio.timeout(SETTLED_S):
                    await group.until_changed(since, len(builders))
            except TimeoutError:
                battle.note_figure("rebalance_not_settled_in_10_s", 1)
        battle.note_figure("rebalances", group.rebalances)
        battle.note_figure("rebalances_took_s", loop.time() - began)
    crashed = [len(battle.system.roles[name].own_ends) for name in builders]
    battle.expect(crashed == ended, f"builders ended by themselves: {crashed}, before {ended}")


async def replica_far_behind(battle: Battle, draw: random.Random) -> None:
    """F8: the store dies, and a copy takes its place that lacks what five thousand events wrote."""
    await promoted_behind(battle, draw, FAR_EVENTS)


async def killed_between_write_and_commit(battle: Battle, draw: random.Random) -> None:
    """F2: builders die twenty times when the store has states or progress and the bus no commit of them."""
    keys = battle.system.keys
    states = "\r\nkairos_save"
    progress = f"\r\n{keys.progress}\r\n${len(keys.matched)}\r\n{keys.matched}\r\n"
    ahead = 0
    for text in (states, progress) * (KILLS // 2):
        customers = list(battle.load.customers)
        events = [battle.system.transaction(draw.choice(customers), 31) for _ in range(60)]
        written, _ = await asyncio.gather(
            battle.system.proxy.hold_after(battle.system.store.port, text, WRITTEN_S), battle.load.send(*events)
        )
        # The store has the write and its answer is held: nobody can come to the commit before this.
        await asyncio.gather(*(battle.system.roles[name].kill() for name in battle.named("builder")))
        battle.expect(written, "no builder wrote to the store")
        ahead += text == progress and await _is_ahead(battle)
    battle.note_figure("killed_with_progress_ahead_of_the_commit", ahead)
    battle.expect(ahead == KILLS // 2, f"of {KILLS // 2} kills {ahead} came before the commit")


async def few_handles_and_little_memory(battle: Battle, draw: random.Random) -> None:
    """F27: a node with 64 handles and 512 MB, asked over 200 connections at once: answers and refusals, and no hang."""
    async with confined_node(battle) as node:
        if not await node.answers():
            battle.expect(node.has_ended and "kairos api:" in node.said(), f"no start and no reason: {node.said()}")
            return
        for _ in range(STORMS):
            await _storm(battle, draw, node)
            if node.has_ended:
                battle.expect("kairos api:" in node.said(), f"ended without a reason: {node.said()}")
                return
            began = asyncio.get_running_loop().time()
            battle.expect(await node.answers(within_s=ANSWERED_S), "a plain request after the storm was not answered")
            battle.note_figure("few_handles_answered_after_s", asyncio.get_running_loop().time() - began)
            battle.expect(await node.answers(undegraded=True), "the node with few handles stayed degraded")
            battle.note_figure("few_handles_undegraded_after_s", asyncio.get_running_loop().time() - began)
        battle.note_figure("little_memory_data_mb", node.data_mb())
        battle.note_figure("few_handles_log_bytes", len(node.said()))
        battle.expect(len(node.said()) < MOST_LOG_BYTES, "the log was flooded")


async def _away_for_a_minute(battle: Battle) -> None:
    """Connections that stand fall silent; after half the time they are cut, and no other is let in."""
    proxy, port = battle.system.proxy, battle.system.broker.port
    try:
        await proxy.spoil(port, Condition(black_hole=True))
        await asyncio.sleep(MINUTE_S / 2)
        await proxy.spoil(port, Condition(refuse=True))
        await proxy.cut(port)
        await asyncio.sleep(MINUTE_S / 2)
    finally:
        await battle.system.mend()


async def _asked_for_a_minute(battle: Battle, draw: random.Random) -> list[tuple[float, str | None] | None]:
    """Asks steadily, whatever becomes of it; what `_asked` answers of each."""
    loop, asked = asyncio.get_running_loop(), []
    began = loop.time()
    for number in range(int(MINUTE_S * DECISIONS_A_SECOND)):
        await asyncio.sleep(began + number / DECISIONS_A_SECOND - loop.time())
        customer, node = draw.choice(battle.load.customers), draw.choice(battle.system.nodes)
        asked.append(asyncio.create_task(_asked(battle, customer, node)))
    return await asyncio.gather(*asked)


async def _asked(battle: Battle, customer: str, node: str) -> tuple[float, str | None] | None:
    """When the decision was answered, and the option whose response was not taken at once; None without an answer."""
    answer = await battle.load.decide(customer, node)
    if answer is None or answer.status_code != httpx.codes.OK:
        return None
    moment = asyncio.get_running_loop().time()
    options = battle.load.note_answer(answer).options
    if not options:
        return moment, None
    tracking = options[0][1]
    return moment, None if await battle.load.respond(tracking, "impression", node) else tracking


async def _taken(battle: Battle, trackings: list[str]) -> bool:
    """Tells these again until they are taken."""
    nodes = cycle(battle.system.nodes)
    try:
        async with asyncio.timeout(TAKEN_S):
            for tracking in trackings:
                while not await battle.load.respond(tracking, "impression", next(nodes)):  # noqa: ASYNC110 - asked
                    await asyncio.sleep(0.2)
    except TimeoutError:
        return False
    return True


async def _comes_and_goes(battle: Battle, name: str, way: str) -> None:
    role = battle.system.roles[name]
    if way == "terminate":
        await role.terminate()
    elif way == "kill":
        await role.kill()
    else:
        role.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(SESSION_S * 1.5)
        finally:
            role.signal(signal.SIGCONT)


def _group(battle: Battle) -> str:
    return consumer_group(battle.system.loaded.features.layout)


async def _is_ahead(battle: Battle) -> bool:
    """Whether the store says of a partition that it holds more than was committed."""
    places = [(topic, number) for topic in STATE_TOPICS for number in range(PARTITIONS)]
    async with ConsumerGroup.watched(battle.system.broker.bootstrap_servers, _group(battle)) as group:
        committed = await group.committed(places)
    fields = [f"{topic}/{number}" for topic, number in places]
    told = await battle.system.store.execute("HMGET", battle.system.keys.progress, *fields)
    held = [int(at) if isinstance(at, bytes) else 0 for at in told] if isinstance(told, list) else []
    return any(at > max(0, committed.get(place, 0)) for place, at in zip(places, held, strict=True))


async def _storm(battle: Battle, draw: random.Random, node: ConfinedNode) -> None:
    """Many connections ask at once and stay, store and bus are cut off, which takes handles to mend; the node idles
    meanwhile, and refuses more."""
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(trust_env=False, limits=limits, timeout=ANSWERED_S) as client:
        bodies = [decision_body(draw.choice(battle.load.customers)) for _ in range(CONNECTIONS)]
        came = Counter(await asyncio.gather(*(_outcome(battle, client, node, body) for body in bodies)))
        for port in (battle.system.store.port, battle.system.broker.port):
            await battle.system.proxy.cut(port)
        busy_s = node.processor_s()
        await asyncio.sleep(HELD_S)
        busy = (node.processor_s() - busy_s) / HELD_S
        came += Counter(await asyncio.gather(*(_asked_alone(battle, node) for _ in range(10))))
    for name in ("answered", "refused", "shed", "hung"):
        battle.note_figure(f"few_handles_{name}", came[name])
    battle.note_figure("few_handles_busy", busy)
    battle.expect(not came["hung"], f"no answer and no refusal: {dict(came)}")
    battle.expect(came["answered"] > 0, f"nobody was answered: {dict(came)}")
    battle.expect(busy < MOST_BUSY, f"busy with nothing to do: {busy:.2f} of a processor")


async def _asked_alone(battle: Battle, node: ConfinedNode) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=ANSWERED_S) as client:
        return await _outcome(battle, client, node, decision_body(battle.load.customers[0]))


async def _outcome(battle: Battle, client: httpx.AsyncClient, node: ConfinedNode, body: object) -> str:
    """What came of one request, in a word."""
    try:
        answer = await client.post(f"{node.url}/v1/decisions", json=body)
    except httpx.TimeoutException:
        return "hung"
    except httpx.HTTPError:
        return "shed"
    if answer.status_code == httpx.codes.OK:
        battle.load.note_answer(answer)
        return "answered"
    battle.expect(answer.status_code in (429, 503), f"a node with few handles answered {answer.status_code}")
    return "refused"
