"""What the pages about results ask for, read once for all who look within a minute."""

from models.drift.findings import DriftReport
from models.evaluation.experiments import ExperimentResult
from services.ports import Clock
from services.use_cases.attribution_report import AttributionQuery, AttributionReport, AttributionReports
from services.use_cases.observing.funnel_log import FunnelLog
from services.use_cases.observing.results_period import Period
from services.use_cases.observing.results_reading import KEPT_MS, LONG_KEPT_MS, AsOf, Kept, LogReading


class ResultsDesk:
    """Keeps readings of the archive for as long as they are worth showing again."""

    def __init__(self, log: LogReading, clock: Clock) -> None:
        self._log = log
        self._logs: Kept[FunnelLog] = Kept(clock, KEPT_MS)
        self._arms: Kept[list[ExperimentResult]] = Kept(clock, LONG_KEPT_MS)
        self._credits: Kept[AttributionReport] = Kept(clock, KEPT_MS)
        self._drift: Kept[DriftReport] = Kept(clock, LONG_KEPT_MS, most=32)

    async def funnel_log(self, period: Period, strategy_version: str) -> AsOf[FunnelLog]:
        """The period's requests; segments are those of the strategy. Raises what `LogReading` does."""
        return await self._logs.get((period.key, strategy_version), lambda: self._log.funnel_log(period))

    async def experiments(self, period: Period, strategy_version: str) -> AsOf[list[ExperimentResult]]:
        """The arms of the period's requests, by the strategy's values. Raises what `LogReading` does."""
        return await self._arms.get((period.key, strategy_version), lambda: self._log.experiments(period))

    async def credits(self, reports: AttributionReports, query: AttributionQuery) -> AttributionReport:
        """What conversions are credited to. Raises ReportTooLarge, ArchiveBusy."""
        return (await self._credits.get(query, lambda: reports.attribution(query))).found

    async def drift(self, model_version: str) -> AsOf[DriftReport]:
        """What has moved since the model version was made. Raises what `LogReading` does."""
        return await self._drift.get(model_version, lambda: self._log.drift(model_version))
