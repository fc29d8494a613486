"""The use cases that more than one way in shares, built from the runtime's ports."""

from services.api.runtime import ApiRuntime
from services.use_cases.make_decision import DecisionPorts, MakeDecision
from services.use_cases.record_response import RecordResponse
from services.use_cases.suitability_rematch import SuitabilityRematch


def decision_maker(runtime: ApiRuntime) -> MakeDecision:
    """Decides as `POST /v1/decisions` does."""
    return MakeDecision(
        DecisionPorts(
            live=runtime.live,
            store=runtime.store,
            ledger=runtime.ledger,
            publisher=runtime.publisher,
            clock=runtime.clock,
            ids=runtime.ids,
            metrics=runtime.metrics,
            volumes=runtime.volumes,
            keeper=runtime.keeper,
            shadows=runtime.shadows,
            online=runtime.online,
            switches=runtime.switches or (lambda: ()),
            live_for=runtime.live_for,
        )
    )


def response_recorder(runtime: ApiRuntime) -> RecordResponse:
    """Takes responses as `POST /v1/responses` does."""
    return RecordResponse(
        store=runtime.store,
        ledger=runtime.ledger,
        publisher=runtime.publisher,
        clock=runtime.clock,
        metrics=runtime.metrics,
        rematch=SuitabilityRematch(store=runtime.store, live=runtime.live),
    )
