"""The model registry: a folder of immutable version folders, each verified before it is trusted.

`<root>/<version>/manifest.json` and the files it names. A version id is `<name>-<UTC time>-<8 hex of content>`, so
versions of one name sort by age and any edit of manifest or files is noticed. Text files only, never pickles.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from decision_engine.propensity import Scorer
from models.errors import ArtifactUnreadable, ChecksumMismatch, ManifestInvalid, RegistryError, VersionUnknown
from models.gbdt_scorer import CALIBRATION_FILE, MODEL_FILE, GbdtScorer, booster_from_text
from models.manifest import Manifest, content_hash, decode_manifest, encode_manifest
from models.prior_scorer import BASE_RATE_SCHEMA, PriorScorer
from models.segment_calibration import decode_calibration

MANIFEST_FILE = "manifest.json"
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_VERSION = re.compile(rf"(?P<name>{_NAME.pattern})-(?P<time>\d{{8}}T\d{{6}}Z)-(?P<content>[0-9a-f]{{8}})")
_FILE = re.compile(r"[a-z][a-z0-9_]*\.(txt|json|md)")


class ModelRegistry:
    """Saves, lists, verifies and loads model versions under one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(self, draft: Manifest, files: Mapping[str, bytes], created_at: datetime) -> Manifest:
        """Registers a new version whole or not at all, and answers its manifest with id and checksums filled in.

        `draft` carries everything but version, checksums and time. Saving the same content at the same second
        again changes nothing. Raises RegistryError.
        """
        manifest = _identified(draft, files, created_at)
        target = self._root / manifest.version
        if target.exists():
            return self.verify(manifest.version)
        self._root.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".saving-", dir=self._root))
        try:
            for name, content in {**files, MANIFEST_FILE: encode_manifest(manifest)}.items():
                _write_durably(staging / name, content)
            staging.chmod(0o755)
            staging.rename(target)
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            if target.exists():  # another process registered the same content first
                return self.verify(manifest.version)
            raise RegistryError(f"{manifest.version}: cannot be written to {self._root}: {error}") from error
        return manifest

    def versions(self, name: str | None = None) -> list[str]:
        """Version ids, oldest first within a name; all names without one."""
        if not self._root.is_dir():
            return []
        found = [match for path in self._root.iterdir() if (match := _VERSION.fullmatch(path.name))]
        kept = [match for match in found if name is None or match["name"] == name]
        return [match[0] for match in sorted(kept, key=lambda match: (match["name"], match["time"], match[0]))]

    def newest(self, name: str) -> str | None:
        """The youngest version of that model, None where there is none."""
        return next(reversed(self.versions(name)), None)

    def manifest(self, version: str) -> Manifest:
        """The manifest as registered. Raises VersionUnknown, ManifestInvalid, SchemaHashMismatch."""
        folder = self._folder(version)
        try:
            text = (folder / MANIFEST_FILE).read_bytes()
        except OSError as error:
            raise ManifestInvalid(f"{version}: no readable {MANIFEST_FILE}: {error}") from error
        manifest = decode_manifest(text)
        if manifest.version != version or content_hash(manifest)[:8] != version[-8:]:
            raise ChecksumMismatch(f"{version}: the manifest was changed after it was registered")
        return manifest

    def verify(self, version: str) -> Manifest:
        """The manifest, after every file has been compared with its checksum. Raises the RegistryError tree."""
        manifest = self.manifest(version)
        for name in manifest.files:
            self._read(manifest, name)
        return manifest

    def file(self, version: str, name: str) -> bytes | None:
        """A file of the version after it was compared with its checksum; None for one it never had."""
        manifest = self.manifest(version)
        return self._read(manifest, name) if name in manifest.files else None

    def load(self, version: str) -> Scorer:
        """The scorer of a verified version. Raises the RegistryError tree."""
        manifest = self.verify(version)
        if manifest.kind == "prior":
            return _prior(manifest)
        if manifest.kind == "gbdt":
            return self._gbdt(manifest)
        raise ArtifactUnreadable(f"{version}: unknown kind of model {manifest.kind!r}; known are gbdt and prior")

    def _gbdt(self, manifest: Manifest) -> GbdtScorer:
        return GbdtScorer(
            version=manifest.version,
            schema=manifest.schema,
            booster=booster_from_text(self._read(manifest, MODEL_FILE).decode()),
            calibration=decode_calibration(self._read(manifest, CALIBRATION_FILE), manifest.schema),
        )

    def _read(self, manifest: Manifest, name: str) -> bytes:
        expected = manifest.files.get(name)
        if expected is None or not _FILE.fullmatch(name):
            raise ManifestInvalid(f"{manifest.version}: the manifest names no usable file {name!r}")
        try:
            content = (self._root / manifest.version / name).read_bytes()
        except OSError as error:
            raise ChecksumMismatch(f"{manifest.version}: {name} cannot be read: {error}") from error
        found = sha256(content).hexdigest()
        if found != expected:
            raise ChecksumMismatch(f"{manifest.version}: {name} has SHA-256 {found[:12]}…, registered {expected[:12]}…")
        return content

    def _folder(self, version: str) -> Path:
        # The pattern also keeps path separators out: version ids arrive over the bus.
        if not _VERSION.fullmatch(version) or not (self._root / version).is_dir():
            raise VersionUnknown(f"{version!r} is not in the model registry at {self._root}")
        return self._root / version


def _identified(draft: Manifest, files: Mapping[str, bytes], created_at: datetime) -> Manifest:
    if not _NAME.fullmatch(draft.name):
        raise RegistryError(f"model name {draft.name!r} must be lower-case words joined by _ or .")
    if bad := [name for name in files if not _FILE.fullmatch(name) or name == MANIFEST_FILE]:
        raise RegistryError(f"{draft.name}: file names {bad} are not allowed; use lower-case .txt, .json or .md")
    moment = created_at.astimezone(UTC).replace(microsecond=0)
    checksums = {name: sha256(content).hexdigest() for name, content in files.items()}
    dated = replace(draft, files=checksums, created_at=moment.isoformat().replace("+00:00", "Z"))
    version = f"{draft.name}-{moment:%Y%m%dT%H%M%SZ}-{content_hash(dated)[:8]}"
    return replace(dated, version=version)


def _prior(manifest: Manifest) -> PriorScorer:
    if manifest.schema != BASE_RATE_SCHEMA:
        raise ArtifactUnreadable(f"{manifest.version}: a prior reads the base_rate column alone")
    return PriorScorer(manifest.version)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
