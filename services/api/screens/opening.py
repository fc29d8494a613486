"""Opening a customer at a screen: whether the person may see them, why, and a line in the log that says so."""

import logging

from services.api.authentication import Client
from services.api.customer_guard import CustomerGuard
from services.api.errors import FORBIDDEN, INVALID, UNAVAILABLE, ApiError
from services.api.runtime import ApiRuntime
from services.ports import AccessReasons

REASONS = ("customer_asked", "lead", "complaint", "follow_up", "correction")
"""Why a person may open a customer; words, so that nothing of the customer is written into logs."""
REASON_SECONDS = 8 * 3_600
"""A working day: then the person has to say it again."""
NONE_NEEDED = "none_needed"
_log = logging.getLogger("services.access")


class ReasonNeeded(ApiError):
    """The person has to say why, first."""

    def __init__(self) -> None:
        super().__init__(FORBIDDEN, "Say first why you open this customer.")


class Opening:
    """Asked before anything of a customer is shown to a person."""

    def __init__(self, runtime: ApiRuntime) -> None:
        self._guard = CustomerGuard.of(runtime)
        self._reasons = runtime.reasons

    async def require(self, client: Client, customer_id: str) -> str:
        """Why the person may see the customer. Raises CustomerUnknown, ReasonNeeded, StoreUnavailable."""
        await self._guard.require(client, customer_id)
        if not client.reason_needed:
            return NONE_NEEDED
        reason = await self._kept().reason(client.name, customer_id)
        if reason is None:
            raise ReasonNeeded
        return reason

    async def give(self, client: Client, customer_id: str, reason: str) -> None:
        """The person says why. Raises ApiError, StoreUnavailable."""
        if reason not in REASONS:
            raise ApiError(INVALID, f"The reason is one of {', '.join(REASONS)}.")
        await self._guard.require(client, customer_id)
        await self._kept().give_reason(client.name, customer_id, reason, REASON_SECONDS)

    def _kept(self) -> AccessReasons:
        if self._reasons is None:
            raise ApiError(UNAVAILABLE, "Reasons cannot be kept on this node, so no customer is shown.")
        return self._reasons


def note_opened(client: Client, customer_id: str, reason: str, screen: str) -> None:
    """Writes down who saw whom, where and why."""
    _log.info(
        "%s opened %s at %s: %s", client.name, customer_id, screen, reason,
        extra={"action": "customer opened", "person": client.name, "customer_id": customer_id, "screen": screen,
               "reason": reason},
    )  # fmt: skip
