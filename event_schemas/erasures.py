"""What became of erasures: `nbo.erasure.*`. The subject is the person's pseudonym, a keyed hash; no id stands anywhere,
so that the proof may outlive the person's data."""

from typing import Annotated, Literal

from pydantic import Field

from event_schemas.envelope import Envelope, Moment, OwnData, Slug, Whole

Pseudonym = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""128 bits of a keyed hash of a customer id, hexadecimal."""


class ErasureStart(OwnData):
    """From now on nothing of the person up to `erased_at` is taken in again, wherever the log is read anew."""

    erased_at: Moment


class ErasureProof(OwnData):
    """One place has been gone through: what was removed there, by kind, and how much of the person was found by a last
    look. `left` is 0 where the erasure is complete."""

    erased_at: Moment
    place: Slug
    removed: Annotated[dict[str, Whole], Field(max_length=64)]
    left: Whole = 0


class ErasureBegun(Envelope):
    """A person is being erased."""

    subject: Pseudonym
    type: Literal["nbo.erasure.begun"] = "nbo.erasure.begun"
    data: ErasureStart


class ErasurePerformed(Envelope):
    """A person was erased in one place."""

    subject: Pseudonym
    type: Literal["nbo.erasure.performed"] = "nbo.erasure.performed"
    data: ErasureProof
