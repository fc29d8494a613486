"""The file of receivers: what it says, and every fault by entry and field, secrets never shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.adapters.webhooks_file import load_webhooks
from services.commands import deliver as command
from services.ports import SettingsInvalid
from services.workers.deliver_offsets import OpenOffsets
from services.workers.deliver_terms import RetryTerms

LEAST = {"name": "crm", "url": "https://crm.bank.example/hook", "channels": ["manager"], "secret_file": "crm.secret"}


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "webhooks.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_least_an_entry_says_and_what_it_means(tmp_path: Path) -> None:
    (entry,) = load_webhooks(written(tmp_path, [LEAST]))
    assert (entry.name, entry.channels, entry.recipients) == ("crm", frozenset({"manager"}), None)
    assert entry.secret_file == tmp_path / "crm.secret"
    assert (entry.timeout_s, entry.tries, entry.first_pause_s, entry.longest_pause_s, entry.at_once) == (
        10.0, 10, 1.0, 300.0, 8,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"url": "http://crm.bank.example/hook"}, "entry 0: url: https, or http on a loopback"),
        ({"url": "https://user:word@crm.bank.example/"}, "entry 0: url"),
        ({"url": "ftp://127.0.0.1/"}, "entry 0: url"),
        ({"url": "https://"}, "entry 0: url"),
        ({"url": "https://x:99999/"}, "entry 0: url"),
        ({"url": 7}, "entry 0: url"),
        ({"name": "CRM!"}, "entry 0: name"),
        ({"channels": []}, "entry 0: channels: must be a list of names, at least one"),
        ({"recipients": "m42"}, "entry 0: recipients"),
        ({"tries": 0}, "entry 0: tries: a whole number from 1 to 100"),
        ({"tries": 1.5}, "entry 0: tries"),
        ({"timeout_seconds": True}, "entry 0: timeout_seconds: a number from 0.1 to 60"),
        ({"secret_file": ""}, "entry 0: secret_file"),
        ({"secret": "whsec_hidden"}, "entry 0: secret: unknown field"),
    ],
)
def test_faults_are_named_by_entry_and_field(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load_webhooks(written(tmp_path, [LEAST | change]))
    assert problem in str(caught.value)
    assert "whsec_hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{broken", "cannot be read as JSON"),
        ({}, "must hold a list"),
        ([], "must hold a list"),
        (["x"], "entry 0: must be an object"),
        ([{}], "entry 0: name: is missing"),
        ([LEAST, LEAST], "the name crm stands twice"),
        ([LEAST] * 51, "1 to 50"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: Any, problem: str) -> None:
    with pytest.raises(SettingsInvalid, match=problem):
        load_webhooks(written(tmp_path, content))


def test_http_is_allowed_on_this_machine(tmp_path: Path) -> None:
    for host in ("127.0.0.1:8080", "localhost", "[::1]:80"):
        assert load_webhooks(written(tmp_path, [LEAST | {"url": f"http://{host}/"}]))


def test_without_the_setting_the_role_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAIROS_WEBHOOKS_FILE", raising=False)
    with pytest.raises(SettingsInvalid, match="KAIROS_WEBHOOKS_FILE"):
        command.run(None)  # type: ignore[arg-type]


def test_pauses_double_up_to_the_longest_and_vary_by_half() -> None:
    terms = RetryTerms(tries=10, first_pause_s=1.0, longest_pause_s=60.0)
    assert [terms.pause_s(failures, lambda: 1.0) for failures in (1, 2, 3, 6, 7, 99)] == [1, 2, 4, 32, 60, 60]
    assert terms.pause_s(3, lambda: 0.0) == 2.0


def test_only_what_lies_before_the_first_open_record_is_committed() -> None:
    offsets, partition = OpenOffsets(), ("t", 0)
    assert all(offsets.take(partition, offset) for offset in (10, 11, 12, 15))
    assert not offsets.take(partition, 11)
    offsets.done(partition, 11)
    assert offsets.to_commit() == {}
    offsets.done(partition, 10)
    assert offsets.to_commit() == {partition: 12}
    offsets.committed({partition: 12})
    assert offsets.to_commit() == {}
    offsets.done(partition, 15)
    offsets.done(partition, 12)
    assert offsets.to_commit() == {partition: 16} and offsets.open == 0
    offsets.take(partition, 16)
    offsets.give_up(partition)
    offsets.done(partition, 16)
    assert offsets.to_commit() == {} and offsets.open == 0
