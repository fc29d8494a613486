"""The closed sets of the domain: response outcomes, pipeline stages, candidate fates."""

from enum import IntFlag, StrEnum


class Outcome(StrEnum):
    """What a person did with an option."""

    IMPRESSION = "impression"
    CLICK = "click"
    ACCEPT = "accept"
    REJECT = "reject"
    DISMISS = "dismiss"
    CONVERT = "convert"


class ContactStatus(IntFlag):
    """Everything that has happened to one contact, as the ledger stores it."""

    RESERVED = 1
    IMPRESSION = 2
    CLICK = 4
    ACCEPT = 8
    REJECT = 16
    DISMISS = 32
    CONVERT = 64
    ANY_RESPONSE = IMPRESSION | CLICK | ACCEPT | REJECT | DISMISS | CONVERT


class Stage(StrEnum):
    """Where a candidate left the pipeline."""

    AVAILABILITY = "availability"
    CONSENT = "consent"
    ELIGIBILITY = "eligibility"
    APPLICABILITY = "applicability"
    SUITABILITY = "suitability"
    CONTACT_POLICY = "contact_policy"
    VOLUME = "volume"
    EXPERIMENT = "experiment"
    SLATE = "slate"


class Fate(StrEnum):
    """How a candidate ended."""

    OFFERED = "offered"
    RANKED_LOWER = "ranked_lower"
    REJECTED = "rejected"


def status_of(outcome: Outcome) -> ContactStatus:
    """The ledger bit of an outcome."""
    return ContactStatus[outcome.name]
