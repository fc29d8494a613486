"""How a role runs: by the settings of the environment, its metrics on a page, until the process is told to stop."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping

from services.adapters.metrics_page import metrics_page
from services.adapters.prometheus_metrics import CONTRACT, Declared, PrometheusMetrics
from services.bootstrap import configure_logging
from services.commands.stopping import stop_on_signals
from services.settings import Settings, read_settings

Work = Callable[[Settings, PrometheusMetrics, asyncio.Event], Awaitable[None]]
"""What a role does until the event is set."""
Service = Callable[[Settings, asyncio.Event], Awaitable[None]]
"""What a role does that shows its metrics itself."""
_log = logging.getLogger(__name__)


def run_role(work: Work, metrics: Mapping[str, Declared] = CONTRACT, *, on_uvloop: bool = False) -> int:
    """Runs until SIGTERM or SIGINT, with these metrics on the page of the settings. Answers the process' status; raises
    what the work raises, SettingsInvalid, and OSError when the page's port is taken."""

    async def with_page(settings: Settings, stop: asyncio.Event) -> None:
        collected = PrometheusMetrics(metrics)
        async with metrics_page(settings.host, settings.metrics_port, collected.exposition):
            await work(settings, collected, stop)
        _log.info("stopped", extra={"action": "stop"})

    return run_until_stopped(with_page, on_uvloop=on_uvloop)


def run_until_stopped(service: Service, *, on_uvloop: bool = False) -> int:
    """Runs until SIGTERM or SIGINT. Answers the process' status; raises what the service raises, SettingsInvalid."""
    settings = read_settings(os.environ)
    configure_logging(settings)

    async def stoppable() -> None:
        await service(settings, stop_on_signals())

    with asyncio.Runner(loop_factory=_uvloop() if on_uvloop else None) as runner:
        runner.run(stoppable())
    return 0


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop

    return uvloop.new_event_loop
