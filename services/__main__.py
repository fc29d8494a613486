"""The `kairos` command: one program, several roles and tasks."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from decision_engine.errors import DecisionEngineError
from models.errors import ModelsError
from services.adapters.arrow_memory import choose_allocator
from services.ports import ShellError

COMMANDS = {
    "dev": "services.commands.dev",
    "api": "services.commands.api",
    "state-builder": "services.commands.state_builder",
    "learner": "services.commands.learner",
    "archiver": "services.commands.archiver",
    "pacer": "services.commands.pacer",
    "deliver": "services.commands.deliver",
    "attributor": "services.commands.attributor",
    "guard": "services.commands.guard",
    "online-learner": "services.commands.online_learner",
    "attribution": "services.commands.attribution",
    "topics": "services.commands.topics",
    "settings": "services.commands.settings",
    "doctor": "services.commands.doctor",
    "backup": "services.commands.backup",
    "restore": "services.commands.restore",
    "strategy": "services.commands.strategy",
    "audit": "services.commands.audit",
    "dictionary": "services.commands.dictionary",
    "schemas": "services.commands.schemas",
    "explain": "services.commands.explain",
    "erase": "services.commands.erase",
    "export-person": "services.commands.export_person",
    "rebuild": "services.commands.rebuild",
    "replay-check": "services.commands.replay_check",
    "replay": "services.commands.replay",
    "import": "services.commands.import_decisions",
    "simulate": "services.commands.simulate",
    "traffic": "services.commands.traffic",
    "verify": "services.commands.verify",
    "models": "services.commands.models",
    "train": "services.commands.train",
    "snapshot": "services.commands.snapshot",
    "churn": "services.commands.churn",
    "evaluate": "services.commands.evaluate",
    "experiments": "services.commands.experiments",
}
"""Command to module; a module is imported only when its command is asked for, so that `--help` is quick."""


class Command(Protocol):
    """What a command module offers."""

    NAME: str
    HELP: str
    EXAMPLE: str

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None: ...

    @staticmethod
    def run(args: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; exit status 0 only on success. Expected failures are one message on standard error."""
    choose_allocator(os.environ)
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(arguments)
    args = parser.parse_args(arguments)
    try:
        return cast("int", args.run(args))
    except (ShellError, DecisionEngineError, ModelsError) as error:
        print(f"kairos {args.command}: {str(error) or type(error).__doc__}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kairos", description="Real-time next-best-offer decisions for banks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = next((a for a in arguments if a in COMMANDS), None)
    for name, module in COMMANDS.items():
        if named in (None, name):
            _add(commands, name, _load(module))
    return parser


def _add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, command: Command) -> None:
    parser = commands.add_parser(
        name,
        help=command.HELP,
        description=command.HELP,
        epilog=f"example:\n  {command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)


def _load(module: str) -> Command:
    return cast("Command", importlib.import_module(module))


if __name__ == "__main__":
    sys.exit(main())
