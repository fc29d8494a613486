"""A library's flood of lines becomes one line now and then; nobody else's lines are touched."""

import logging
from collections.abc import Iterator

import pytest

from services.adapters.log_repeats import FewRepeats
from services.bootstrap import configure_logging
from services.settings import read_settings


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(clock: Clock) -> Iterator[Lines]:
    handler = Lines()
    handler.addFilter(FewRepeats(["thirsty"], seconds=10.0, now=clock))
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


def refuse(logger: str, node: int) -> None:
    logging.getLogger(logger).error("node %d refuses", node)


def test_one_line_stands_for_those_that_are_left_out(lines: Lines, clock: Clock) -> None:
    for node in range(50):
        refuse("thirsty.client", node)
    assert lines.said == ["node 0 refuses"]
    clock.now += 10.0
    refuse("thirsty.client", 7)
    refuse("thirsty.client", 8)
    assert lines.said[1:] == ["node 7 refuses (49 more like it left out)"]
    clock.now += 10.0
    refuse("thirsty.client", 9)
    clock.now += 10.0
    refuse("thirsty.client", 9)
    assert lines.said[2:] == ["node 9 refuses (1 more like it left out)", "node 9 refuses"]


@pytest.mark.parametrize(
    ("sentence", "gaps", "said"),
    [
        ("100% away", (), "100% away"),
        ("%(node)s at 5%%", ({"node": "b1"},), "b1 at 5%"),
        ("%s of %d", ("b1", 3), "b1 of 3"),
    ],
)
def test_whatever_fills_a_sentence_it_stays_readable(
    lines: Lines, clock: Clock, sentence: str, gaps: tuple[object, ...], said: str
) -> None:
    for _ in range(3):
        logging.getLogger("thirsty").error(sentence, *gaps)
        clock.now += 6.0
    assert lines.said == [said, f"{said} (1 more like it left out)"]


def test_another_sentence_and_another_logger_are_written(lines: Lines) -> None:
    for _ in range(3):
        refuse("thirsty", 1)
        logging.getLogger("thirsty").error("the coordinator is dead")
        refuse("thirstyless", 1)
        refuse("services.api", 1)
    assert lines.said.count("node 1 refuses") == 1 + 3 + 3
    assert lines.said.count("the coordinator is dead") == 1


def test_the_kafka_client_is_among_those_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)
    configure_logging(
        read_settings({"KAIROS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAIROS_REDIS_URL": "redis://127.0.0.1:1"})
    )
    (handler,) = root.handlers
    line = logging.LogRecord("aiokafka.client", logging.ERROR, __file__, 1, "no node", None, None)
    assert [bool(handler.filter(line)) for _ in range(3)] == [True, False, False]
