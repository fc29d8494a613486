"""From a connection's request to its client: who calls, whether they may, and whether it is their turn."""

from collections.abc import Awaitable, Callable

from services.api.authentication import CERTIFICATE, ApiScope, Client
from services.api.bodies import Scope
from services.api.errors import UNAUTHENTICATED, ApiError
from services.api.json_web_tokens import JsonWebTokens, SigningKeyUnknown
from services.api.runtime import ApiRuntime
from services.ports import StoreUnavailable


async def calling(runtime: ApiRuntime, scope: Scope, needed: ApiScope) -> Client:
    """The client of a request, who has the scope needed and has not used up the rate. Raises ApiError."""
    client = await identified(runtime, scope)
    client.require(needed)
    runtime.admission.take(client.name, client.limit)
    return client


async def identified(runtime: ApiRuntime, scope: Scope) -> Client:
    """The client of a request. Raises ApiError."""
    authenticator, headers = runtime.authenticator, scope["headers"]
    certificate = scope.get("extensions", {}).get(CERTIFICATE, {}).get("thumbprint")
    try:
        return authenticator.identify(headers, certificate)
    except SigningKeyUnknown:
        if not isinstance(authenticator, JsonWebTokens):
            raise
        await authenticator.keys.look_up()
        return authenticator.identify(headers, certificate)


def access_holds(found: Callable[[], Awaitable[Client]]) -> Callable[[], Awaitable[bool]]:
    """Whether who was let in would be let in again: not any more once that is refused. A store that cannot be asked
    leaves it as it is."""

    async def holds() -> bool:
        try:
            await found()
        except ApiError as error:
            return error.kind is not UNAUTHENTICATED
        except StoreUnavailable:
            return True
        return True

    return holds
