"""The commands of this part: what they print, and how they fail."""

from pathlib import Path

import pytest

from services.__main__ import main
from services.commands import replay, simulate, traffic, verify

SMALL_BANK = str(Path(__file__).with_name("small_bank.yaml"))
SMALL_LOOP = ["--customers", "120", "--history-days", "3", "--exploration-days", "2", "--days", "1"]


def test_the_closed_loop_prints_every_policy_with_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["simulate", "policies", "--strategy", SMALL_BANK, *SMALL_LOOP])
    shown = capsys.readouterr()

    assert status == 0
    for policy in ("arbitration with model", "arbitration with base rates", "as served", "random eligible",
                   "best single offer", "oracle"):  # fmt: skip
        assert any(line.startswith(policy) for line in shown.out.splitlines())
    assert "exploration day 2 of 2" in shown.err


def test_an_empty_archive_is_said_plainly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["simulate", "--decisions-archive", str(tmp_path), "--strategy", SMALL_BANK])

    assert status == 1
    assert "no decision had an eligible offer" in capsys.readouterr().err


def test_replaying_a_folder_without_the_data_names_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = tmp_path / "var" / "progress.json"
    status = main(["replay", "--data", str(tmp_path), "--progress-file", str(progress)])

    assert status == 1
    assert "trans.asc.gz" in capsys.readouterr().err


@pytest.mark.parametrize("speed", ["0", "-3", "fast"])
def test_a_speed_that_is_none_is_refused(speed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["replay", "--data", "x", "--speed", speed])

    assert stopped.value.code == 2
    assert "a number above 0, or max" in capsys.readouterr().err


@pytest.mark.parametrize("command", [replay, simulate, traffic, verify])
def test_every_command_says_what_it_does_and_shows_an_example(command: object) -> None:
    assert str(getattr(command, "EXAMPLE")).startswith(f"kairos {getattr(command, 'NAME')}")  # noqa: B009
    assert getattr(command, "HELP")  # noqa: B009
