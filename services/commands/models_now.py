"""What the control topic says the model versions are to do now, read once to its end."""

from collections.abc import Mapping

from services.adapters.control_topic import Handler
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import node_identity, open_control, open_publisher
from services.settings import Settings
from services.use_cases.models_now import MODEL_ACTS, ModelsNow

__all__ = ["ModelsNow", "models_now"]


async def models_now(settings: Settings) -> ModelsNow:
    """Reads the control topic to its end. Raises BusUnavailable, ControlUnread."""
    now = ModelsNow()
    handlers: Mapping[str, Handler] = dict.fromkeys(MODEL_ACTS, now.note)
    async with (
        open_publisher(settings) as publisher,
        open_control(settings, publisher, dict(handlers), node_identity("models", UlidIds())),
    ):
        pass
    return now.standing()
