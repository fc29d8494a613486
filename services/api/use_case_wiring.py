"""The use cases that more than one way in shares, built from the runtime's ports."""

from decision_engine.experiment import assign_arm
from decision_engine.identifiers import CustomerId
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

    def arm_of(customer_id: CustomerId) -> str:
        prepared = runtime.live().prepared
        return assign_arm(prepared.strategy.experiment.salt, prepared.arms, customer_id).value

    return RecordResponse(
        store=runtime.store,
        ledger=runtime.ledger,
        publisher=runtime.publisher,
        clock=runtime.clock,
        metrics=runtime.metrics,
        rematch=SuitabilityRematch(store=runtime.store, live=runtime.live),
        arm_of=arm_of,
    )
