"""Seeded customers and secrets: whatever is asked and whatever fails, no log, metric or error repeats them."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from event_schemas.codec import DecodeError, decode
from loadtests.bus_canaries import run_over_bus
from loadtests.canaries import CANARIES, CUSTOMERS, seeded_in
from loadtests.log_canaries import run
from services.adapters.log_masking import MaskedFormatter
from services.adapters.redis_address import RedisAddress
from services.ports import BusUnavailable, SettingsInvalid, StoreUnavailable
from services.settings import describe_settings, read_settings
from services.use_cases.log_pseudonyms import LogPseudonyms

SECRET = "canary-secret-7f3a"


def clean(text: str) -> None:
    assert seeded_in(text) == []


async def test_no_customer_is_in_logs_metrics_traces_or_refusals() -> None:
    """Two thirds of the requests while parts of the bank fail with words that repeat what was asked."""
    seen = await run(1_900)
    assert seen.found == ()
    assert seen.failed > 50
    assert seen.spans > 1_000
    assert seen.logged_failures > 40, "failures were logged, so that there was something to look at"


@pytest.mark.servers
@pytest.mark.timeout(120)
async def test_dead_letters_tell_why_without_what() -> None:
    """Events with something seeded in every field, through a real bus and a state builder."""
    seen = await run_over_bus(900)
    assert seen.found == []
    assert seen.told_everything, seen.reasons
    assert seen.dead_letters > 700


@pytest.mark.parametrize("canary", CANARIES)
def test_why_an_event_could_not_be_read_does_not_repeat_it(canary: str) -> None:
    """These words go to the dead-letter topic and into the log."""
    good = {
        "specversion": "1.0", "id": "e", "source": "core", "type": "bank.profile.updated", "subject": CUSTOMERS[0],
        "time": "2026-11-21T09:00:00Z", "data": {"attributes": {"age": 40}},
    }  # fmt: skip
    faulty = [
        good | {"subject": canary}, good | {"time": canary}, good | {"type": canary}, good | {"data": canary},
        good | {"data": {canary: canary}}, good | {"data": {"attributes": {canary: {canary: canary}}}},
        good | {"data": {"attributes": {"age": [canary]}}}, good | {"dataschema": canary}, good | {"id": [canary]},
    ]  # fmt: skip
    bodies = [json.dumps(each).encode() for each in faulty]
    for body in [*bodies, canary.encode(), b'{"' + canary.encode() + b'":', bodies[0][:-5]]:
        with pytest.raises(DecodeError) as refused:
            decode(body)
        clean(str(refused.value))


def test_a_line_names_a_customer_by_a_pseudonym_that_stays_the_same() -> None:
    formatter = MaskedFormatter(logging.Formatter("%(message)s"), LogPseudonyms("key"))

    def line(text: str) -> str:
        return formatter.format(logging.LogRecord("n", logging.INFO, "p", 1, text, (), None))

    first = line("retail:1787 and corp:12 were read twice: retail:1787")
    assert "retail:" not in first
    assert "corp:" not in first
    again = LogPseudonyms("key").pseudonym("retail:1787")
    assert first.count(again) == 2
    assert LogPseudonyms("another").pseudonym("retail:1787") != again
    assert LogPseudonyms().pseudonym("retail:1787") != LogPseudonyms().pseudonym("retail:1787")
    assert line("the retailer: 12 and http://x") == "the retailer: 12 and http://x"
    assert "key" not in repr(LogPseudonyms("key-of-it")).replace("key hidden", "")


def test_an_error_in_the_log_says_where_and_not_what() -> None:
    formatter = MaskedFormatter(logging.Formatter("%(message)s"), LogPseudonyms("key"))
    try:
        try:
            {}[CANARIES[1]]
        except KeyError as error:
            raise ValueError(CANARIES[0]) from error
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "p", 1, "failed", (), sys.exc_info())
    text = formatter.format(record)
    clean(text)
    assert "builtins.KeyError" in text
    assert "builtins.ValueError" in text
    assert Path(__file__).name in text
    try:
        raise StoreUnavailable("connection refused")
    except StoreUnavailable:
        told = logging.LogRecord("n", logging.ERROR, "p", 1, "failed", (), sys.exc_info())
    assert "connection refused" in formatter.format(told)
    assert BusUnavailable.__doc__


def test_a_secret_is_in_no_text_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "redis-url"
    file.write_text(f"redis://kairos:{SECRET}@store:6379/0\n")
    settings = read_settings({"KAIROS_REDIS_URL_FILE": str(file), "KAIROS_LOG_HASH_KEY": SECRET})
    assert settings.redis_url.endswith("@store:6379/0")
    assert settings.log_hash_key == SECRET
    for text in (
        repr(settings),
        str(settings),
        repr(describe_settings(settings)),
        repr(RedisAddress.parse(settings.redis_url)),
    ):
        assert SECRET not in text


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"KAIROS_REDIS_URL_FILE": "/nowhere"}, "KAIROS_REDIS_URL_FILE: /nowhere cannot be read"),
        ({"KAIROS_REDIS_URL_FILE": "f", "KAIROS_REDIS_URL": f"redis://:{SECRET}@s"}, "not both"),
        ({"KAIROS_REDIS_URL": f"redis://:{SECRET}@s", "KAIROS_PORT": "x"}, "KAIROS_PORT"),
        ({"KAIROS_PORT_FILE": "port"}, "KAIROS_PORT_FILE: unknown setting"),
    ],
)
def test_what_is_wrong_with_settings_is_said_without_secrets(environment: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        read_settings(environment)
    assert problem in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.timeout(240)
def test_a_secret_is_in_nothing_that_a_failing_start_prints(tmp_path: Path) -> None:
    """A store that is not there, with a password in its address."""
    environment = os.environ | {
        "KAIROS_REDIS_URL": f"redis://kairos:{SECRET}@127.0.0.1:1/0", "KAIROS_LOG_HASH_KEY": SECRET,
        "KAIROS_LOG_LEVEL": "DEBUG", "KAIROS_STRATEGY_ARCHIVE": str(tmp_path / "kept"),
    }  # fmt: skip
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "services", "api"], cwd=root, env=environment, capture_output=True, text=True,
        check=False, timeout=110,
    )  # fmt: skip
    assert SECRET not in done.stdout + done.stderr
    assert done.returncode == 1
