"""`kairos api`: serves decisions, responses and the pages."""

import argparse
import asyncio
import os

from services.api.app import create_app
from services.api.server import bind, serve
from services.bootstrap import configure_logging, open_api
from services.commands.stopping import stop_on_signals
from services.settings import Settings, read_settings

NAME = "api"
HELP = "serve decisions and responses over HTTP"
EXAMPLE = "KAIROS_STRATEGY_PATH=deploy/strategies/demo_bank kairos api"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none: where and how it serves are settings."""
    parser.set_defaults()


def run(_: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C, then drains."""
    import uvloop

    settings = read_settings(os.environ)
    configure_logging(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    stop = stop_on_signals()
    listener = bind(settings.host, settings.port)
    async with open_api(settings) as runtime:
        ending = None if runtime.outbound is None else runtime.outbound.end
        await serve(create_app(runtime), listener, stop=stop, on_stopping=ending)
