"""`kairos api`: serves decisions, responses and the pages."""

import argparse
import asyncio
import os
import socket
from dataclasses import replace

from services.access_wiring import tls_files
from services.adapters.metrics_page import metrics_page
from services.adapters.process_group import ProcessGroup
from services.api.app import create_app
from services.api.leaving import Leaving
from services.api.server import Leave, ServerLimits, bind, serve
from services.api.tls import tls_context
from services.bootstrap import LoadedStrategy, configure_logging, load_strategy, open_api
from services.commands.running_role import run_until_stopped
from services.settings import Settings, read_settings
from services.telemetry import tracing

NAME = "api"
HELP = "serve decisions and responses over HTTP"
EXAMPLE = "KAIROS_STRATEGY_PATH=deploy/strategies/demo_bank kairos api"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none: where and how it serves are settings."""
    parser.set_defaults()


def run(_: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C, then drains; in as many processes as the settings say, which take connections
    from one socket."""
    settings = read_settings(os.environ)
    if settings.api_processes == 1:
        return run_until_stopped(_serve, on_uvloop=True)
    configure_logging(settings)
    listener, loaded = bind(settings.host, settings.port), load_strategy(settings)

    def serve_one(number: int) -> int:
        async def serving(settings: Settings, stop: asyncio.Event) -> None:
            await _serve(_of_process(settings, number), stop, listener, loaded)

        return run_until_stopped(serving, on_uvloop=True)

    return ProcessGroup(settings.api_processes, serve_one).run()


def _of_process(settings: Settings, number: int) -> Settings:
    """The metrics of each process are on a page of their own."""
    return replace(settings, metrics_port=settings.metrics_port and settings.metrics_port + number)


async def _serve(
    settings: Settings,
    stop: asyncio.Event,
    listener: socket.socket | None = None,
    loaded: LoadedStrategy | None = None,
) -> None:
    files = tls_files(settings)
    limits = ServerLimits(tls=None if files is None else tls_context(files))
    listener = listener or bind(settings.host, settings.port)
    with tracing(settings, NAME) as traced:
        async with (
            open_api(settings, loaded) as runtime,
            metrics_page(settings.host, settings.metrics_port, runtime.exposition),
        ):
            leaving = Leaving()
            app = create_app(replace(runtime, checks={**runtime.checks, "staying": leaving.check}))
            leave = Leave(notice_s=settings.drain_notice_seconds, on_notice=leaving.begin)
            if runtime.outbound is not None:
                leave = replace(leave, on_stopping=runtime.outbound.end)
            limits = replace(limits, gate=runtime.gate)
            await serve(traced(app), listener, stop=stop, leave=leave, limits=limits)
