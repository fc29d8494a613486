"""`kairos strategy diff | submit | approve | …`: strategies under governance, from the command line."""

import argparse
import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from hashlib import sha256
from pathlib import Path

import orjson

from services.adapters.file_strategy_source import load_strategy_texts, strategy_document
from services.adapters.simulation_process import SimulationProcess
from services.adapters.strategy_files import CheckedStrategyFiles
from services.bootstrap import open_strategy_versions
from services.commands.governance_connections import OpenDesk, open_governance
from services.ports import ShellError
from services.settings import Settings, read_settings
from services.use_cases.governance.history_lines import history_lines
from services.use_cases.governance.simulations import SimulationAsked, summary_of
from services.use_cases.governance.strategy_diff_text import diff_lines

Files = Mapping[str, str]
_SUFFIXES = (".yaml", ".yml")


class FilesUnreadable(ShellError):
    """A folder of a strategy cannot be read or written."""


def add_governance_acts(act: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    """The sub-commands; `act` adds one by name, meaning and example."""
    diff = act("diff", "what differs: offers, rules, limits, features, words; then the files", "diff drafts/autumn")
    diff.add_argument("before", help="folder, file or version; with one given, the active version is before it")
    diff.add_argument("after", nargs="?", help="folder, file or version")
    diff.add_argument("--no-files", action="store_true", help="without the lines of the files")
    submit = act("submit", "hand a folder in for approval", "submit drafts/autumn --comment 'autumn offers'")
    submit.add_argument("path", type=Path, help="folder or file of the strategy")
    submit.add_argument("--title")
    _who(submit)
    simulate = act("simulate", "try a version or folder on recorded days, and record it", "simulate drafts/autumn")
    simulate.add_argument("what", help="folder, file, draft or version")
    simulate.add_argument("--against", help="folder, file or version (default: the active version)")
    simulate.add_argument("--day", type=date.fromisoformat, help="first day, in the bank's time zone (default: newest)")
    simulate.add_argument("--day-count", type=int, default=1, help="so many days (default 1)")
    simulate.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page")
    _who(simulate)
    for name, text in (
        ("approve", "let a submitted version become active; another person than who submitted"),
        ("decline", "say no to a submitted version"),
        ("retire", "take back what was submitted or approved, or end a canary"),
    ):
        parser = act(name, text, f"{name} demo_bank-0123456789ab --comment 'looked at'")
        parser.add_argument("version")
        _who(parser)
    activate = act("activate", "an approved version decides", "activate demo_bank-0123456789ab --share 0.1")
    activate.add_argument("version")
    activate.add_argument("--share", type=float, help="of the customers, above 0, at most 1 (default: all)")
    _who(activate)
    rollback = act(
        "rollback", "end the canary, or let the version before decide again", "rollback --comment 'too many'"
    )
    rollback.add_argument("version", nargs="?", help="only if this is what would be taken back")
    _who(rollback)
    history = act("history", "who did what with strategies, when and why", "history")
    history.add_argument("version", nargs="?")
    export = act("export", "write a version's files, exactly as they were submitted", "export VERSION drafts/again")
    export.add_argument("version")
    export.add_argument("folder", type=Path, help="must not exist, or be empty")


def run_governance_act(args: argparse.Namespace) -> int:
    """Does one act. Raises ActRefused, VersionUnknown, SwitchRefused, StrategyInvalid, BusUnavailable."""
    settings = read_settings(os.environ)
    if args.act == "diff" and args.after is not None and all(Path(each).exists() for each in (args.before, args.after)):
        return asyncio.run(_folders_differ(args, settings))
    asyncio.run(_at_desk(args, settings))
    return 0


async def _at_desk(args: argparse.Namespace, settings: Settings) -> None:
    async with open_governance(settings) as opened:
        await _ACTS[args.act](opened, args)


async def _folders_differ(args: argparse.Namespace, settings: Settings) -> int:
    """Two folders are compared without any server."""
    files = CheckedStrategyFiles(open_strategy_versions(settings), load_strategy_texts, strategy_document)
    found = await files.compare(read_folder(Path(args.before)), read_folder(Path(args.after)))
    print("\n".join(diff_lines(found, with_files=not args.no_files)))
    return 0


async def _diff(opened: OpenDesk, args: argparse.Namespace) -> None:
    names = [args.before, args.after] if args.after else [opened.desk.active_version() or "", args.before]
    before, after = [await _named(opened, name) for name in names]
    found = await opened.desk.diff(before, after)
    print("\n".join(diff_lines(found, with_files=not args.no_files)))


async def _submit(opened: OpenDesk, args: argparse.Namespace) -> None:
    record = await opened.desk.submit(read_folder(args.path), actor=args.actor, comment=args.comment, title=args.title)
    print(f"{record.version} is submitted; {record.checks['strategy_check'].splitlines()[0]}")


async def _simulate(opened: OpenDesk, args: argparse.Namespace) -> None:
    settings = read_settings(os.environ)
    against = args.against or opened.desk.active_version() or ""
    asked = SimulationAsked(
        files=await _named(opened, args.what),
        against=await _named(opened, against),
        actor=args.actor,
        day=args.day,
        day_count=args.day_count,
    )
    checked = await opened.desk.check(asked.files)
    work = SimulationProcess(
        archive=settings.archive_path,
        models=settings.model_path,
        attribution_seconds=settings.attribution_seconds,
        processes=os.cpu_count() or 1,
    )
    report = await work(asked, lambda stage, done, total: print(f"{stage}: {done:,} of {total:,}", flush=True))
    summary = summary_of(orjson.loads(report.document), checked.name, sha256(report.document).hexdigest())
    await opened.desk.record_simulation(summary, actor=args.actor, comment=args.comment)
    if args.html is not None:
        args.html.write_bytes(report.page)
    print(f"{summary.version} beside {summary.compared_with}: {summary.decisions:,} decisions; the history has it")


async def _approve(opened: OpenDesk, args: argparse.Namespace) -> None:
    await opened.desk.approve(args.version, actor=args.actor, comment=args.comment)
    print(f"{args.version} is approved; kairos strategy activate {args.version} makes it decide")


async def _decline(opened: OpenDesk, args: argparse.Namespace) -> None:
    await opened.desk.decline(args.version, actor=args.actor, comment=args.comment)
    print(f"{args.version} is declined")


async def _retire(opened: OpenDesk, args: argparse.Namespace) -> None:
    await opened.desk.retire(args.version, actor=args.actor, comment=args.comment)
    print(f"{args.version} is retired")


async def _activate(opened: OpenDesk, args: argparse.Namespace) -> None:
    decides = await opened.desk.activate(args.version, actor=args.actor, share=args.share, comment=args.comment)
    print(f"{args.version} decides {'for everybody' if decides.share is None else f'for {decides.share:.0%}'}")


async def _rollback(opened: OpenDesk, args: argparse.Namespace) -> None:
    decides = await opened.desk.rollback(actor=args.actor, comment=args.comment, version=args.version)
    print(f"{decides.version} decides for everybody again")


async def _history(opened: OpenDesk, args: argparse.Namespace) -> None:
    print("\n".join(history_lines(opened.desk.state(), args.version)) or "nobody has done anything yet")


async def _export(opened: OpenDesk, args: argparse.Namespace) -> None:
    files = await opened.desk.files(args.version)
    write_folder(args.folder, files)
    print(f"{len(files)} files in {args.folder}")


_ACTS: Mapping[str, Callable[[OpenDesk, argparse.Namespace], Awaitable[None]]] = {
    "diff": _diff,
    "submit": _submit,
    "simulate": _simulate,
    "approve": _approve,
    "decline": _decline,
    "retire": _retire,
    "activate": _activate,
    "rollback": _rollback,
    "history": _history,
    "export": _export,
}
GOVERNANCE_ACTS = frozenset(_ACTS)


async def _named(opened: OpenDesk, name: str) -> Files:
    """The files of a folder or file, a draft, or a version."""
    path = Path(name)
    if await asyncio.to_thread(path.exists):
        return read_folder(path)
    return await (opened.desk.draft_files(name) if name in opened.desk.state().drafts else opened.desk.files(name))


def read_folder(path: Path) -> dict[str, str]:
    """The files of a strategy by name, as texts that give the same bytes again. Raises FilesUnreadable."""
    found = [path] if path.is_file() else sorted(each for each in _listed(path) if each.suffix in _SUFFIXES)
    texts = {}
    for file in found:
        try:
            texts[file.name] = file.read_bytes().decode()
        except OSError as error:
            raise FilesUnreadable(f"{file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise FilesUnreadable(f"{file}: is not UTF-8 (at byte {error.start})") from error
    return texts


def write_folder(folder: Path, files: Files) -> None:
    """The exact bytes. Raises FilesUnreadable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FilesUnreadable(f"{folder}: is not empty")
        for name, text in files.items():
            (folder / name).write_bytes(text.encode())
    except OSError as error:
        raise FilesUnreadable(f"{folder}: {error.strerror}") from error


def _listed(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError as error:
        raise FilesUnreadable(f"{path}: {error.strerror}") from error


def _who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--actor", default=getpass.getuser(), help="who does this (default: you)")
    parser.add_argument("--comment", help="why, for the history")
