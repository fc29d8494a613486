"""Faults of callers: bursts, slow and vanishing ones, hostile bodies, the same thing asked or told again and again."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from urllib.parse import urlsplit

import httpx

from loadtests.faults.bank import ONCE
from loadtests.faults.battle import Battle
from loadtests.faults.system import decision_body

SLOW_CLOSED_S = 12.0
SAME = 100


async def same_request_at_once(battle: Battle, draw: random.Random) -> None:
    """F20: one request id a hundred times at once: one decision, byte for byte one answer; another body is refused."""
    url = f"{battle.system.urls[draw.choice(battle.system.nodes)]}/v1/decisions"
    body = decision_body(draw.choice(battle.load.customers), request_id=f"same-{battle.system.number()}")
    answers = await asyncio.gather(*(battle.load.ask("decision", url, body) for _ in range(SAME)))
    given = [answer for answer in answers if answer is not None and answer.status_code == httpx.codes.OK]
    for answer in given[:1]:
        battle.load.note_answer(answer)
    battle.expect(len({answer.content for answer in given}) == 1, "one request id had several answers")
    other = await battle.load.ask("conflict", url, body | {"locale": "en", "timeout_ms": 400})
    battle.expect(other is not None and other.status_code == httpx.codes.CONFLICT, "another body was not refused")
    long = await battle.load.ask("invalid", url, body | {"request_id": "x" * 256})
    battle.expect(long is not None and 400 <= long.status_code < 500, "an id of 256 characters was taken")


async def same_response_again(battle: Battle, draw: random.Random) -> None:
    """F21: one response ten times over both nodes: accepted once."""
    customer = await _newcomer(battle)
    answer = await battle.load.decide(customer, draw.choice(battle.system.nodes))
    if answer is None or answer.status_code != httpx.codes.OK:
        return
    options = battle.load.note_answer(answer).options
    if not options:
        return
    tracking = options[0][1]
    body = {"response_id": f"{tracking}-ten", "tracking_id": tracking, "outcome": "impression", "channel": "mobile"}
    urls = [f"{battle.system.urls[node]}/v1/responses" for node in battle.system.nodes]
    answers = await asyncio.gather(*(battle.load.ask("response", urls[n % len(urls)], body) for n in range(10)))
    told = [a.json() for a in answers if a is not None and a.status_code == httpx.codes.ACCEPTED]
    if told:
        battle.load.acknowledged.add(f"{tracking}-ten")
    accepted = sum(one["accepted"] for one in told)
    battle.expect(accepted == 1 or len(told) < len(answers), f"ten times the same response: {accepted} accepted")
    battle.expect(accepted <= 1, f"the same response was accepted {accepted} times")


async def cap_of_one_raced(battle: Battle, draw: random.Random) -> None:
    """F22: fifty decisions at once, over both nodes, for a customer who may have one contact."""
    customer = await _newcomer(battle)
    nodes = battle.system.nodes
    answers = await asyncio.gather(
        *(battle.load.decide(customer, nodes[n % len(nodes)], placement="single", count=1) for n in range(50))
    )
    given = [battle.load.note_answer(a) for a in answers if a is not None and a.status_code == httpx.codes.OK]
    offered = Counter(offer for answer in given for offer, _ in answer.options)
    battle.expect(offered[ONCE] <= 1, f"a cap of one was given {offered[ONCE]} times")
    battle.figures["offered_of_one"].append(offered[ONCE])


async def burst(battle: Battle, draw: random.Random) -> None:
    """Many times what a node can take, at once: answered, or refused with Retry-After."""
    url = f"{battle.system.urls[draw.choice(battle.system.nodes)]}/v1/decisions"
    customers = [f"retail:{battle.system.number()}" for _ in range(200)]
    answers = await asyncio.gather(*(battle.load.ask("burst", url, decision_body(c)) for c in customers))
    for answer in answers:
        if answer is not None and answer.status_code == httpx.codes.OK:
            battle.load.note_answer(answer)
    statuses = Counter(a.status_code for a in answers if a is not None)
    battle.expect(set(statuses) <= {200, 429, 503}, f"a burst was answered {dict(statuses)}")


async def vanishing_clients(battle: Battle, draw: random.Random) -> None:
    """Forty callers ask and are gone before the answer."""
    place = urlsplit(battle.system.urls[draw.choice(battle.system.nodes)])
    for _ in range(40):
        with suppress(OSError):
            _, writer = await asyncio.open_connection(place.hostname, place.port)
            body = httpx.Request("POST", "http://x", json=decision_body(draw.choice(battle.load.customers))).read()
            writer.write(_head(len(body)) + body)
            await writer.drain()
            writer.transport.abort()


async def slow_clients(battle: Battle, draw: random.Random) -> None:
    """Forty callers send half a request and no more: they are hung up on, and others do not notice."""
    place = urlsplit(battle.system.urls[draw.choice(battle.system.nodes)])
    opened = [await asyncio.open_connection(place.hostname, place.port) for _ in range(40)]
    half = _head(1000)[: draw.randrange(20, 60)]
    try:
        for _, writer in opened:
            writer.write(half)
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(SLOW_CLOSED_S * 2):
            await asyncio.gather(*(_until_closed(reader) for reader, _ in opened))
        took = asyncio.get_running_loop().time() - began
        battle.note_figure("slow_clients_closed_s", took)
    finally:
        for _, writer in opened:
            writer.transport.abort()


async def hostile_bodies(battle: Battle, draw: random.Random) -> None:
    """No JSON, too deep, too large, wrong types, numbers beyond any: a client's error each, and no 5xx."""
    url = f"{battle.system.urls[draw.choice(battle.system.nodes)]}/v1/decisions"
    good = httpx.Request("POST", url, json=decision_body("retail:1")).read()
    bodies = [
        b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5_000, b"x" * 70_000, b"null", b"[]", b"NaN",
        good.replace(b"500", b"1e400"), good.replace(b"500", b"-1"), good.replace(b"500", b"true"),
        good.replace(b"retail:1", b"retail:\\u0000"), good.replace(b"retail:1", b"\\ud800"),
        good.replace(b"banner", b"unheard_of"), good[:-1] + b',"customer_id":"retail:2"}', good[:-1] + b',"more":1}',
    ]  # fmt: skip
    for body in draw.sample(bodies, k=8):
        try:
            answer = await battle.system.http.post(url, content=body, headers={"content-type": "application/json"})
        except httpx.HTTPError:
            continue
        refused = 400 <= answer.status_code < 500 or (answer.status_code == httpx.codes.OK and b"retail:2" in body)
        battle.expect(refused, f"a hostile body was answered {answer.status_code}: {body[:40]!r}")
        if answer.status_code == httpx.codes.OK:
            battle.load.note_answer(answer)


async def _newcomer(battle: Battle) -> str:
    """A customer nobody has contacted, known to the states."""
    customer = f"retail:{battle.system.number()}"
    await battle.load.send(battle.system.transaction(customer))
    return customer


async def _until_closed(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(1024):
            pass


def _head(length: int) -> bytes:
    return (
        b"POST /v1/decisions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n" % length
    )
