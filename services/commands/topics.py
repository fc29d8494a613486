"""`kairos topics`: creates the topics that are missing."""

import argparse
import asyncio
import os

from event_schemas.topics import ALL_TOPICS
from services.adapters.kafka_topics import ensure_topics
from services.bus_wiring import bus_security, wanted_topics
from services.settings import Settings, read_settings

NAME = "topics"
HELP = "create the topics that are missing, all with the same number of partitions"
EXAMPLE = "KAIROS_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092 kairos topics"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none: brokers, partitions and replication are settings."""
    parser.set_defaults()


def run(_: argparse.Namespace) -> int:
    """Creates them and says which. Raises BusUnavailable."""
    created = asyncio.run(create(read_settings(os.environ)))
    for name in created:
        print(f"created {name}")
    print(f"{len(ALL_TOPICS)} topics stand, {len(created)} of them new")
    return 0


async def create(settings: Settings) -> list[str]:
    """Creates what is missing on the settings' brokers."""
    return await ensure_topics(
        settings.kafka_bootstrap_servers,
        wanted_topics(settings),
        partitions=settings.kafka_partitions,
        replication=settings.kafka_replication,
        security=bus_security(settings),
    )
