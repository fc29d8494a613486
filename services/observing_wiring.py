"""What the observing pages read of the archive, wired to the process that reads it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from event_schemas.codec import Event
from models.drift.findings import DriftReport
from models.evaluation.experiments import ExperimentResult
from models.registry import ModelRegistry
from services.adapters.control_topic import Handler
from services.adapters.reading_process import ReadingProcess
from services.adapters.redis_client import RedisClient
from services.adapters.redis_volume_holds import RedisVolumeHolds
from services.adapters.redis_volume_leases import VOLUME_LIBRARY, VolumeKeys
from services.api.runtime import ResultPorts
from services.observing_reads import Places, read_drift, read_experiments, read_funnel
from services.settings import Settings
from services.use_cases.make_decision import Live
from services.use_cases.models_now import MODEL_ACTS, ModelsNow
from services.use_cases.observing.funnel_log import FunnelLog
from services.use_cases.observing.model_health import ModelDesk
from services.use_cases.observing.results_period import Period
from services.use_cases.observing.volumes import PricesNow, VolumeDesk

PRICES = "nbo.control.prices.set"
FUNNEL_SECONDS, JUDGING_SECONDS = 120.0, 300.0


class ArchiveReports:
    """Implements `observing.results_reading.LogReading`; `live` answers what decides now."""

    def __init__(self, places: Places, process: ReadingProcess, live: Callable[[], Live]) -> None:
        self._places = places
        self._process = process
        self._live = live

    async def funnel_log(self, period: Period) -> FunnelLog:
        """The period's requests."""
        segments = {segment.name: segment.attribute for segment in self._live().prepared.strategy.segments}
        return await self._process.run(FUNNEL_SECONDS, read_funnel, self._places, period, segments)

    async def experiments(self, period: Period) -> list[ExperimentResult]:
        """The arms of the period's requests, judged as `kairos experiments report` judges them."""
        version = self._live().prepared.strategy.version
        return await self._process.run(JUDGING_SECONDS, read_experiments, self._places, period, version)

    async def drift(self, version: str) -> DriftReport:
        """What has moved since the version was made, as `kairos models drift` says it."""
        active = self._live().prepared.strategy.version
        return await self._process.run(JUDGING_SECONDS, read_drift, self._places, version, active)


@dataclass(frozen=True, slots=True)
class ControlHeard:
    """What the pages show of the control topic: the newest prices, and what was said about models."""

    prices: PricesNow = field(default_factory=PricesNow)
    models: ModelsNow = field(default_factory=ModelsNow)

    def beside(self, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """The handlers, with ours told of the same events before them."""
        ours: dict[str, Handler] = {PRICES: self.prices.note, **dict.fromkeys(MODEL_ACTS, self.models.note)}
        both = {name: _both(mine, handlers.get(name)) for name, mine in ours.items()}
        return {**handlers, **both}


def _both(first: Handler, second: Handler | None) -> Handler:
    async def handle(event: Event) -> None:
        await first(event)
        if second is not None:
            await second(event)

    return handle


@asynccontextmanager
async def open_results(settings: Settings, live: Callable[[], Live], heard: ControlHeard) -> AsyncIterator[ResultPorts]:
    """What the pages about results, volumes and models need; the process that reads the archive ends on leaving."""
    async with (
        RedisClient.open(settings.redis_url, library=VOLUME_LIBRARY) as client,
        open_reports(settings, live) as reports,
    ):
        pools = RedisVolumeHolds(client, VolumeKeys(settings.namespace))
        yield ResultPorts(
            log=reports,
            volumes=VolumeDesk(pools=pools, prices=heard.prices, fresh_ms=settings.prices_fresh_seconds * 1000),
            models=ModelDesk(
                registry=ModelRegistry(settings.model_path),
                acts=heard.models,
                reports=settings.report_path,
                proposal_days=settings.proposal_days,
            ),
        )


@asynccontextmanager
async def open_reports(settings: Settings, live: Callable[[], Live]) -> AsyncIterator[ArchiveReports]:
    """The reports over the archive; their process ends on leaving."""
    places = Places(
        archive=settings.archive_path,
        strategies=settings.strategy_archive,
        models=settings.model_path,
        attribution_seconds=settings.attribution_seconds,
    )
    process = ReadingProcess()
    try:
        yield ArchiveReports(places, process, live)
    finally:
        await process.close()
