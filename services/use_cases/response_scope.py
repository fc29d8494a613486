"""Whose a response id is: the client's that gave it. Two clients may give the same id without knowing of each other."""

from hashlib import sha256
from urllib.parse import quote

SOURCE = "kairos"
"""The source of responses that no client is known of."""
_MOST = 200
"""Of the 256 characters a source may have."""


def response_source(client: str) -> str:
    """The source of a client's response events; with the response id as event id it names the response for good."""
    if not client:
        return SOURCE
    name = quote(client, safe="")
    return f"{SOURCE}/{name if len(name) <= _MOST else sha256(client.encode()).hexdigest()}"


def scoped_response_id(source: str, response_id: str) -> str:
    """The response id as ledgers remember it, told apart by the source of its event."""
    scope = source.removeprefix(SOURCE).removeprefix("/")
    return f"{scope}/{response_id}" if scope else response_id
