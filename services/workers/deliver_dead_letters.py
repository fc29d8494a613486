"""Where messages go that could not be delivered: the dead-letter topic, with the receiver's name."""

from services.ports import Delivery, EventPublisher
from services.use_cases.event_batches import Unreadable
from services.workers.dead_letters import dead_letter

SOURCE = "kairos/deliver"


class DeliveryDeadLetters:
    """Sets messages of one subscription aside. What nobody can read is one dead letter for all subscriptions."""

    def __init__(self, publisher: EventPublisher, subscription: str) -> None:
        self._publisher = publisher
        self._subscription = subscription

    async def __call__(self, delivery: Delivery, reason: str, message: str) -> None:
        """Returns when the bus has acknowledged. Raises BusUnavailable."""
        whose = "" if reason == "unreadable" else self._subscription
        await self._publisher.publish([dead_letter(Unreadable(delivery, reason, message), SOURCE, whose)])
