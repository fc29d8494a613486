"""The control topic read whole, and its chain of acts judged, for commands that keep it, put it back or look at it."""

from dataclasses import dataclass

from event_schemas.topics import CONTROL
from services.adapters.control_topic import ControlTopic
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import node_identity, open_event_stream, open_publisher
from services.ports import Delivery
from services.settings import Settings
from services.use_cases.governance.chain import Chain, Head, is_chained


@dataclass(frozen=True, slots=True)
class ControlLog:
    """Every record that stands on the topic, those of a partition in their order, and how many partitions it has."""

    deliveries: list[Delivery]
    partitions: int


async def read_control(settings: Settings, role: str) -> ControlLog:
    """Reads to the end. Raises BusUnavailable, ControlUnread."""
    found: list[Delivery] = []

    async def on_record(delivery: Delivery) -> None:
        found.append(delivery)

    async with open_publisher(settings) as publisher, open_event_stream(settings, [CONTROL]) as stream:
        partitions = len(await stream.end_offsets())
        async with ControlTopic(stream, publisher, node_identity(role, UlidIds()), on_record=on_record):
            return ControlLog(list(found), partitions)


def chain_of(deliveries: list[Delivery]) -> tuple[Head, int]:
    """How far the chain of these records goes, and how many of them are faulty."""
    chain = Chain()
    faults = sum(1 for delivery in deliveries if is_chained(delivery) and chain.take(delivery.value).faulty)
    return chain.head, faults
