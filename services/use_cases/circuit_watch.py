"""Circuit breakers that tell: a metric for each, and a line in the log when it opens or closes."""

import logging

from services.ports import Metrics
from services.use_cases.circuit_breaker import CircuitBreaker

_log = logging.getLogger(__name__)


def watched_circuit(dependency: str, metrics: Metrics) -> CircuitBreaker:
    """A breaker for a dependency of this name (`store`, `bus`)."""

    def on_change(is_open: bool) -> None:  # noqa: FBT001 - a callback with one answer
        metrics.gauge("circuit_open", float(is_open), dependency=dependency)
        if is_open:
            metrics.count("circuit_opened_total", dependency=dependency)
        sentence = "is not asked: it hangs or fails" if is_open else "answers again"
        _log.warning("the %s %s", dependency, sentence, extra={"action": "circuit"})

    metrics.gauge("circuit_open", 0.0, dependency=dependency)
    return CircuitBreaker(on_change)
