"""The open-loop generator against small servers: stalls are seen by all who were to come, outcomes are told apart."""

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from loadtests.open_loop.fixed_server import OK, REFUSED, serving, stalling
from loadtests.open_loop.histogram import LatencyHistogram
from loadtests.open_loop.load import Finding, Generator, GeneratorFailed, Load, faults_of, found, run_load
from loadtests.open_loop.metering import Usage
from loadtests.open_loop.plan import Plan
from loadtests.open_loop.profiles import PROFILES
from loadtests.open_loop.schedule import phases_of
from loadtests.open_loop.sender import Sent, merged_sent, send
from loadtests.open_loop.tally import Tally
from loadtests.open_loop.worker import as_mapping, sent_of

STALL_S = 1.0


def plan(port: int, **overrides) -> Plan:
    values = {
        "host": "127.0.0.1",
        "port": port,
        "streams": PROFILES["decide"].streams,
        "phases": phases_of("200x3"),
        "spacing": "even",
        "warm_up_s": 0.0,
        "connections": 4,
    }
    return Plan(**(values | overrides))


async def at_once() -> float:
    return monotonic()


async def closed_loop(port: int, requests: int) -> LatencyHistogram:
    """One who asks again as soon as there is an answer: what the open loop is there not to be."""
    held = LatencyHistogram()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(requests):
        begun = monotonic()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.readexactly(len(OK))
        held.record(monotonic() - begun)
    writer.close()
    await writer.wait_closed()
    return held


async def in_another_thread(respond, run):
    """The stalling server has a loop of its own: it stalls itself, not the generator."""
    started, ended = asyncio.Event(), asyncio.Event()
    loop, ports = asyncio.get_running_loop(), []

    async def served() -> None:
        async with serving(respond) as port:
            ports.append(port)
            loop.call_soon_threadsafe(started.set)
            while not ended.is_set():
                await asyncio.sleep(0.01)

    server = asyncio.create_task(asyncio.to_thread(asyncio.run, served()))
    await started.wait()
    try:
        return await run(ports[0])
    finally:
        ended.set()
        await server


async def test_a_stall_of_a_second_is_in_the_latencies_of_all_that_were_due_in_it() -> None:
    sent = await in_another_thread(stalling(1.0, STALL_S), lambda port: send(plan(port), at_once))

    tally = sent.tallies["home"]
    assert tally.outcomes == {"200": 600}
    assert waited_half_the_stall(tally.all) >= 0.45 * STALL_S * 200
    assert tally.all.percentile_ms(99) > 700 * STALL_S
    assert tally.late >= 0.85 * STALL_S * 200


async def test_a_closed_loop_does_not_see_the_same_stall() -> None:
    held = await in_another_thread(stalling(0.002, STALL_S), lambda port: closed_loop(port, 600))

    assert held.most_ms() > 900 * STALL_S
    assert waited_half_the_stall(held) <= 3  # the one that was under way, and what a busy machine may add
    assert held.percentile_ms(99) < 500 * STALL_S


def waited_half_the_stall(held: LatencyHistogram) -> int:
    return held.total - held.within(STALL_S / 2)


async def test_refusals_and_their_retry_after_are_told_from_errors() -> None:
    failed, degraded = OK.replace(b"200 OK", b"500 Error"), OK.replace(b'"degraded":false', b'"degraded":true ')
    answers = iter([OK, REFUSED, failed, degraded] * 25)

    async with serving(lambda: next(answers)) as port:
        sent = await send(plan(port, phases=phases_of("100x1"), connections=1, most_connections=1), at_once)

    tally = sent.tallies["home"]
    assert tally.outcomes == {"200": 50, "503": 25, "500": 25}
    assert (tally.refusals(), tally.retry_after, tally.errors(), tally.degraded) == (25, 25, 25, 25)
    assert tally.accepted.total == 50
    assert tally.refused.total == 25


async def test_what_is_never_answered_is_given_up_and_counted_with_the_time_it_was_waited_for() -> None:
    async def silent(reader, writer) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sent = await send(plan(port, phases=phases_of("20x1"), connections=0, most_connections=4, timeout_s=0.3), at_once)
    server.close()

    tally = sent.tallies["home"]
    assert sum(tally.outcomes.values()) == 20
    assert set(tally.outcomes) <= {"timeout", "not sent"}
    assert tally.outcomes["timeout"] >= 4
    assert tally.all.percentile_ms(50) >= 300
    assert tally.accepted.total == tally.in_time == 0


async def test_a_server_that_is_gone_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    sent = await send(plan(port, phases=phases_of("20x0.5"), connections=0), at_once)

    assert sent.tallies["home"].outcomes == {"unreachable": 10}
    assert sent.tallies["home"].errors() == 10


async def test_connections_that_the_server_ends_are_opened_anew() -> None:
    once = OK.replace(b"content-type", b"connection: close\r\ncontent-type")

    async with serving(lambda: once) as port:
        sent = await send(plan(port, phases=phases_of("50x1"), connections=1), at_once)

    assert sent.tallies["home"].outcomes == {"200": 50}


async def test_responses_answer_offers_that_were_made_and_the_rest_are_counted_as_not_asked() -> None:
    async with serving() as port:
        sent = await send(
            plan(port, streams=PROFILES["app"].streams, phases=phases_of("90x1"), spacing="poisson"), at_once
        )

    seen, home = sent.tallies["seen"], sent.tallies["home"]
    assert seen.sent <= home.sent
    assert seen.sent > 0
    assert seen.outcomes == {"200": seen.sent}  # the small server knows no 202
    assert seen.accepted.total == 0


async def test_what_is_sent_in_the_warm_up_is_not_counted() -> None:
    async with serving() as port:
        sent = await send(plan(port, phases=phases_of("100x2"), warm_up_s=1.5), at_once)

    assert sent.tallies["home"].sent == 50
    assert sent.lag.total == 50


async def test_a_run_of_several_processes_is_one_finding() -> None:
    async with serving() as port:
        finding = await asyncio.to_thread(run_load, Load(plan=plan(port, phases=phases_of("100x1.5")), workers=2))

    assert finding.total.outcomes == {"200": 150}
    assert finding.lag.total == 150
    assert set(finding.usage) == {"generator 1", "generator 2"}
    assert finding.offered == pytest.approx(100)


async def test_a_generator_that_cannot_begin_says_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(GeneratorFailed, match=r"Connect|refused"):
        await asyncio.to_thread(run_load, Load(plan=plan(port)))


def generator(folder: Path, program: str) -> Generator:
    """A process that ends with that."""
    answer = folder / "answer"
    command = [sys.executable, "-c", f"import sys\nfrom pathlib import Path\nfile = Path(sys.argv[1])\n{program}"]
    pipe = subprocess.PIPE
    return Generator(subprocess.Popen([*command, str(answer)], stdin=pipe, stdout=pipe, stderr=pipe, text=True), answer)


def test_an_answer_much_larger_than_a_pipe_is_read_whole(tmp_path: Path) -> None:
    large = Sent({"home": Tally(0.1)}, LatencyHistogram(dict.fromkeys(range(100_000), 1), 100_000))
    (tmp_path / "large.json").write_text(json.dumps(as_mapping(large)))
    assert (tmp_path / "large.json").stat().st_size > 10 * 98_304

    program = """
import json
from loadtests.open_loop.worker import hand_over, sent_of
hand_over(sent_of(json.loads(file.with_name("large.json").read_bytes())), file)
"""
    assert found(generator(tmp_path, program), 60.0) == large
    assert sorted(each.name for each in tmp_path.iterdir()) == ["answer", "large.json"]


@pytest.mark.parametrize(
    "program", ["", "file.write_text('')", """file.write_text('{"tallies": {"home": {"deadline_s": 0.1, "out')"""]
)
def test_a_process_that_leaves_no_whole_answer_has_failed(tmp_path: Path, program: str) -> None:
    with pytest.raises(GeneratorFailed, match="no answer that can be read"):
        found(generator(tmp_path, program), 60.0)


def lagging(milliseconds: float) -> LatencyHistogram:
    held = LatencyHistogram()
    for _ in range(100):
        held.record(milliseconds / 1000)
    return held


def test_a_run_whose_generator_was_late_or_busy_is_not_valid() -> None:
    assert faults_of(lagging(1), 5.0, {"generator 1": 0.4}) == []
    assert "9.0 ms behind" in faults_of(lagging(9), 5.0, {})[0]
    assert "99%" in faults_of(lagging(1), 5.0, {"generator 1": 0.99})[0]
    assert "nothing was sent" in faults_of(LatencyHistogram(), 5.0, {})[0]


async def test_what_processes_found_survives_being_handed_over_and_adds_up() -> None:
    async with serving() as port:
        sent = await send(plan(port, phases=phases_of("50x0.5")), at_once)

    handed = sent_of(json.loads(json.dumps(as_mapping(sent))))
    both = merged_sent([sent, handed])

    assert handed == sent
    assert both.tallies["home"].sent == 2 * sent.tallies["home"].sent
    assert both.tallies["home"].by_second[0][0] == 50


def test_processor_time_is_told_by_request() -> None:
    sent = Sent({})
    finding = Finding(
        seconds=10.0, tallies=sent.tallies, lag=sent.lag, usage={"api": Usage(2.0, 100.0)}, measured_s=10.0, invalid=[]
    )
    with pytest.raises(ValueError, match="nothing was tallied"):
        finding.processor_ms("api")
