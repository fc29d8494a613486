"""What a customer does in the bank's channels: `bank.channel.*`."""

from typing import Annotated, Literal

from pydantic import Field

from event_schemas.envelope import BankData, CustomerEnvelope, Identifier, ShortText, Slug, Whole


class ChannelData(BankData):
    """Where it happened; every channel event carries this."""

    channel: Slug | None = None
    session_id: Identifier | None = None


class Login(ChannelData):
    """How the customer got in."""

    method: Literal["password", "biometric", "voice", "sms_code", "qr"] | None = None
    large_type: bool | None = None
    """The app's large-type mode for seniors was on."""
    device_country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None


class PageView(ChannelData):
    """A page was shown."""

    page: Slug
    product: Slug | None = None
    duration_ms: Whole | None = None


class Search(ChannelData):
    """A search in the app; `topic` is what the bank's own classifier made of the words."""

    query: ShortText
    topic: Slug | None = None
    results: Whole | None = None


class Form(ChannelData):
    """A form for a product, at some step of it."""

    form: Slug
    form_id: Identifier | None = None
    product: Slug | None = None
    step: Slug | None = None


class Call(ChannelData):
    """A call to the contact centre."""

    topic: Slug | None = None
    call_id: Identifier | None = None
    queue: Slug | None = None


class BranchArrival(ChannelData):
    """The customer was recognised at a branch."""

    branch_id: Identifier
    recognised_by: Literal["card", "ticket", "app", "beacon", "staff", "face"] | None = None
    purpose: Slug | None = None


class Message(ChannelData):
    """A message of the bank was opened."""

    message_id: Identifier | None = None
    tracking_id: Identifier | None = None
    topic: Slug | None = None


class Complaint(ChannelData):
    """A complaint, by its number."""

    complaint_id: Identifier
    topic: Slug | None = None
    severity: Literal["low", "medium", "high"] | None = None
    resolution: Literal["upheld", "rejected", "settled", "withdrawn"] | None = None


class Incident(ChannelData):
    """Something went wrong for the customer (a card lost, a payment failed), by its number."""

    incident_id: Identifier
    incident: Slug
    severity: Literal["low", "medium", "high"] | None = None
    product: Slug | None = None
    resolution: Literal["solved", "replaced", "refunded", "withdrawn"] | None = None


class Points(ChannelData):
    """Reward points that came or went; `source` says for what: `card`, `payment`, `activity`, …"""

    points: Annotated[int, Field(ge=1, le=1_000_000_000)]
    source: Slug | None = None
    reward: Slug | None = None
    """What they were spent on."""


class LoggedIn(CustomerEnvelope):
    """The customer logged in."""

    type: Literal["bank.channel.login"] = "bank.channel.login"
    data: Login


class PageViewed(CustomerEnvelope):
    """The customer looked at a page."""

    type: Literal["bank.channel.page_view"] = "bank.channel.page_view"
    data: PageView


class Searched(CustomerEnvelope):
    """The customer searched."""

    type: Literal["bank.channel.search"] = "bank.channel.search"
    data: Search


class FormOpened(CustomerEnvelope):
    """A form was opened."""

    type: Literal["bank.channel.form_opened"] = "bank.channel.form_opened"
    data: Form


class FormSubmitted(CustomerEnvelope):
    """A form was submitted."""

    type: Literal["bank.channel.form_submitted"] = "bank.channel.form_submitted"
    data: Form


class FormAbandoned(CustomerEnvelope):
    """A form was left without a submit, as the channel saw it."""

    type: Literal["bank.channel.form_abandoned"] = "bank.channel.form_abandoned"
    data: Form


class CallStarted(CustomerEnvelope):
    """A call began."""

    type: Literal["bank.channel.call_started"] = "bank.channel.call_started"
    data: Call


class BranchArrived(CustomerEnvelope):
    """The customer came into a branch."""

    type: Literal["bank.channel.branch_arrival"] = "bank.channel.branch_arrival"
    data: BranchArrival


class MessageOpened(CustomerEnvelope):
    """A message was opened."""

    type: Literal["bank.channel.message_opened"] = "bank.channel.message_opened"
    data: Message


class ComplaintOpened(CustomerEnvelope):
    """A complaint came in; sales wait until it is closed."""

    type: Literal["bank.channel.complaint_opened"] = "bank.channel.complaint_opened"
    data: Complaint


class ComplaintClosed(CustomerEnvelope):
    """A complaint was closed."""

    type: Literal["bank.channel.complaint_closed"] = "bank.channel.complaint_closed"
    data: Complaint


class IncidentOpened(CustomerEnvelope):
    """Something went wrong for the customer; service comes first until it is closed."""

    type: Literal["bank.channel.incident_opened"] = "bank.channel.incident_opened"
    data: Incident


class IncidentClosed(CustomerEnvelope):
    """It has been put right."""

    type: Literal["bank.channel.incident_closed"] = "bank.channel.incident_closed"
    data: Incident


class PointsEarned(CustomerEnvelope):
    """Reward points were credited to the one account that all of the bank shares."""

    type: Literal["bank.channel.points_earned"] = "bank.channel.points_earned"
    data: Points


class PointsRedeemed(CustomerEnvelope):
    """Reward points were spent."""

    type: Literal["bank.channel.points_redeemed"] = "bank.channel.points_redeemed"
    data: Points
