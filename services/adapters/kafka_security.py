"""How the bus is greeted: in plain text, over TLS, with a certificate of our own, with a name and password."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.adapters.kafka_connection import use_steady_connections
from services.ports import SettingsInvalid

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """`ca` are the authorities (PEM) the brokers' certificates come from (None: those of the system), `cert` and `key`
    ours where the brokers want one. The password is in no text form."""

    protocol: str = "PLAINTEXT"
    mechanism: str = "SCRAM-SHA-512"
    username: str = ""
    password: str = field(default="", repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    check_hostname: bool = True

    def options(self) -> dict[str, Any]:
        """What a client of the bus is made with. Raises SettingsInvalid where a file cannot be read."""
        use_steady_connections()
        if self.protocol == "PLAINTEXT":
            return {}
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.protocol.endswith("SSL"):
            options["ssl_context"] = self._context()
        if self.protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password
        return options

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise SettingsInvalid(f"KAIROS_KAFKA_CA, _CERT, _KEY: cannot be used: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.check_hostname
        return context


PLAINTEXT = KafkaSecurity()
