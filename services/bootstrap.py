"""The composition root: turns settings into open adapters and hands them to a role."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.prepared import PreparedStrategy, prepare

from decision_engine.strategy import Strategy
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream, RevokedCallback
from services.settings import Settings


@dataclass(frozen=True, slots=True)
class LoadedStrategy:
    """A strategy in the three forms roles need: as declared, compiled to decide, compiled to fold and read."""

    strategy: Strategy
    prepared: PreparedStrategy
    features: CompiledFeatures


def load_strategy(settings: Settings) -> LoadedStrategy:
    """The strategy of the settings. Raises StrategyInvalid with every problem."""
    strategy = load_strategy_file(settings.strategy_path)
    return LoadedStrategy(strategy, prepare(strategy), compile_features(strategy.declarations))


def open_publisher(settings: Settings) -> KafkaEventPublisher:
    """The way onto the bus, to be entered."""
    return KafkaEventPublisher(settings.kafka_bootstrap_servers, idempotence=settings.kafka_idempotence)


def open_event_stream(
    settings: Settings, topics: Sequence[str], group_id: str | None = None, on_revoked: RevokedCallback | None = None
) -> KafkaEventStream:
    """Records of these topics, to be entered; shared with the group's members, or all of them without a group."""
    return KafkaEventStream(
        settings.kafka_bootstrap_servers,
        topics,
        group_id,
        on_revoked=on_revoked,
        session_timeout_ms=settings.kafka_session_timeout_ms,
    )


def configure_logging(settings: Settings) -> None:
    """One line an event on standard error: time, level, action, sentence. Ids only, never attributes."""
    logging.basicConfig(
        level=settings.log_level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
