"""Every strategy that ever decided, by version: the source files as they were, so that its decisions can be explained
and computed again for as long as their records are kept.

`<root>/<version>/` holds the YAML files and `sources.json`, which names each with its SHA-256. A folder appears whole
or not at all and is never changed; the same version registered twice, by any number of nodes, is one folder. The root
belongs on storage that all nodes see, beside the model registry.
"""

import json
import os
import re
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Lock

from decision_engine.errors import Problem, StrategyInvalid
from decision_engine.identifiers import StrategyVersion
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.strategy import Strategy
from services.ports import ShellError, StrategyUnknown

LoadSources = Callable[[Path], Strategy]
"""Reads a strategy from its folder. Raises StrategyInvalid."""

SOURCES = "sources.json"
_PREPARED_KEPT = 8
"""Versions held ready; a day rarely has more."""
_SUFFIXES = (".yaml", ".yml")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\.ya?ml")


class StrategyNotKept(ShellError):
    """A strategy could not be registered, so its decisions could not be proven later."""


class StrategyAltered(StrategyUnknown):
    """What is kept under the version is not what was registered."""


class StrategyVersions:
    """The store of strategy versions under one folder; safe to use from several threads."""

    def __init__(self, root: Path, load: LoadSources) -> None:
        self._root = root
        self._load_sources = load
        self._prepared: OrderedDict[str, PreparedStrategy] = OrderedDict()
        self._lock = Lock()

    def register(self, version: StrategyVersion, source: Path) -> None:
        """Keeps the files of a strategy that was loaded from `source` (file or folder); no change if they are kept
        already. Raises StrategyNotKept."""
        target = self._root / version
        if target.is_dir():
            return
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".registering-", dir=self._root))
        except OSError as error:
            raise StrategyNotKept(f"{version}: {self._root} cannot be written: {error}") from error
        try:
            _write(staging, _read_sources(source))
            staging.chmod(0o755)
            staging.rename(target)
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            if not target.is_dir():  # otherwise another node registered the same version first
                raise StrategyNotKept(f"{version}: cannot be kept in {self._root}: {error}") from error

    def register_texts(self, version: StrategyVersion, texts: Mapping[str, str]) -> None:
        """Keeps files that came over the bus, if they are what they say: read whole, they must make this version. No
        change if it is kept already. Raises StrategyNotKept, StrategyInvalid."""
        target = self._root / version
        if target.is_dir():
            return
        if target.parent != self._root:
            raise StrategyNotKept(f"{version}: is no name of a version")
        with _written(texts) as folder:
            try:
                found = self._load_sources(folder).version
            except StrategyInvalid as error:
                raise StrategyNotKept(f"{version}: cannot be read by this release: {error}") from error
            if found != version:
                raise StrategyNotKept(f"{version}: its files make {found} in this release")
            self.register(version, folder)

    def texts(self, version: str) -> dict[str, str]:
        """The files of a version as they were registered, by name. Raises StrategyUnknown."""
        folder = self._root / version
        if folder.parent != self._root or not (folder / SOURCES).is_file():
            raise StrategyUnknown(f"strategy {version} is not kept in {self._root}")
        self._verify(folder)
        try:
            return {name: content.decode() for name, content in _read_sources(folder).items()}
        except (OSError, UnicodeDecodeError) as error:
            raise StrategyAltered(f"strategy {version}: cannot be read: {error}") from error

    def versions(self) -> list[str]:
        """All versions kept, by name."""
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if (path / SOURCES).is_file())

    def sources(self, version: str) -> dict[str, str]:
        """The texts of the version's files by name, as they were registered. Raises StrategyUnknown."""
        folder = self._root / version
        if folder.parent != self._root or not (folder / SOURCES).is_file():
            raise StrategyUnknown(f"strategy {version} is not kept in {self._root}")
        self._verify(folder)
        return {path.name: path.read_bytes().decode("utf-8-sig") for path in _yaml_files(folder)}

    def prepared(self, version: str) -> PreparedStrategy:
        """The version ready to decide, under the version id it decided with. Raises StrategyUnknown."""
        with self._lock:
            found = self._prepared.get(version)
            if found is None:
                found = self._prepared[version] = self._load(version)
                while len(self._prepared) > _PREPARED_KEPT:
                    self._prepared.popitem(last=False)
            self._prepared.move_to_end(version)
            return found

    def _load(self, version: str) -> PreparedStrategy:
        folder = self._root / version
        if folder.parent != self._root or not (folder / SOURCES).is_file():
            raise StrategyUnknown(f"strategy {version} is not kept in {self._root}")
        self._verify(folder)
        try:
            strategy = self._load_sources(folder)
        except StrategyInvalid as error:
            raise StrategyUnknown(f"strategy {version} can no longer be read by this release: {error}") from error
        # A release that knows more of the grammar may number the same sources differently; the files are the identity.
        return prepare(replace(strategy, version=StrategyVersion(version)))

    def _verify(self, folder: Path) -> None:
        try:
            recorded = json.loads((folder / SOURCES).read_text(encoding="utf-8"))["sha256"]
            found = {path.name: sha256(path.read_bytes()).hexdigest() for path in _yaml_files(folder)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StrategyAltered(f"strategy {folder.name}: {folder / SOURCES} is damaged") from error
        if found != recorded:
            changed = sorted(set(found.items()) ^ set(dict(recorded).items()))
            raise StrategyAltered(f"strategy {folder.name}: {changed[0][0]} is not as it was registered")


def require_file_names(texts: Mapping[str, str]) -> None:
    """Raises StrategyInvalid for a name that no file of a strategy may have, or no files at all."""
    wrong = [name for name in texts if not _FILE_NAME.fullmatch(name)]
    if wrong or not texts:
        what = "must be a plain name ending .yaml or .yml" if wrong else "there are no files"
        names = wrong[:5] or ["strategy"]
        raise StrategyInvalid([Problem(file=name[:128], line=0, path="strategy", message=what) for name in names])


@contextmanager
def _written(texts: Mapping[str, str]) -> Iterator[Path]:
    """The files in a folder of their own while the context lasts."""
    require_file_names(texts)
    with tempfile.TemporaryDirectory(prefix="strategy-") as name:
        folder = Path(name)
        for file, text in texts.items():
            (folder / file).write_bytes(text.encode())
        yield folder


def _yaml_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)


def _read_sources(source: Path) -> dict[str, bytes]:
    """File name to content. A single file gets the suffix a folder is read by."""
    if source.is_file():
        name = source.name if source.suffix in _SUFFIXES else f"{source.name}.yaml"
        return {name: source.read_bytes()}
    return {path.name: path.read_bytes() for path in _yaml_files(source)}


def _write(folder: Path, sources: Mapping[str, bytes]) -> None:
    hashes = {name: sha256(content).hexdigest() for name, content in sources.items()}
    manifest = json.dumps({"sha256": hashes}, indent=2, sort_keys=True).encode()
    for name, content in {**sources, SOURCES: manifest}.items():
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
