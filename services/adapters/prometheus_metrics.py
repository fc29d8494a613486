"""Prometheus metrics: the names of the public contract, with the labels each of them has.

A role runs on one event loop, so series are plain lists and dictionaries without locks; prometheus_client
supplies the metric families and the exposition format. That makes an observation in the decision path cost a
dictionary lookup and a bisection.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

PREFIX = "kairos_"
SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)
"""Bounds for a whole decision; 100 ms is the default deadline."""
STAGE_SECONDS = (0.00001, 0.00003, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1)
BATCH_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
AGE_SECONDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0)
PROBABILITIES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0)
DELAY_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Bounds for what goes over the bus: a contact is wanted within a second of its event."""
MAX_SERIES = 20_000
"""Series of one metric: beyond it something unbounded has become a label, and the new series is dropped."""

_MOST_SUMS = 64
"""Lists of series summed as arrays; beyond them all are handed to their series, and begun again."""

Labels = tuple[str, ...]
_Sum = tuple[Sequence[Labels], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric's kind by its `bounds` (a histogram has them) or `kind`, its labels and its help text."""

    kind: str
    labels: Labels
    text: str
    bounds: tuple[float, ...] = ()


CONTRACT: Mapping[str, Declared] = MappingProxyType(
    {
        "decision_seconds": Declared(
            "histogram", ("channel", "outcome"), "Time from the request's arrival to its answer", SECONDS
        ),
        "decision_stage_seconds": Declared("histogram", ("stage",), "Time in one stage of a decision", STAGE_SECONDS),
        "decisions_total": Declared("counter", ("channel", "arm"), "Decisions made"),
        "rejections_total": Declared("counter", ("stage", "rule"), "Candidates rejected"),
        "fallbacks_total": Declared("counter", ("placement", "cause"), "Placements answered with their fallback"),
        "degraded_total": Declared("counter", ("cause",), "Decisions made with something missing"),
        "records_unkept_total": Declared("counter", ("where",), "Decision records that store or bus did not take"),
        "records_recovered_total": Declared("counter", (), "Decision records published for a node that had died"),
        "shed_total": Declared("counter", ("reason", "priority"), "Requests refused to protect the others"),
        "concurrency_limit": Declared("gauge", (), "Decisions and responses that may be under way at once now"),
        "loop_turn_seconds": Declared(
            "gauge",
            (),
            "Whole turn of the loop, a mean weighted by time, over the last 50 ms or more with hot requests",
        ),
        "circuit_open": Declared(
            "gauge", ("dependency",), "1 while a dependency is not asked because it hangs or fails"
        ),
        "circuit_opened_total": Declared("counter", ("dependency",), "Times a dependency was found to hang or fail"),
        "requests_failed_total": Declared("counter", ("route", "status"), "Requests answered with a server error"),
        "signing_keys": Declared("gauge", (), "Keys that access tokens may be signed with"),
        "revocations_read_total": Declared("counter", ("outcome",), "Readings of the list of the revoked"),
        "signing_key_fetches_total": Declared("counter", ("outcome",), "Fetches of the keys of access tokens"),
        "responses_total": Declared("counter", ("outcome",), "Responses recorded"),
        "events_applied_total": Declared("counter", ("type",), "Events folded into customer state"),
        "events_duplicate_total": Declared("counter", ("type",), "Events seen before and skipped"),
        "events_dead_lettered_total": Declared("counter", ("reason",), "Records that could not be applied"),
        "events_refused_total": Declared("counter", ("type",), "Events of customers who have been erased"),
        "state_conflicts_total": Declared("counter", (), "States that another builder wrote first, folded again"),
        "state_rewinds_total": Declared("counter", ("topic",), "Partitions read again because the store lost writes"),
        "events_late_total": Declared("counter", ("type",), "Events older than the longest window"),
        "ingest_batch_seconds": Declared("histogram", (), "Time to fold and store one batch of events", BATCH_SECONDS),
        "model_refusals_total": Declared("counter", ("model",), "Models that could not be loaded and were refused"),
        "model_compiled": Declared("gauge", ("model", "form"), "1 for the form a model's trees are walked by now"),
        "model_shadow_total": Declared("counter", ("model", "outcome"), "Decisions put to a model in the shadow"),
        "apply_delay_seconds": Declared(
            "histogram", (), "From a record's arrival on the bus to its state, the slowest of each batch", DELAY_SECONDS
        ),
        "event_lag_seconds": Declared("gauge", ("topic",), "Age of the newest event applied"),
        "bus_lag_records": Declared("gauge", ("topic",), "Records of the partitions owned that are not applied yet"),
        "feature_age_seconds": Declared(
            "histogram", (), "Age of a customer's newest event at decision time", AGE_SECONDS
        ),
        "ledger_reservations_total": Declared("counter", ("outcome",), "Contacts reserved or refused by the ledger"),
        "volume_remaining": Declared("gauge", ("resource",), "What is left of a limited resource"),
        "model_score": Declared("histogram", ("model", "version"), "Propensities of offered options", PROBABILITIES),
        "model_calibration_error": Declared("gauge", ("model", "version"), "Expected calibration error"),
        "feature_psi": Declared("gauge", ("model", "feature"), "Population stability index against training"),
        "arm_reward_total": Declared("counter", ("arm", "outcome"), "Reward by experiment arm"),
        "streams_open": Declared("gauge", (), "Streams to screens that are open"),
        "stream_dropped_total": Declared("counter", ("reason",), "Outbound records that no stream gets"),
        "stream_cut_off_total": Declared("counter", ("reason",), "Streams ended because their reader was too slow"),
        "trigger_firings_total": Declared("counter", ("trigger", "outcome"), "What became of what triggers fired"),
        "trigger_delay_seconds": Declared(
            "histogram", (), "From an event's arrival on the bus to the contact's publication", DELAY_SECONDS
        ),
        "trigger_memory_dropped_total": Declared("counter", (), "What trigger memories had no room for"),
        "outbound_published_total": Declared("counter", ("channel",), "Triggered contacts published for delivery"),
        "online_posterior_age_seconds": Declared("gauge", (), "Age of the newest response that beliefs were made from"),
        "online_refreshes_total": Declared("counter", ("outcome",), "Readings of the evidence of online learning"),
        "online_cells_read_total": Declared("counter", ("reading",), "Cells of evidence read: whole or what changed"),
        "kill_switch_engaged": Declared("gauge", ("kind", "name"), "1 for what is stopped, 0 for what was"),
        "control_followed": Declared("gauge", (), "1 while the control topic is read to its end, else 0"),
        "strategy_share": Declared("gauge", ("version",), "Share of the customers that a canary decides for"),
        "governance_acts": Declared(
            "gauge", (), "Acts of governance that took effect, as this node has read the chain"
        ),
        "governance_faults": Declared("gauge", (), "What shows that the chain of acts is not what it was; 0 is sound"),
        "strategy_info": Declared("gauge", ("version",), "1 for the strategy that decides now"),
    }
)


DROPPED = "series_dropped_total"
"""What every page tells of itself: observations of series beyond the bound, by metric."""


@dataclass(slots=True)
class _Histogram:
    """Observations by bucket (not cumulated) and their sum."""

    counts: list[int]
    total: float = 0.0


@dataclass(slots=True)
class _Series:
    """All series of one metric by label values."""

    declared: Declared
    numbers: dict[Labels, float] = field(default_factory=dict)
    histograms: dict[Labels, _Histogram] = field(default_factory=dict)


class PrometheusMetrics(Collector):
    """Implements `ports.Metrics`. An undeclared name or label is a programming error and raises KeyError."""

    def __init__(self, declared: Mapping[str, Declared] = CONTRACT) -> None:
        self._series = {name: _Series(metric) for name, metric in declared.items()}
        self._sums: dict[tuple[str, int], _Sum] = {}
        dropped = Declared("counter", ("metric",), "Observations without a series: their metric has too many")
        self._series[DROPPED] = _Series(dropped)
        for series in self._series.values():
            if series.declared.kind == "counter" and not series.declared.labels:
                series.numbers[()] = 0.0  # what is born at 1 has never risen, to whoever watches for a rise
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        for process_metrics in (ProcessCollector, PlatformCollector, GCCollector):
            process_metrics(registry=self._registry)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Adds one observation to a histogram."""
        series = self._series[name]
        self._observe(name, series, _key(series.declared, labels), value)

    def observe_each(self, name: str, observations: Sequence[tuple[str, float]]) -> None:
        """Adds to a histogram with one label an observation for each of these values of it. Raises KeyError for a
        histogram with another number of labels."""
        series = self._series[name]
        if len(series.declared.labels) != 1:
            raise KeyError(f"labels are {series.declared.labels}, not one")
        for label, value in observations:
            self._observe(name, series, (label,), value)

    def _observe(self, name: str, series: _Series, key: Labels, value: float) -> None:
        histogram = series.histograms.get(key)
        if histogram is None:
            if len(series.histograms) >= MAX_SERIES:
                self.count(DROPPED, metric=name)
                return
            histogram = series.histograms[key] = _Histogram([0] * (len(series.declared.bounds) + 1))
        histogram.counts[bisect_left(series.declared.bounds, value)] += 1
        histogram.total += value

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Raises a counter."""
        self._raise(name, _key(self._series[name].declared, labels), amount)

    def count_each(self, name: str, series: Sequence[Labels], amounts: NDArray[np.int64]) -> None:
        """Raises many counters of one name by as much each. They are summed as an array and become series when the
        page is asked for: a decision over a thousand offers raises a thousand."""
        held = self._sums.get((name, id(series)))  # holding the list keeps its identity
        if held is not None:
            np.add(held[1], amounts, out=held[1])
            return
        if len(self._series[name].declared.labels) != len(next(iter(series), self._series[name].declared.labels)):
            raise KeyError(f"labels are {self._series[name].declared.labels}, not {series[0]}")
        if len(self._sums) >= _MOST_SUMS:
            self._sum_up()
        self._sums[name, id(series)] = series, amounts.astype(np.int64)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Sets a gauge."""
        series = self._series[name]
        key = _key(series.declared, labels)
        if key in series.numbers or len(series.numbers) < MAX_SERIES:
            series.numbers[key] = value
        else:
            self.count(DROPPED, metric=name)

    def forget(self, name: str, **labels: str) -> None:
        """Ends every series of a gauge or counter that has these labels, whatever its others: what is no longer so
        must not stand there, and versions come and go."""
        series = self._series[name]
        places = {series.declared.labels.index(label): value for label, value in labels.items()}
        for key in [key for key in series.numbers if all(key[place] == value for place, value in places.items())]:
            del series.numbers[key]

    def exposition(self) -> tuple[bytes, str]:
        """Everything in the text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """The families, for prometheus_client."""
        self._sum_up()
        for name, series in self._series.items():
            yield _family(name, series)

    def _raise(self, name: str, key: Labels, amount: float) -> None:
        numbers = self._series[name].numbers
        before = numbers.get(key)
        if before is not None:
            numbers[key] = before + amount
        elif len(numbers) < MAX_SERIES:
            numbers[key] = float(amount)
        else:
            self.count(DROPPED, metric=name)

    def _sum_up(self) -> None:
        """Hands what was summed as arrays to its series."""
        sums, self._sums = self._sums, {}
        for (name, _), (series, amounts) in sums.items():
            for place in np.flatnonzero(amounts).tolist():
                self._raise(name, series[place], int(amounts[place]))


def _key(declared: Declared, labels: Mapping[str, str]) -> Labels:
    if tuple(labels) == declared.labels:
        return tuple(labels.values())
    if len(labels) != len(declared.labels):
        raise KeyError(f"labels are {declared.labels}, not {tuple(labels)}")
    return tuple([labels[name] for name in declared.labels])


def _family(name: str, series: _Series) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    declared = series.declared
    if declared.kind == "histogram":
        histograms = HistogramMetricFamily(PREFIX + name, declared.text, labels=declared.labels)
        for labels, histogram in series.histograms.items():
            histograms.add_metric(labels, _cumulated(declared.bounds, histogram), sum_value=histogram.total)
        return histograms
    kind = CounterMetricFamily if declared.kind == "counter" else GaugeMetricFamily
    family = kind(PREFIX + name, declared.text, labels=declared.labels)
    for labels, number in series.numbers.items():
        family.add_metric(labels, number)
    return family


def _cumulated(bounds: tuple[float, ...], histogram: _Histogram) -> list[tuple[str, float]]:
    buckets, below = [], 0
    for bound, count in zip((*map(str, bounds), "+Inf"), histogram.counts, strict=True):
        below += count
        buckets.append((bound, float(below)))
    return buckets
