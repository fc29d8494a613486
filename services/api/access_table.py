"""Which scope each operation needs, as the OpenAPI document tells it. A test holds it against what the routes do."""

from collections.abc import Mapping

from services.api.authentication import ApiScope

PUBLIC = ("/livez", "/readyz")
"""Paths that ask nobody who they are."""
_BY_PATH: Mapping[str, ApiScope] = {
    "/v1/decisions": ApiScope.DECIDE,
    "/v1/responses": ApiScope.RESPOND,
    "/v1/events": ApiScope.PUBLISH,
    "/v1/audit": ApiScope.AUDIT,
    "/v1/customers/{customer_id}/export": ApiScope.PRIVACY,
    "/v1/customers/{customer_id}/consents": ApiScope.PRIVACY,
    "/v1/erasures/{erasure_id}": ApiScope.PRIVACY,
    "/metrics": ApiScope.OPERATE,
}
_BY_ACT: Mapping[tuple[str, str], ApiScope] = {
    ("delete", "/v1/customers/{customer_id}"): ApiScope.PRIVACY,
    ("post", "/v1/strategies"): ApiScope.AUTHOR,
    ("post", "/v1/strategies/{version}/submit"): ApiScope.AUTHOR,
    ("post", "/v1/strategies/{version}/retire"): ApiScope.AUTHOR,
    ("post", "/v1/strategies/{version}/approve"): ApiScope.APPROVE,
    ("post", "/v1/strategies/{version}/decline"): ApiScope.APPROVE,
    ("post", "/v1/strategies/{version}/activate"): ApiScope.APPROVE,
    ("post", "/v1/strategies/{version}/rollback"): ApiScope.APPROVE,
    ("post", "/v1/kill-switches"): ApiScope.STOP,
    ("post", "/v1/simulations"): ApiScope.AUTHOR,
    ("delete", "/v1/simulations/{simulation_id}"): ApiScope.AUTHOR,
}


def needed_scope(method: str, path: str) -> ApiScope | None:
    """The scope of an operation; None where nobody is asked who they are. Whatever else is got is read."""
    if path in PUBLIC:
        return None
    found = _BY_ACT.get((method, path)) or _BY_PATH.get(path)
    if found is None and method != "get":
        raise KeyError((method, path))
    return found or ApiScope.READ
