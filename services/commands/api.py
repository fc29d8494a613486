"""`kairos api`: serves decisions, responses and the pages."""

import argparse
import asyncio

from services.access_wiring import tls_files
from services.adapters.metrics_page import metrics_page
from services.api.app import create_app
from services.api.server import ServerLimits, bind, serve
from services.api.tls import tls_context
from services.bootstrap import open_api
from services.commands.running_role import run_until_stopped
from services.settings import Settings
from services.telemetry import tracing

NAME = "api"
HELP = "serve decisions and responses over HTTP"
EXAMPLE = "KAIROS_STRATEGY_PATH=deploy/strategies/demo_bank kairos api"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none: where and how it serves are settings."""
    parser.set_defaults()


def run(_: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C, then drains."""
    return run_until_stopped(_serve, on_uvloop=True)


async def _serve(settings: Settings, stop: asyncio.Event) -> None:
    files = tls_files(settings)
    limits = ServerLimits(tls=None if files is None else tls_context(files))
    listener = bind(settings.host, settings.port)
    with tracing(settings, NAME) as traced:
        async with (
            open_api(settings) as runtime,
            metrics_page(settings.host, settings.metrics_port, runtime.exposition),
        ):
            ending = None if runtime.outbound is None else runtime.outbound.end
            await serve(traced(create_app(runtime)), listener, stop=stop, on_stopping=ending, limits=limits)
