"""Who the customer is, holds and allows: profile, products, consents, erasure."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from event_schemas.envelope import (
    Amount,
    AttributeName,
    AttributeValue,
    BankData,
    Currency,
    CustomerEnvelope,
    Identifier,
    Slug,
)

MAX_ATTRIBUTES = 200
"""A partial update names the attributes that changed; more at once is a mistake."""


class Profile(BankData):
    """A partial update: the attributes named here get these values, the others stay."""

    attributes: Annotated[dict[AttributeName, AttributeValue], Field(min_length=1, max_length=MAX_ATTRIBUTES)]


class Consent(BankData):
    """What a person allows or refuses; `proof_id` points to the bank's evidence."""

    purpose: Slug
    granted: bool
    proof_id: Identifier | None = None


class Erasure(BankData):
    """The right to be forgotten was exercised; everything kept under the subject goes."""

    request_id: Identifier | None = None


class Product(BankData):
    """A product of the customer, by the bank's product code."""

    product: Slug
    account_id: Identifier | None = None
    opened_on: date | None = None
    matures_on: date | None = None
    closed_on: date | None = None
    amount: Amount | None = None
    currency: Currency | None = None


class ProfileUpdated(CustomerEnvelope):
    """Attributes of the customer changed."""

    type: Literal["bank.profile.updated"] = "bank.profile.updated"
    data: Profile


class ConsentChanged(CustomerEnvelope):
    """A consent was given or withdrawn."""

    type: Literal["bank.consent.changed"] = "bank.consent.changed"
    data: Consent


class CustomerErased(CustomerEnvelope):
    """The customer is to be erased everywhere."""

    type: Literal["bank.customer.erased"] = "bank.customer.erased"
    data: Erasure


class ProductOpened(CustomerEnvelope):
    """The customer now holds a product."""

    type: Literal["bank.product.opened"] = "bank.product.opened"
    data: Product


class ProductClosed(CustomerEnvelope):
    """The customer holds a product no longer."""

    type: Literal["bank.product.closed"] = "bank.product.closed"
    data: Product
