"""Every way a request can fail, as RFC 9457 problem documents: one table from error to status.

A problem document names the field at fault and never repeats a value that was sent: values are customer data.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from services.ports import BusUnavailable, StoreUnavailable
from services.use_cases.explain_decision import ArchiveBusy
from services.use_cases.make_decision import DecisionInFlight, IdempotencyConflict

PROBLEM_JSON = b"application/problem+json"
RETRY_AFTER_SECONDS = 1
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,39}")


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """A class of failures: HTTP status, a stable short name, and a title that is the same every time."""

    status: int
    name: str
    title: str
    retry: bool = False
    close: bool = False
    """Whether the connection must not be used again: part of the request may still be under way."""


MALFORMED = ProblemKind(400, "malformed", "The body is not valid JSON")
UNAUTHENTICATED = ProblemKind(401, "unauthenticated", "The credentials are missing or not valid")
FORBIDDEN = ProblemKind(403, "forbidden", "The client may not do this")
NOT_FOUND = ProblemKind(404, "not-found", "There is nothing at this address")
METHOD_NOT_ALLOWED = ProblemKind(405, "method-not-allowed", "The address does not have this method")
CONFLICT = ProblemKind(409, "conflict", "The request_id was used with another body")
TAKEN = ProblemKind(409, "taken", "Somebody else was faster")
REFUSED = ProblemKind(409, "refused", "The rules of governance do not allow this")
TOO_SLOW = ProblemKind(408, "too-slow", "The body did not arrive in time", close=True)
TOO_LARGE = ProblemKind(413, "too-large", "The body is larger than allowed", close=True)
UNSUPPORTED = ProblemKind(415, "unsupported-media-type", "The body is not application/json")
INVALID = ProblemKind(422, "invalid", "Some fields are not valid")
OVERLOADED = ProblemKind(429, "too-many-requests", "Too many requests at once", retry=True)
HEADERS_TOO_LARGE = ProblemKind(431, "headers-too-large", "The headers are larger than allowed", close=True)
INTERNAL = ProblemKind(500, "internal", "The service failed")
UNAVAILABLE = ProblemKind(503, "unavailable", "The service cannot take this now", retry=True)
OVERLOADED_NODE = ProblemKind(503, "overloaded", "More is asked of this node than it can do in time", retry=True)
IN_FLIGHT = ProblemKind(503, "in-flight", "The same request is still being answered", retry=True)

KINDS = (
    MALFORMED, UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_SLOW, CONFLICT, TAKEN, TOO_LARGE,
    UNSUPPORTED, REFUSED, INVALID, OVERLOADED, HEADERS_TOO_LARGE, INTERNAL, UNAVAILABLE,
    OVERLOADED_NODE, IN_FLIGHT,
)  # fmt: skip
TABLE: tuple[tuple[type[Exception], ProblemKind, str], ...] = (
    (IdempotencyConflict, CONFLICT, "Use a new request_id for a new question."),
    (DecisionInFlight, IN_FLIGHT, "Ask again with the same request_id."),
    (ArchiveBusy, OVERLOADED, "Too many decisions are being looked up in the archive; try again shortly."),
    (BusUnavailable, UNAVAILABLE, "The event bus did not acknowledge; nothing was taken."),
    (StoreUnavailable, UNAVAILABLE, "The store did not answer in time; sending the same again is safe."),
)
"""What exceptions of the shell become."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field at fault: its path (`placements[0].count`), a stable code, and what would be valid."""

    path: str
    code: str
    message: str


class ApiError(Exception):
    """A request that is refused, with everything its problem document says."""

    def __init__(
        self,
        kind: ProblemKind,
        detail: str,
        errors: Sequence[FieldError] = (),
        *,
        retry_after_s: int = RETRY_AFTER_SECONDS,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document ready to send."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def problem_of(error: Exception) -> Problem:
    """The problem document of any exception; unknown ones become a bare 500 that gives nothing away."""
    if isinstance(error, ApiError):
        return _render(error)
    if isinstance(error, ValidationError):
        return _render(
            ApiError(
                INVALID,
                "See errors.",
                field_errors(error.errors(include_url=False, include_context=False, include_input=False)),
            )
        )
    for kind_of_error, kind, detail in TABLE:
        if isinstance(error, kind_of_error):
            return _render(ApiError(kind, detail))
    return _render(ApiError(INTERNAL, "The failure has been logged."))


def problem_of_status(status: int) -> Problem:
    """The problem document of a bare status, as a framework raises it."""
    kind = next((kind for kind in KINDS if kind.status == status), INTERNAL)
    return _render(ApiError(kind, kind.title + "."))


def field_errors(errors: Sequence[ErrorDetails]) -> list[FieldError]:
    """pydantic's findings without the values it found."""
    return [FieldError(path_text(error["loc"]), error["type"], _message(error)) for error in errors[:MAX_FIELDS]]


def path_text(location: Sequence[str | int]) -> str:
    """`placements[0].count`. A key that does not look like a field name is left out: it may be data."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _FIELD_NAME.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += ".?" if text else "?"
    return text


MAX_FIELDS = 20
"""Findings listed in one answer; a hostile body can have thousands."""


def _message(error: ErrorDetails) -> str:
    return "Unknown field" if error["type"] == "extra_forbidden" else error["msg"]


def _render(error: ApiError) -> Problem:
    kind = error.kind
    document: dict[str, object] = {
        "type": f"urn:kairos:problem:{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": error.detail,
    }
    if error.errors:
        document["errors"] = error.errors
    headers: list[tuple[bytes, bytes]] = []
    if kind.retry:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if kind.close:
        headers.append((b"connection", b"close"))
    if kind is UNAUTHENTICATED:
        headers.append((b"www-authenticate", b"Bearer"))
    return Problem(kind.status, orjson.dumps(document), tuple(headers))
