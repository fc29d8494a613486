"""TLS as the API serves it: 1.2 or newer, and certificates of clients where an authority for them is named."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from services.ports import SettingsInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Certificate chain and private key (PEM); with `client_ca` every client has to show a certificate of it."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """What connections are taken with. Raises SettingsInvalid naming the setting at fault."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (OSError, ValueError) as error:
        raise SettingsInvalid(
            f"KAIROS_TLS_CERT, KAIROS_TLS_KEY: {files.certificate} and {files.key} are no certificate with its key, "
            f"in PEM and without a password: {type(error).__name__}"
        ) from error
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except OSError as error:
            raise SettingsInvalid(
                f"KAIROS_TLS_CLIENT_CA: {files.client_ca} holds no certificates in PEM: {type(error).__name__}"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    """A key under a password would have the start wait for somebody to type it."""
    raise ValueError("the key has a password")
