"""`python -m loadtests.open_loop`: thresholds decide its exit status; a storm of events is sent as it was laid down."""

import asyncio
import json
from time import monotonic

import pytest

from loadtests.open_loop import __main__ as command
from loadtests.open_loop.bus_storm import EVENT, blow
from loadtests.open_loop.fixed_server import REFUSED, serving
from loadtests.open_loop.schedule import phases_of
from loadtests.open_loop.storm import Storm
from services.ports import BusPosition, BusUnavailable, OutgoingEvent


@pytest.fixture
def run(monkeypatch):
    """The command in a thread beside a small server; answers its exit status."""

    async def ran(port: int, *arguments: str) -> int:
        words = ["open_loop", "--url", f"http://127.0.0.1:{port}", "--profile", "decide", "--rate", "50"]
        words += ["--seconds", "1", "--warm-up", "0.2", "--spacing", "even", *arguments]
        monkeypatch.setattr("sys.argv", words)
        return await asyncio.to_thread(command.main)

    return ran


@pytest.fixture(autouse=True)
def patient(monkeypatch) -> None:
    """A busy machine must not make these runs invalid: what is tested is not the machine."""
    monkeypatch.setattr(command, "Load", lambda **given: _load(most_lag_ms=10_000.0, **given))


_load = command.Load


async def test_a_run_whose_thresholds_hold_ends_well_and_says_what_was_found(run, capsys) -> None:
    async with serving() as port:
        status = await run(port, "--threshold", "p99=5s", "--threshold", "home.errors=0%")

    told = capsys.readouterr().out
    assert status == 0
    assert "| home | 50.0 |" in told
    assert "outcomes: 200 50" in told
    assert "the generator itself was late by p50" in told
    assert "holds  p99=5s" in told


async def test_a_threshold_that_does_not_hold_fails_the_run(run, capsys) -> None:
    async with serving(lambda: REFUSED) as port:
        status = await run(port, "--threshold", "goodput=99%", "--threshold", "errors=0%")

    told = capsys.readouterr().out
    assert status == 1
    assert "FAILED goodput=99% (found 0 %)" in told
    assert "holds  errors=0%" in told


async def test_a_run_that_is_not_valid_fails_whatever_it_found(run, monkeypatch, capsys) -> None:
    monkeypatch.setattr(command, "Load", lambda **given: _load(most_lag_ms=0.0, **given))
    async with serving() as port:
        status = await run(port)

    assert status == 1
    assert "NOT VALID: the generator was" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--threshold", "p99=fast"], "p99=fast"),
        (["--profile", "web"], "UnknownProfile"),
        (["--phases", "10xlong"], "10xlong"),
        (["--header", "nothing"], "NAME"),
        (["--threshold", "panel.p99=1s"], "home"),
    ],
)
async def test_what_cannot_be_read_is_named_and_is_not_a_verdict(run, capsys, arguments, named) -> None:
    async with serving() as port:
        assert await run(port, *arguments) == 2

    assert named in capsys.readouterr().err


async def test_a_server_that_is_not_there_is_named(run, capsys) -> None:
    assert await run(9) == 2
    assert "GeneratorFailed" in capsys.readouterr().err


class Bus:
    """Remembers what was published; refuses while it is told to."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.batches: list[list[OutgoingEvent]] = []
        self._refuses = refuses

    async def publish(self, events: list[OutgoingEvent]) -> list[BusPosition]:
        self.batches.append(list(events))
        if self._refuses:
            raise BusUnavailable("gone")
        return [("t", 0, number) for number in range(len(events))]


async def at_once() -> float:
    return monotonic()


STORM = Storm(phases=phases_of("400x1"), spacing="even", run="r1", warm_up_s=0.5)


async def test_a_storm_is_published_as_it_was_laid_down_and_counted_after_its_warm_up() -> None:
    bus = Bus()

    sent = await blow(STORM, bus, at_once)

    events = [event for batch in bus.batches for event in batch]
    tally = sent.tallies[EVENT]
    assert len(events) == 400
    assert len({json.loads(event.value)["id"] for event in events}) == 400
    assert all(json.loads(event.value)["id"].startswith("r1-") for event in events)
    assert tally.outcomes == {"acknowledged": 200}
    assert tally.accepted.total == 200


async def test_events_that_the_bus_refuses_are_told_apart() -> None:
    sent = await blow(STORM, Bus(refuses=True), at_once)

    assert sent.tallies[EVENT].outcomes == {"bus unavailable": 200}
    assert sent.tallies[EVENT].accepted.total == 0


def test_a_storm_survives_being_handed_over() -> None:
    handed = Storm.of(json.loads(json.dumps(STORM.as_mapping())))

    assert list(handed.phases) == list(STORM.phases)
    assert (handed.run, handed.spacing, handed.warm_up_s) == ("r1", "even", 0.5)
