"""Every event type this system speaks: the union, the newest versions, the fields of their data."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, get_args

from pydantic import BaseModel, Discriminator, TypeAdapter

from event_schemas.business import SignalRaised
from event_schemas.channel import (
    BranchArrived,
    CallStarted,
    ComplaintClosed,
    ComplaintOpened,
    FormAbandoned,
    FormOpened,
    FormSubmitted,
    IncidentClosed,
    IncidentOpened,
    LoggedIn,
    MessageOpened,
    PageViewed,
    PointsEarned,
    PointsRedeemed,
    Searched,
)
from event_schemas.control import (
    DataExported,
    KillSwitchSet,
    ModelChallenged,
    ModelDeclined,
    ModelPromoted,
    ModelProposed,
    ModelRetired,
    ModelShadowed,
    NodeStarted,
    PricesSet,
    StrategyActivated,
    StrategyApproved,
    StrategyDeclined,
    StrategyDrafted,
    StrategyRetired,
    StrategyRolledBack,
    StrategySimulated,
    StrategySubmitted,
)
from event_schemas.conversions import ConversionAttributed
from event_schemas.decisions import DecisionMade
from event_schemas.erasures import ErasureBegun, ErasurePerformed
from event_schemas.outbound import OutboundCancelled, OutboundOffered
from event_schemas.profile import ConsentChanged, CustomerErased, ProductClosed, ProductOpened, ProfileUpdated
from event_schemas.responses import ResponseRecorded
from event_schemas.shadow_scores import ModelShadowScored
from event_schemas.transactions import TransactionPosted

Event = (
    TransactionPosted
    | LoggedIn
    | PageViewed
    | Searched
    | FormOpened
    | FormSubmitted
    | FormAbandoned
    | CallStarted
    | BranchArrived
    | MessageOpened
    | ComplaintOpened
    | ComplaintClosed
    | IncidentOpened
    | IncidentClosed
    | PointsEarned
    | PointsRedeemed
    | ProfileUpdated
    | ConsentChanged
    | CustomerErased
    | ProductOpened
    | ProductClosed
    | SignalRaised
    | ResponseRecorded
    | DecisionMade
    | OutboundOffered
    | ConversionAttributed
    | OutboundCancelled
    | NodeStarted
    | ModelDeclined
    | ModelPromoted
    | ModelProposed
    | ModelRetired
    | ModelChallenged
    | ModelShadowed
    | ModelShadowScored
    | StrategyDrafted
    | StrategySubmitted
    | StrategySimulated
    | StrategyApproved
    | StrategyDeclined
    | StrategyActivated
    | StrategyRolledBack
    | StrategyRetired
    | KillSwitchSet
    | DataExported
    | PricesSet
    | ErasureBegun
    | ErasurePerformed
)

EVENT_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Discriminator("type")])

EVENT_TYPES: Mapping[str, type[Event]] = MappingProxyType(
    {member.model_fields["type"].default: member for member in get_args(Event)}
)
"""Type name to event class."""

VERSIONS: Mapping[str, int] = MappingProxyType({**dict.fromkeys(EVENT_TYPES, 1), "bank.business.signal": 2})
"""Type name to the newest version of its data, the one decoding always yields."""


def data_model(event_type: str) -> type[BaseModel]:
    """The class of an event type's `data`. Raises KeyError for an unknown type."""
    annotation = EVENT_TYPES[event_type].model_fields["data"].annotation
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"the data of {event_type} is no model")
    return annotation
