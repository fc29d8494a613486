"""Whether a customer exists for a client. One that is not in its scope is answered like one that never was."""

from collections.abc import Callable
from dataclasses import dataclass, field

from decision_engine.features.snapshot import read_snapshot
from decision_engine.identifiers import CustomerId
from services.api.authentication import Client
from services.api.errors import FORBIDDEN, NOT_FOUND, ApiError
from services.api.runtime import ApiRuntime
from services.ports import Clock, DecisionStore
from services.use_cases.make_decision import Live


class CustomerUnknown(ApiError):
    """Absent and foreign alike."""

    def __init__(self) -> None:
        super().__init__(NOT_FOUND, "There is no such customer.")


@dataclass(slots=True)
class _StandIn:
    """The last state that was read, of whomever: who never was takes as long to look at as somebody."""

    layout: str = ""
    state: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerGuard:
    """Looks at a customer's profile only for clients whose scope asks for it."""

    live: Callable[[], Live]
    store: DecisionStore
    clock: Clock
    _stand_in: _StandIn = field(default_factory=_StandIn)

    @classmethod
    def of(cls, runtime: ApiRuntime) -> "CustomerGuard":
        """Over the runtime's ports."""
        return cls(live=runtime.live, store=runtime.store, clock=runtime.clock)

    async def require(self, client: Client, customer_id: str) -> None:
        """Raises CustomerUnknown where the client may not see the customer, StoreUnavailable."""
        if client.customers is not None and not await self.sees(client, customer_id):
            raise CustomerUnknown

    async def require_named(self, client: Client, customer_id: str) -> None:
        """For searches: whoever may see some customers only names one of them. Raises ApiError (forbidden) where
        none is named, CustomerUnknown, StoreUnavailable."""
        if client.customers is not None and not customer_id:
            raise ApiError(FORBIDDEN, "Name the customer: this client may not search over all of them.")
        await self.require(client, customer_id)

    async def sees(self, client: Client, customer_id: str) -> bool:
        """Whether the customer is in the client's scope. Raises StoreUnavailable."""
        scope = client.customers
        if scope is None or scope.has_id(customer_id):
            return True
        if not scope.attributes:
            return False
        live = self.live()
        reading = await (live.states or self.store).read_for_decision(CustomerId(customer_id), None)
        snapshot = read_snapshot(live.features, self._looked_at(live, reading.state), self.clock.now_ms())
        in_scope = snapshot.known and scope.has_profile(snapshot.attributes)
        return in_scope and reading.state is not None

    def _looked_at(self, live: Live, state: bytes | None) -> bytes | None:
        """The state, or what stands in for one that is not there."""
        last = self._stand_in
        if state is not None:
            last.layout, last.state = live.features.layout, state
        return last.state if last.layout == live.features.layout else state
