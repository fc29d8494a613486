"""Strategies that decided are found again by version, exactly as they were."""

from pathlib import Path

import pytest

from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.strategy_versions import StrategyAltered, StrategyNotKept, StrategyVersions
from services.ports import StrategyUnknown

SOURCE = Path(__file__).parents[2] / "golden" / "decisions" / "strategy.yaml"


@pytest.fixture
def versions(tmp_path: Path) -> StrategyVersions:
    return StrategyVersions(tmp_path / "strategies", load_strategy_file)


def register(versions: StrategyVersions, source: Path = SOURCE) -> str:
    version = load_strategy_file(source).version
    versions.register(version, source)
    return version


def test_a_registered_strategy_is_found_by_a_new_process(versions: StrategyVersions, tmp_path: Path) -> None:
    version = register(versions)
    again = StrategyVersions(tmp_path / "strategies", load_strategy_file).prepared(version)
    assert again.strategy == load_strategy_file(SOURCE)
    assert versions.versions() == [version]


def test_a_folder_of_files_is_kept_whole(versions: StrategyVersions, tmp_path: Path) -> None:
    text = SOURCE.read_text("utf-8")
    head, _, offers = text.partition("\noffers:")
    offers, placements, rest = offers.partition("\nplacements:")
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.yaml").write_text(head + placements + rest, "utf-8")
    (folder / "b.yaml").write_text("offers:" + offers, "utf-8")
    (folder / "notes.txt").write_text("not part of it")
    version = register(versions, folder)
    assert version == load_strategy_file(SOURCE).version
    assert versions.prepared(version).strategy == load_strategy_file(folder)


def test_registering_again_changes_nothing(versions: StrategyVersions, tmp_path: Path) -> None:
    version = register(versions)
    kept = tmp_path / "strategies" / version / "strategy.yaml"
    before = kept.stat().st_mtime_ns
    versions.register(load_strategy_file(SOURCE).version, SOURCE)
    assert kept.stat().st_mtime_ns == before
    assert not list((tmp_path / "strategies").glob(".registering-*"))


def test_a_version_prepared_once_is_at_hand(versions: StrategyVersions) -> None:
    version = register(versions)
    assert versions.prepared(version) is versions.prepared(version)


@pytest.mark.parametrize("version", ["nobody-123", "..", ""])
def test_an_unknown_version_is_said_to_be_unknown(versions: StrategyVersions, version: str) -> None:
    register(versions)
    with pytest.raises(StrategyUnknown, match="is not kept"):
        versions.prepared(version)


def test_an_edited_file_is_not_trusted(versions: StrategyVersions, tmp_path: Path) -> None:
    version = register(versions)
    kept = tmp_path / "strategies" / version / "strategy.yaml"
    kept.write_text(kept.read_text("utf-8").replace("lever: 10", "lever: 99"), "utf-8")
    with pytest.raises(StrategyAltered, match=r"strategy\.yaml is not as it was registered"):
        versions.prepared(version)


def test_an_added_file_is_not_trusted(versions: StrategyVersions, tmp_path: Path) -> None:
    version = register(versions)
    (tmp_path / "strategies" / version / "more.yaml").write_text("offers: []")
    with pytest.raises(StrategyAltered):
        versions.prepared(version)


def test_a_place_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "strategies").write_text("a file stands here")
    with pytest.raises(StrategyNotKept, match="cannot be"):
        register(StrategyVersions(tmp_path / "strategies", load_strategy_file))
