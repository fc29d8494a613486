"""Log lines for machines: one JSON object each, with ids of the work at hand and nobody's name."""

import json
import logging
from collections.abc import Iterator

import pytest

from services.adapters.log_lines import JsonLines, formatter_of
from services.adapters.log_masking import MaskedFormatter
from services.use_cases.log_ids import LOG_IDS
from services.use_cases.log_pseudonyms import LogPseudonyms


@pytest.fixture
def masked() -> MaskedFormatter:
    return MaskedFormatter(JsonLines({"node": "api-0"}), LogPseudonyms("key"))


@pytest.fixture(autouse=True)
def _no_ids() -> Iterator[None]:
    token = LOG_IDS.set(None)
    yield
    LOG_IDS.reset(token)


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("services.demo").makeRecord(
        "services.demo", logging.WARNING, "demo.py", 1, message, args, None, extra=extra
    )


def test_a_line_says_when_how_bad_who_and_what_by_kind(masked: MaskedFormatter) -> None:
    line = json.loads(masked.format(record("%d events were not acknowledged", 3, action="publish")))
    assert line["message"] == "3 events were not acknowledged"
    assert line["event"] == "%d events were not acknowledged"
    assert (line["level"], line["logger"], line["action"], line["node"]) == (
        "WARNING",
        "services.demo",
        "publish",
        "api-0",
    )
    assert line["time"].endswith("Z") and "T" in line["time"]


def test_the_ids_of_the_work_at_hand_stand_beside(masked: MaskedFormatter) -> None:
    LOG_IDS.set({"decision_id": "01J", "request_id": "r-1", "trace_id": "ab"})
    line = json.loads(masked.format(record("slow")))
    assert (line["decision_id"], line["request_id"], line["trace_id"]) == ("01J", "r-1", "ab")


def test_no_customer_is_in_a_line_wherever_the_id_stood(masked: MaskedFormatter) -> None:
    LOG_IDS.set({"request_id": "retail:4711-home"})
    text = masked.format(record("state of %s is unreadable", "retail:4711", customer_id="retail:4711"))
    assert "4711" not in text.replace(LogPseudonyms("key").pseudonym("retail:4711"), "")
    assert json.loads(text)["customer_id"] == LogPseudonyms("key").pseudonym("retail:4711")


def test_an_error_stays_within_its_line_and_does_not_repeat_what_was_sent(masked: MaskedFormatter) -> None:
    sent = "Zhang San, 13800000000"
    try:
        raise ValueError(sent)
    except ValueError as error:
        failed = record("a request failed")
        failed.exc_info = (type(error), error, error.__traceback__)
    text = masked.format(failed)
    assert "\n" not in text and "Zhang" not in text
    assert "ValueError" in json.loads(text)["error"]


def test_people_get_text() -> None:
    assert formatter_of("text").format(record("slow")).endswith("WARNING services.demo slow")
    assert json.loads(formatter_of("json").format(record("slow")))["message"] == "slow"
