"""One request of a person at a screen: who, in which language and theme; what they sent, and from where."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request

from services.api.authentication import Client
from services.api.bodies import MAX_BYTES
from services.api.errors import FORBIDDEN, INVALID, TOO_LARGE, UNSUPPORTED, ApiError
from services.api.screens.words import LOCALES

FRAGMENT_HEADER = "x-kairos-fragment"
"""Sent by base.js with what it puts into a page."""
LOCALE_COOKIE, THEME_COOKIE = "kairos_locale", "kairos_theme"
THEMES = ("auto", "light", "dark")
_MOST_FIELDS = 500
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """`client` is the signed-in person: their name, scopes and channels."""

    client: Client
    locale: str
    theme: str
    request: Request

    async def form(self) -> "Form":
        """The fields that were sent, as a form's or as a flat JSON object's. Raises ApiError."""
        return await read_form(self.request)


@dataclass(frozen=True, slots=True)
class Form:
    """Fields with all their values, in the order sent."""

    fields: Mapping[str, tuple[str, ...]]

    def one(self, name: str, default: str = "") -> str:
        """The first value, without white space around it."""
        values = self.fields.get(name, ())
        return values[0].strip() if values else default

    def all(self, name: str) -> tuple[str, ...]:
        """Every value."""
        return self.fields.get(name, ())

    def need(self, name: str) -> str:
        """The first value, which must not be empty. Raises ApiError (invalid) naming the field."""
        value = self.one(name)
        if not value:
            raise ApiError(INVALID, f"The field {name} is missing.")
        return value


async def read_form(request: Request) -> Form:
    """An urlencoded body of at most `MAX_BYTES`. Raises ApiError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", ""):
        raise ApiError(UNSUPPORTED, "Send application/x-www-form-urlencoded.")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BYTES:
            raise ApiError(TOO_LARGE, f"At most {MAX_BYTES} bytes.")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise ApiError(INVALID, "The fields cannot be read.") from error
    fields: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        fields[name] = (*fields.get(name, ()), value)
    return Form(fields)


def require_same_origin(request: Request) -> None:
    """Raises ApiError (forbidden) when a changing request does not come from these screens themselves."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is None:
        raise ApiError(FORBIDDEN, "The request does not say where it came from.")
    same_site = site is None or site == "same-origin"
    # Where the browser vouches for the site itself, it may keep the origin to itself (`null`).
    same_origin = (site is not None and origin in (None, "null")) or (
        origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    )
    if not (same_site and same_origin):
        raise ApiError(FORBIDDEN, "The request came from another site.")


def is_fragment(request: Request) -> bool:
    """Whether a part of a page is asked for, not a page to go to."""
    accepted = request.headers.get("accept", "*/*")
    return FRAGMENT_HEADER in request.headers or not ("text/html" in accepted or accepted == "*/*")


def on_loopback(request: Request) -> bool:
    """Whether the browser and the service are on one machine, without TLS between them."""
    return request.url.scheme == "http" and urlsplit(f"//{request.headers.get('host', '')}").hostname in _LOOPBACK


def locale_of(request: Request) -> str:
    """As chosen, else as the browser prefers."""
    chosen = request.cookies.get(LOCALE_COOKIE)
    if chosen in LOCALES:
        return chosen
    for entry in request.headers.get("accept-language", "").split(",")[:10]:
        language = entry.partition(";")[0].strip().partition("-")[0].lower()
        for locale in LOCALES:
            if locale.partition("-")[0] == language:
                return locale
    return LOCALES[0]


def theme_of(request: Request) -> str:
    """As chosen; `auto` follows the system."""
    chosen = request.cookies.get(THEME_COOKIE)
    return chosen if chosen in THEMES else THEMES[0]


def local_path(wanted: str) -> str:
    """Where to go next: a path of these screens, never another site."""
    try:
        parts = urlsplit(wanted)
    except ValueError:  # an address that is none, such as `//[`
        return "/"
    safe = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and not parts.netloc and "\n" not in wanted
    return wanted if safe and wanted.isprintable() else "/"
