"""`kairos schemas`: writes the exported event schemas, or checks that the committed ones are up to date."""

import argparse
from pathlib import Path

import orjson

import event_schemas
from event_schemas.asyncapi import asyncapi_document
from event_schemas.json_schema import breaking_changes, export_json_schemas

NAME = "schemas"
HELP = "export the event schemas (JSON Schema, AsyncAPI 3), or check the exported ones"
EXAMPLE = "kairos schemas --check"

EXPORTED = Path(event_schemas.__file__).parent / "exported"
"""Where the committed exports stand."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Exactly one of `--write` and `--check`; `--directory` for another place."""
    act = parser.add_mutually_exclusive_group(required=True)
    act.add_argument("--write", action="store_true", help="write every schema")
    act.add_argument("--check", action="store_true", help="fail when a schema on disk differs, saying what would break")
    parser.add_argument("--directory", type=Path, default=EXPORTED, help="default: event_schemas/exported")


def run(arguments: argparse.Namespace) -> int:
    """Writes or checks; status 1 when the check finds a difference."""
    directory: Path = arguments.directory
    if arguments.write:
        names = write_schemas(directory)
        print(f"{len(names)} schemas written to {directory}")
        return 0
    differences = differing_schemas(directory)
    for line in differences:
        print(line)
    print(
        f"{len(differences)} differences; `kairos schemas --write` brings them up to date"
        if differences
        else "up to date"
    )
    return 1 if differences else 0


def rendered_schemas() -> dict[str, bytes]:
    """File name to content, stable byte for byte."""
    documents: dict[str, dict[str, object]] = {**export_json_schemas(), "asyncapi.json": asyncapi_document()}
    return {name: _text(document) for name, document in documents.items()}


def write_schemas(directory: Path) -> list[str]:
    """Writes every schema and removes JSON files that are none any more; answers the names written."""
    directory.mkdir(parents=True, exist_ok=True)
    files = rendered_schemas()
    for stale in _stale(directory, files):
        (directory / stale).unlink()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return sorted(files)


def differing_schemas(directory: Path) -> list[str]:
    """One line a difference between disk and code; breaking changes are named one by one."""
    files = rendered_schemas()
    lines = [f"{name}: is no schema of this release" for name in _stale(directory, files)]
    for name, content in sorted(files.items()):
        path = directory / name
        if not path.is_file():
            lines.append(f"{name}: is missing")
        elif path.read_bytes() != content:
            lines.append(f"{name}: differs")
            lines += [f"{name}: BREAKING {why}" for why in _breaking(name, path.read_bytes(), content)]
    return lines


def _breaking(name: str, old: bytes, new: bytes) -> list[str]:
    return [] if name == "asyncapi.json" else breaking_changes(orjson.loads(old), orjson.loads(new))


def _stale(directory: Path, files: dict[str, bytes]) -> list[str]:
    """Older versions (`<type>.<n>.json` with a smaller n) stay: they document what upcasters read."""
    kept = {name.rsplit(".", 2)[0] for name in files}
    return sorted(
        path.name
        for path in directory.glob("*.json")
        if path.name not in files and path.name.rsplit(".", 2)[0] not in kept
    )


def _text(document: dict[str, object]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
