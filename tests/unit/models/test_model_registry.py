"""The registry gives back what was registered, and nothing that was changed since."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.errors import (
    ArtifactUnreadable,
    ChecksumMismatch,
    ManifestInvalid,
    RegistryError,
    SchemaHashMismatch,
    VersionUnknown,
)
from models.manifest import Manifest, decode_manifest, encode_manifest
from models.prior_scorer import BASE_RATE_SCHEMA
from models.registry import ModelRegistry
from models.training.fit import FittedModel

MORNING = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
NOON = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)
PRIOR = Manifest(name="prior", version="", kind="prior", schema=BASE_RATE_SCHEMA, files={}, created_at="")


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "models")


@pytest.fixture
def saved(registry: ModelRegistry, fitted: FittedModel) -> Manifest:
    return registry.save(fitted.draft, fitted.files, MORNING)


def folder(tmp_path: Path, manifest: Manifest) -> Path:
    return tmp_path / "models" / manifest.version


def test_a_version_is_named_by_model_time_and_content(saved: Manifest) -> None:
    name, time, content = saved.version.rsplit("-", 2)
    assert (name, time, len(content)) == ("cross_sell", "20260304T050607Z", 8)


def test_a_manifest_is_read_back_as_it_was_written(registry: ModelRegistry, saved: Manifest) -> None:
    assert registry.manifest(saved.version) == saved
    assert decode_manifest(encode_manifest(saved)) == saved


def test_registering_the_same_content_again_changes_nothing(
    registry: ModelRegistry, saved: Manifest, fitted: FittedModel
) -> None:
    assert registry.save(fitted.draft, fitted.files, MORNING) == saved
    assert registry.versions() == [saved.version]


def test_the_newest_version_of_a_name_is_found_among_others(
    registry: ModelRegistry, saved: Manifest, fitted: FittedModel
) -> None:
    later = registry.save(fitted.draft, fitted.files, NOON)
    registry.save(PRIOR, {}, NOON)
    assert registry.newest("cross_sell") == later.version
    assert registry.versions("cross_sell") == [saved.version, later.version]
    assert registry.newest("churn") is None


def test_an_empty_registry_has_no_versions(registry: ModelRegistry) -> None:
    assert registry.versions() == []


@pytest.mark.parametrize("file", ["model.txt", "calibration.json"])
def test_a_changed_file_is_refused(registry: ModelRegistry, saved: Manifest, tmp_path: Path, file: str) -> None:
    path = folder(tmp_path, saved) / file
    path.write_bytes(path.read_bytes()[:-1] + b"~")
    with pytest.raises(ChecksumMismatch, match=file):
        registry.load(saved.version)


def test_a_lost_file_is_refused(registry: ModelRegistry, saved: Manifest, tmp_path: Path) -> None:
    (folder(tmp_path, saved) / "model.txt").unlink()
    with pytest.raises(ChecksumMismatch, match=r"model\.txt"):
        registry.verify(saved.version)


def test_an_edited_manifest_is_refused(registry: ModelRegistry, saved: Manifest, tmp_path: Path) -> None:
    path = folder(tmp_path, saved) / "manifest.json"
    body = json.loads(path.read_text())
    body["metrics"]["auc"]["value"] = 0.99
    path.write_text(json.dumps(body))
    with pytest.raises(ChecksumMismatch, match="changed after"):
        registry.load(saved.version)


def test_naming_an_approver_later_is_not_an_edit(registry: ModelRegistry, saved: Manifest, tmp_path: Path) -> None:
    approved = replace(saved, approver="li.wei")
    (folder(tmp_path, saved) / "manifest.json").write_bytes(encode_manifest(approved))
    assert registry.manifest(saved.version).approver == "li.wei"


def test_columns_that_do_not_make_the_schema_hash_are_refused(
    registry: ModelRegistry, saved: Manifest, tmp_path: Path
) -> None:
    path = folder(tmp_path, saved) / "manifest.json"
    body = json.loads(path.read_text())
    body["columns"][0]["name"] = "somebody_elses_column"
    path.write_text(json.dumps(body))
    with pytest.raises(SchemaHashMismatch, match="register it anew"):
        registry.load(saved.version)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"format": 1}', b"\xff\xfe", b'{"format": 2}'])
def test_a_manifest_that_is_none_is_refused(
    registry: ModelRegistry, saved: Manifest, tmp_path: Path, text: bytes
) -> None:
    (folder(tmp_path, saved) / "manifest.json").write_bytes(text)
    with pytest.raises(ManifestInvalid):
        registry.load(saved.version)


@pytest.mark.parametrize(
    "version", ["cross_sell", "../../etc", "cross_sell-20260304T050607Z-00000000", "", "a/b-20260304T050607Z-00000000"]
)
def test_a_version_that_is_not_there_is_named(registry: ModelRegistry, saved: Manifest, version: str) -> None:
    with pytest.raises(VersionUnknown, match="registry"):
        registry.load(version)


def test_trees_over_other_columns_than_the_schema_are_refused(registry: ModelRegistry, fitted: FittedModel) -> None:
    draft = replace(fitted.draft, schema=replace(fitted.draft.schema, columns=fitted.draft.schema.columns[1:]))
    with pytest.raises(ArtifactUnreadable, match="columns"):
        registry.load(registry.save(draft, fitted.files, MORNING).version)


def test_a_file_that_is_no_model_is_refused(registry: ModelRegistry, fitted: FittedModel) -> None:
    broken = registry.save(fitted.draft, {**fitted.files, "model.txt": b"tree\nversion=v4\n"}, MORNING)
    with pytest.raises(ArtifactUnreadable):
        registry.load(broken.version)


def test_a_bad_name_cannot_be_registered(registry: ModelRegistry, fitted: FittedModel) -> None:
    with pytest.raises(RegistryError, match="lower-case"):
        registry.save(replace(fitted.draft, name="../Evil"), fitted.files, MORNING)
    with pytest.raises(RegistryError, match="file names"):
        registry.save(fitted.draft, {"model.pkl": b""}, MORNING)


def test_nothing_is_left_behind_by_a_failed_registration(
    registry: ModelRegistry, fitted: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("models.registry._write_durably", full_disk)
    with pytest.raises(RegistryError, match="no space"):
        registry.save(fitted.draft, fitted.files, MORNING)
    assert list((tmp_path / "models").iterdir()) == []
