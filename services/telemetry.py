"""Traces over HTTP, Kafka and Redis, where they are switched on (`KAIROS_TRACE_ENDPOINT`, extra `telemetry`).

Switched off nothing is imported and nothing wrapped, so that it costs nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.api.front_door import AsgiApp
from services.ports import SettingsInvalid
from services.settings import Settings

Wrap = Callable[[AsgiApp], AsgiApp]


@contextmanager
def tracing(settings: Settings, role: str) -> Iterator[Wrap]:
    """While it lasts, what the role does is traced; answers what to wrap an application in. Raises SettingsInvalid
    where the extra is not installed."""
    if not settings.trace_endpoint:
        yield lambda app: app
        return
    try:
        from services.telemetry_spans import exporting, instrumented
    except ImportError as error:
        raise SettingsInvalid("KAIROS_TRACE_ENDPOINT: needs the extra telemetry (opentelemetry-sdk)") from error
    with exporting(settings.trace_endpoint, settings.trace_share, role) as provider, instrumented(provider) as wrap:
        yield wrap
