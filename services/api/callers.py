"""From a connection's request to its client: who calls, whether they may, and whether it is their turn."""

from services.api.authentication import CERTIFICATE, ApiScope, Client
from services.api.bodies import Scope
from services.api.json_web_tokens import JsonWebTokens, SigningKeyUnknown
from services.api.runtime import ApiRuntime


async def calling(runtime: ApiRuntime, scope: Scope, needed: ApiScope) -> Client:
    """The client of a request, who has the scope needed and has not used up the rate. Raises ApiError."""
    authenticator, headers = runtime.authenticator, scope["headers"]
    certificate = scope.get("extensions", {}).get(CERTIFICATE, {}).get("thumbprint")
    try:
        client = authenticator.identify(headers, certificate)
    except SigningKeyUnknown:
        if not isinstance(authenticator, JsonWebTokens):
            raise
        await authenticator.keys.look_up()
        client = authenticator.identify(headers, certificate)
    client.require(needed)
    runtime.admission.take(client.name, client.limit)
    return client
