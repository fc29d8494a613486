"""What a model in the shadow would have said: `nbo.model.shadow_scored`."""

from typing import Annotated, Literal

from pydantic import Field

from event_schemas.envelope import CustomerEnvelope, CustomerKey, DottedName, Identifier, Moment, OwnData, Slug

Probability = Annotated[float, Field(ge=0, le=1)]


class ShadowScores(OwnData):
    """The probabilities of a version that decided nothing, for the offers that the serving version scored in the same
    decision, on the same facts. `offers` and `scores` belong together place by place."""

    decision_id: Identifier
    customer_id: CustomerKey
    time: Moment
    """When the decision was made."""
    model: DottedName
    served_version: Identifier
    version: Identifier
    offers: Annotated[tuple[Slug, ...], Field(max_length=10_000)]
    scores: Annotated[tuple[Probability, ...], Field(max_length=10_000)]


class ModelShadowScored(CustomerEnvelope):
    """A version in the shadow scored a decision. The id is decision, model and version."""

    type: Literal["nbo.model.shadow_scored"] = "nbo.model.shadow_scored"
    data: ShadowScores
