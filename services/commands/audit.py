"""`kairos audit`: the history of acts, whether it is what it was, and its exact bytes."""

import argparse
import asyncio
import os
from pathlib import Path

from services.commands.governance_connections import chain_records, kept_head, open_governance
from services.ports import ShellError
from services.settings import read_settings
from services.use_cases.governance.audit import exported_lines, not_as_written, verified
from services.use_cases.governance.chain import Chain, Link, Verdict
from services.use_cases.governance.history_lines import history_lines
from services.use_cases.governance.state import GovernanceState

NAME = "audit"
HELP = "the history of acts: show it, verify its chain, export its exact bytes"
EXAMPLE = "kairos audit verify"


class AuditUnreadable(ShellError):
    """The file of acts cannot be read or written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`verify`, `export`, `history`."""
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    verify = _act(acts, "verify", "find every act that was changed, removed, moved or put in; status 1 if there is one")
    verify.add_argument("--file", type=Path, help="acts as exported, one JSON a line (default: from the bus)")
    verify.add_argument("--head", help="hash that an act is known to have had, noted elsewhere")
    export = _act(acts, "export", "the acts as they stand on the bus, byte for byte, one a line")
    export.add_argument("file", type=Path, help="where to; must not exist")
    history = _act(acts, "history", "who did what, when, why, and what became of it")
    history.add_argument("--about", help="only of this version, or kind:name of a kill switch")


def run(args: argparse.Namespace) -> int:
    """Status 1 where the chain is broken. Raises BusUnavailable, ControlUnread, StoreUnavailable, AuditUnreadable."""
    if args.act == "verify":
        return asyncio.run(_verify(args.file, args.head))
    if args.act == "export":
        return asyncio.run(_export(args.file))
    print("\n".join(history_lines(asyncio.run(_state()), about=args.about)) or "nobody has done anything yet")
    return 0


async def _verify(file: Path | None, known: str | None) -> int:
    settings = read_settings(os.environ)
    if file is None:
        records, kept = await chain_records(settings), await kept_head(settings)
    else:
        records, kept = await asyncio.to_thread(_lines, file), None
    found, head = verified(records, kept, known)
    for line in found:
        print(line)
    void = sum(1 for link in _links(records) if link.verdict is Verdict.VOID)
    print(f"{len(records)} records: {head.sequence} acts in the chain, {void} void; head {head.hash}")
    if kept is None and known is None:
        print("the end is not verified: no head is kept here; give one that was noted with --head")
    print("BROKEN" if found else "sound")
    return 1 if found else 0


async def _export(file: Path) -> int:
    records = await chain_records(read_settings(os.environ))
    gone = not_as_written(records)
    try:
        with file.open("xb") as out:
            out.write(exported_lines(records))
    except OSError as error:
        raise AuditUnreadable(f"{file}: {error.strerror}") from error
    print(f"{len(records)} records in {file}")
    if gone:
        print(f"not as they were written: {', '.join(map(str, gone))}")
    return 1 if gone else 0


async def _state() -> GovernanceState:
    async with open_governance(read_settings(os.environ)) as opened:
        return opened.desk.state()


def _lines(file: Path) -> list[bytes | None]:
    try:
        return [line or None for line in file.read_bytes().split(b"\n")[:-1]]
    except OSError as error:
        raise AuditUnreadable(f"{file}: {error.strerror}") from error


def _links(records: list[bytes | None]) -> list[Link]:
    chain = Chain()
    return [chain.take(value) for value in records]


def _act(acts: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str) -> argparse.ArgumentParser:
    return acts.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"example:\n  kairos audit {name}{' acts.jsonl' if name == 'export' else ''}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
