"""The CloudEvents 1.0 envelope every event shares, and the bounded value types the data fields are made of."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SCHEMA_BASE = "https://schemas.kairos.example/events"
"""Where the exported schemas live; only the ending `/<type>/<version>` carries meaning."""

MAX_MINOR_UNITS = 10**15
"""Ten trillion major units: above any retail amount, and thousands of such sums still fit into 64 bits."""

_EARLIEST_YEAR, _LATEST_YEAR = 1971, 2199
_NO_MOMENT = "must be a time such as 2026-11-21T09:30:00Z"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def schema_uri(event_type: str, version: int) -> str:
    """The canonical `dataschema` of one version of an event type."""
    return f"{SCHEMA_BASE}/{event_type}/{version}"


def epoch_ms(moment: datetime) -> int:
    """An aware moment as whole epoch milliseconds, rounded down."""
    elapsed = moment - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 1000 + elapsed.microseconds // 1000


def from_epoch_ms(milliseconds: int) -> datetime:
    """Epoch milliseconds as an aware UTC moment, exactly."""
    seconds, rest = divmod(milliseconds, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)


def _moment(value: object) -> datetime:
    """Cheaper than pydantic's own parsing with checks around it; and numbers, which pydantic would take for seconds or
    milliseconds by their size, are refused. Messages never repeat the value."""
    if isinstance(value, str):
        moment = _parsed(value)
    elif isinstance(value, datetime):
        moment = value
    else:
        raise ValueError(_NO_MOMENT)
    if moment.tzinfo is None:
        raise ValueError("must say its offset, such as Z or +08:00")
    if not _EARLIEST_YEAR <= moment.year <= _LATEST_YEAR:
        raise ValueError(f"the year must lie between {_EARLIEST_YEAR} and {_LATEST_YEAR}")
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def _parsed(text: str) -> datetime:
    if not (text[4:5] == text[7:8] == "-"):
        raise ValueError(_NO_MOMENT)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(_NO_MOMENT) from None


Moment = Annotated[datetime, Field(strict=False), BeforeValidator(_moment)]
"""RFC 3339 with an offset, held in UTC."""
CustomerKey = Annotated[str, Field(pattern=r"^(retail|corp):[A-Za-z0-9_-]{1,64}$")]
Identifier = Annotated[str, Field(min_length=1, max_length=128)]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""A word of the vocabulary: lower case, digits, underscores."""
DottedName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$", max_length=200)]
"""Words joined by dots, such as a treatment or a model."""
ShortText = Annotated[str, Field(max_length=256)]
LongText = Annotated[str, Field(max_length=4_000)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
Amount = Annotated[int, Field(ge=0, le=MAX_MINOR_UNITS)]
"""Minor units, never negative: the direction says which way the money went."""
Balance = Annotated[int, Field(ge=-MAX_MINOR_UNITS, le=MAX_MINOR_UNITS)]
Whole = Annotated[int, Field(ge=0, le=2**53)]
"""A count, a duration or a rank; exact in every JSON reader."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
BoundedInt = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
AttributeName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_.]{0,127}$")]
AttributeValue = bool | BoundedInt | Finite | Annotated[str, Field(max_length=512)]
"""A plain value of an attribute. Missing ones are absent, never null."""


class BankData(BaseModel):
    """Data the bank sends in: a field the schema does not know is refused, so that a typing error is not lost."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class OwnData(BaseModel):
    """Data this system writes itself: fields of a newer release are ignored, so a rolling upgrade keeps reading."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class Envelope(BaseModel):
    """The header. Extension attributes of CloudEvents are allowed and ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)

    specversion: Literal["1.0"] = "1.0"
    id: Identifier
    source: Annotated[str, Field(min_length=1, max_length=256)]
    subject: Identifier
    time: Moment
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: Annotated[str, Field(max_length=512, pattern=r"/[a-z_.]+/[0-9]{1,4}$")] | None = None
    """Ends `/<type>/<version>`; without one the data is taken for the newest version."""
    traceparent: Annotated[str, Field(max_length=64)] | None = None

    @property
    def time_ms(self) -> int:
        """The event time as epoch milliseconds."""
        return epoch_ms(self.time)


class CustomerEnvelope(Envelope):
    """The header of an event about one customer; the subject is also the key on the bus."""

    subject: CustomerKey
