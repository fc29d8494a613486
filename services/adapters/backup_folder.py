"""A backup as a folder: the records of the control topic, one a line, and the files of models and strategies, each with
its SHA-256 in `backup.json`. It appears whole or not at all, and is verified to the last byte before it is put back.

`<folder>/control.jsonl` has for each record its partition, key, value and headers (bytes as base64), in the order of
each partition. `<folder>/models/…` and `<folder>/strategies/…` are the folders as they were.
"""

import base64
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

from services.ports import Delivery, ShellError

CONTENTS = "backup.json"
CONTROL_FILE = "control.jsonl"
FORMAT = 1
_NAME = "%Y%m%dT%H%M%SZ"
_STARTED = b'"nbo.control.node.started"'
"""Signs of life of nodes: they say nothing to those who come after."""


class BackupDamaged(ShellError):
    """The backup is not what was written."""


class BackupFailed(ShellError):
    """The backup could not be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRecord:
    """A record of the control topic, whole but for its offset, which another broker gives anew."""

    partition: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEnd:
    """How far the chain of acts went."""

    sequence: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup says of itself."""

    folder: Path
    made_at: datetime
    records: int
    partitions: int
    chain: ChainEnd
    files: Mapping[str, str]
    """Path within the backup to SHA-256."""


def lasting(deliveries: Sequence[Delivery]) -> list[ControlRecord]:
    """The records that a backup keeps, of those of the topic: neither signs of life, nor what was deleted since."""
    deleted = {(d.partition, d.key): d.offset for d in deliveries if d.value is None}
    return [
        ControlRecord(partition=d.partition, key=d.key or b"", value=d.value, headers=d.headers)
        for d in deliveries
        if d.value is not None and _STARTED not in d.value and d.offset > deleted.get((d.partition, d.key), -1)
    ]


def write_backup(
    into: Path, records: Sequence[ControlRecord], partitions: int, chain: ChainEnd, sources: Mapping[str, Path]
) -> Backup:
    """A new folder under `into`, named by its time, with the records and everything under `sources` (name within the
    backup to folder). Raises BackupFailed."""
    moment = datetime.now(UTC).replace(microsecond=0)
    target = into / moment.strftime(_NAME)
    try:
        into.mkdir(parents=True, exist_ok=True)
        staging = Path(mkdtemp(prefix=".writing-", dir=into))
    except OSError as error:
        raise BackupFailed(f"{into} cannot be written to: {error}") from error
    try:
        (staging / CONTROL_FILE).write_text("".join(_line(record) for record in records))
        for name, source in sources.items():
            if source.is_dir():
                shutil.copytree(source, staging / name, ignore=shutil.ignore_patterns(".*"))
        document = {
            "format": FORMAT,
            "made_at": moment.isoformat(),
            "records": len(records),
            "partitions": partitions,
            "chain": {"sequence": chain.sequence, "hash": chain.hash},
            "files": {name: _digest(staging / name) for name in _files(staging)},
        }
        (staging / CONTENTS).write_text(json.dumps(document, indent=1, sort_keys=True))
        staging.chmod(0o750)
        staging.rename(target)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise BackupFailed(f"{target} cannot be written: {error}") from error
    return read_backup(target)


def read_backup(folder: Path) -> Backup:
    """What the backup holds, after every file was compared with its hash. Raises BackupDamaged naming each that is
    changed, missing or not of it."""
    try:
        document = json.loads((folder / CONTENTS).read_text())
        if document["format"] != FORMAT:
            raise BackupDamaged(f"{folder}: of format {document['format']}, and this release reads {FORMAT}")
        backup = Backup(
            folder=folder,
            made_at=datetime.fromisoformat(document["made_at"]),
            records=int(document["records"]),
            partitions=int(document["partitions"]),
            chain=ChainEnd(sequence=int(document["chain"]["sequence"]), hash=str(document["chain"]["hash"])),
            files={str(name): str(digest) for name, digest in document["files"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BackupDamaged(f"{folder}: no readable {CONTENTS}: {error!r}") from error
    found = set(_files(folder)) - {CONTENTS}
    problems = [f"{name} is missing" for name in sorted(set(backup.files) - found)]
    problems += [f"{name} is not of it" for name in sorted(found - set(backup.files))]
    problems += [
        f"{name} was changed"
        for name, digest in sorted(backup.files.items())
        if name in found and _digest(folder / name) != digest
    ]
    if problems:
        raise BackupDamaged(f"{folder}: " + "; ".join(problems[:20]))
    return backup


def control_records(backup: Backup) -> list[ControlRecord]:
    """The records in their order. Raises BackupDamaged."""
    try:
        lines = (backup.folder / CONTROL_FILE).read_text().splitlines()
        records = [_record(json.loads(line)) for line in lines]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise BackupDamaged(f"{backup.folder}: {CONTROL_FILE} cannot be read: {error!r}") from error
    if len(records) != backup.records:
        raise BackupDamaged(f"{backup.folder}: {len(records)} records, and there were {backup.records}")
    return records


def put_back(backup: Backup, name: str, target: Path) -> tuple[int, list[str]]:
    """Copies a folder of the backup to where it belongs. What is there already is left alone: answers how many files
    were copied, and which stand there with other contents."""
    source, copied, different = backup.folder / name, 0, []
    for path in sorted(source.rglob("*")) if source.is_dir() else []:
        if not path.is_file():
            continue
        place = target / path.relative_to(source)
        if place.exists():
            if place.read_bytes() != path.read_bytes():
                different.append(str(place))
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)
        copied += 1
    return copied, different


def newest(into: Path) -> Iterator[Path]:
    """Backups under a folder, the newest first."""
    yield from sorted((path.parent for path in into.glob(f"*/{CONTENTS}")), reverse=True)


def forget_older(into: Path, keep: int) -> list[Path]:
    """Removes all but the newest `keep` backups; answers those removed."""
    gone = list(newest(into))[keep:]
    for folder in gone:
        shutil.rmtree(folder)
    return gone


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _line(record: ControlRecord) -> str:
    document = {
        "partition": record.partition,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [[name, _text(value)] for name, value in record.headers],
    }
    return json.dumps(document) + "\n"


def _record(document: Mapping[str, object]) -> ControlRecord:
    headers = document["headers"]
    if not isinstance(headers, list):
        raise TypeError("headers")
    return ControlRecord(
        partition=int(str(document["partition"])),
        key=_bytes(document["key"]),
        value=_bytes(document["value"]),
        headers=tuple((str(name), _bytes(text)) for name, text in headers),
    )


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: object) -> bytes:
    return base64.b64decode(str(text), validate=True)
