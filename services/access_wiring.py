"""Who may call, and how much, as the settings say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.adapters.jwks_source import jwks_source
from services.api.authentication import Authenticator, OpenAccess
from services.api.json_web_tokens import JsonWebTokens, TokenTerms
from services.api.keys_file import load_api_keys
from services.api.load_gate import LoadGate
from services.api.load_limit import LoadTerms
from services.api.priorities import ChannelPriorities
from services.api.rate_limits import Admission, RateLimit
from services.api.revocations import Revocations
from services.api.runtime import Check
from services.api.signing_keys import SigningKeys
from services.api.tls import TlsFiles
from services.ports import Metrics, SettingsInvalid
from services.settings import Settings


@asynccontextmanager
async def open_authenticator(settings: Settings, metrics: Metrics) -> AsyncIterator[Authenticator]:
    """Who tells clients apart. Raises SettingsInvalid."""
    revocations = Revocations(settings.revoked_file, metrics)
    if settings.auth == "api_key" and settings.api_keys_file is not None:
        async with revocations.following():
            yield load_api_keys(settings.api_keys_file, revocations)
    elif settings.auth == "jwt" and settings.jwks is not None and settings.jwt_issuer is not None:
        terms = TokenTerms(
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            client_claim=settings.jwt_client_claim,
            skew_s=settings.jwt_skew_seconds,
        )
        keys = SigningKeys(jwks_source(settings.jwks), metrics)
        async with keys.following(settings.jwks_refresh_seconds), revocations.following():
            yield JsonWebTokens(keys, terms, revocations=revocations)
    elif settings.auth == "off":
        yield OpenAccess()
    else:
        raise SettingsInvalid("KAIROS_AUTH: what it needs is missing")


def access_checks(authenticator: Authenticator, **others: Check) -> dict[str, Check]:
    """What readiness asks: `others`, and where tokens are taken whether there are keys to judge them by."""
    return others | ({"signing_keys": authenticator.keys.check} if isinstance(authenticator, JsonWebTokens) else {})


def admission(settings: Settings, metrics: Metrics) -> Admission:
    """How much of a node each client may use where its key or token says nothing."""
    limit = RateLimit(
        per_second=settings.client_rate or None,
        burst=settings.client_burst or None,
        at_once=settings.client_at_once or None,
    )
    return Admission(limit, metrics)


TURN_SHARE = 0.075
"""Of a decision's budget, for one turn of the loop: it needs some six, and the slowest in a hundred nine."""


def load_gate(settings: Settings, metrics: Metrics) -> LoadGate:
    """Who is let in when there is less room than is asked for."""
    budget_ms = settings.decision_timeout_ms
    terms = LoadTerms(target_s=TURN_SHARE * budget_ms / 1000, most=settings.max_in_flight)
    return LoadGate(terms, ChannelPriorities.parse(settings.channel_priorities), metrics)


def tls_files(settings: Settings) -> TlsFiles | None:
    """What TLS is served with, if it is."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return TlsFiles(certificate=settings.tls_cert, key=settings.tls_key, client_ca=settings.tls_client_ca)
