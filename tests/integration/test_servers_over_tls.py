"""Store and bus over TLS, with certificates of a test authority: who has them comes in, who has not does not.

The embedded servers speak no TLS, so it ends just before them; Apache Kafka ends it itself.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from event_schemas.topics import DECISIONS, TopicSpec
from services.adapters.embedded_servers import embedded_broker, embedded_valkey, free_port
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_security import KafkaSecurity
from services.adapters.kafka_topics import ensure_topics
from services.adapters.redis_client import RedisClient
from services.commands import doctor_servers, topics
from services.commands.doctor_findings import Level
from services.ports import BusUnavailable, OutgoingEvent, SettingsInvalid, StoreUnavailable
from services.settings import Settings
from tests import real_servers

TOPIC = TopicSpec(name=DECISIONS, carries="decisions")
WAIT_S = 60
PASSWORD = "a-password-of-the-tests"


@dataclass(frozen=True)
class Certificates:
    """An authority, and a certificate of its for 127.0.0.1 with its key (PEM)."""

    ca: Path
    cert: Path
    key: Path


def issue(folder: Path, name: str) -> Certificates:
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def signed(whose: x509.Name, public: ec.EllipticCurvePublicKey, *, authority: bool) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(whose).issuer_name(issuer).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")])
        builder = builder.add_extension(address, critical=False)
        return builder.sign(authority_key, hashes.SHA256())

    made = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    made.ca.write_bytes(signed(issuer, authority_key.public_key(), authority=True).public_bytes(Encoding.PEM))
    made.cert.write_bytes(signed(subject, key.public_key(), authority=False).public_bytes(Encoding.PEM))
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    return issue(tmp_path / "ours", "bank")


@pytest.fixture
def foreign(tmp_path: Path) -> Certificates:
    return issue(tmp_path / "foreign", "stranger")


async def test_the_store_is_reached_over_tls_by_who_has_a_certificate_and_by_nobody_else(
    tmp_path: Path, ours: Certificates, foreign: Certificates
) -> None:
    port = free_port()

    def url(who: Certificates, ca: Path) -> str:
        return f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca}&ssl_certfile={who.cert}&ssl_keyfile={who.key}"

    async with embedded_valkey(tmp_path) as server, tls_before(port, server.port, ours):
        async with RedisClient.open(url(ours, ours.ca)) as client:
            await client.execute("SET", "k", "v")
            assert await client.execute("GET", "k") == b"v"
        for refused in (
            url(foreign, ours.ca),
            url(ours, foreign.ca),
            f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ours.ca}",
        ):
            with pytest.raises(StoreUnavailable):
                async with RedisClient.open(refused):
                    pass


@asynccontextmanager
async def tls_before(port: int, target: int, certificates: Certificates) -> AsyncIterator[None]:
    """Ends TLS at `port`, asking for a certificate, and passes what is inside on to `target`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
    context.load_cert_chain(certificates.cert, certificates.key)
    context.verify_mode = ssl.CERT_REQUIRED

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    try:
        yield
    finally:
        server.close()


async def carried(address: str, security: KafkaSecurity) -> bytes | None:
    """What comes out of a topic that was made, written and read this way."""
    assert await ensure_topics(address, [TOPIC], partitions=1, replication=1, security=security) == [DECISIONS]
    async with KafkaEventPublisher(address, idempotence=False, security=security) as publisher:
        await publisher.publish([OutgoingEvent(topic=DECISIONS, key="retail:1", value=b"decided")])
    async with KafkaEventStream(address, [DECISIONS], security=security) as stream, asyncio.timeout(WAIT_S):
        while True:
            if found := await stream.poll(1, 0.5):
                return found[0].value


async def test_the_bus_is_reached_over_tls_by_who_has_a_certificate_and_by_nobody_else(
    tmp_path: Path, ours: Certificates, foreign: Certificates
) -> None:
    port = free_port()
    async with embedded_broker(tmp_path, advertised=port) as broker, tls_before(port, broker.port, ours):
        address = f"127.0.0.1:{port}"
        security = KafkaSecurity(protocol="SSL", ca=ours.ca, cert=ours.cert, key=ours.key)
        assert await carried(address, security) == b"decided"
        for refused in (
            KafkaSecurity(protocol="SSL", ca=foreign.ca, cert=ours.cert, key=ours.key),
            KafkaSecurity(protocol="SSL", ca=ours.ca, cert=foreign.cert, key=foreign.key),
        ):
            with pytest.raises(BusUnavailable):
                await ensure_topics(address, [TOPIC], partitions=1, replication=1, security=refused)


async def test_the_doctor_examines_the_bus_as_every_other_client_reaches_it(
    tmp_path: Path, ours: Certificates, foreign: Certificates
) -> None:
    port = free_port()
    async with embedded_broker(tmp_path, advertised=port) as broker, tls_before(port, broker.port, ours):
        settings = Settings(
            kafka_bootstrap_servers=f"127.0.0.1:{port}", kafka_security_protocol="SSL", kafka_partitions=1,
            kafka_idempotence=False, kafka_ca=ours.ca, kafka_cert=ours.cert, kafka_key=ours.key,
        )  # fmt: skip
        await topics.create(settings)
        found = {finding.about: finding.level for finding in await doctor_servers.topics(settings)}
        assert (found["bus"], found["topics"]) == (Level.OK, Level.OK)
        for refused in (
            replace(settings, kafka_cert=foreign.cert, kafka_key=foreign.key),
            replace(settings, kafka_ca=tmp_path / "absent.pem"),
            replace(settings, kafka_security_protocol="PLAINTEXT"),
        ):
            (finding,) = await doctor_servers.topics(refused)
            assert (finding.about, finding.level) == ("bus", Level.FAIL)


@pytest.mark.servers
@pytest.mark.skipif("KAIROS_TEST_KAFKA" not in os.environ, reason="needs Apache Kafka: make test-kafka")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_apache_kafka_is_reached_over_tls_with_name_and_password(
    tmp_path: Path, ours: Certificates, mechanism: str
) -> None:
    store = tmp_path / "server.pem"
    store.write_bytes(ours.key.read_bytes() + ours.cert.read_bytes())
    module = "plain.PlainLoginModule" if mechanism == "PLAIN" else "scram.ScramLoginModule"
    users = f'user_kairos="{PASSWORD}" ' if mechanism == "PLAIN" else ""
    login = f'org.apache.kafka.common.security.{module} required username="kairos" password="{PASSWORD}" {users};'
    more = "\n".join([
        f"sasl.enabled.mechanisms={mechanism}",
        f"sasl.mechanism.inter.broker.protocol={mechanism}",
        f"listener.name.sasl_ssl.{mechanism.lower()}.sasl.jaas.config={login}",
        "ssl.keystore.type=PEM",
        f"ssl.keystore.location={store}",
        "ssl.truststore.type=PEM",
        f"ssl.truststore.location={ours.ca}",
    ])  # fmt: skip
    scram = () if mechanism == "PLAIN" else ("--add-scram", f"{mechanism}=[name=kairos,password={PASSWORD}]")
    with real_servers.kafka_server(tmp_path, real_servers.kafka_libraries(), "SASL_SSL", more, scram) as address:
        security = KafkaSecurity(
            protocol="SASL_SSL", mechanism=mechanism, username="kairos", password=PASSWORD, ca=ours.ca
        )
        assert await carried(address, security) == b"decided"
        wrong = KafkaSecurity(protocol="SASL_SSL", mechanism=mechanism, username="kairos", password="x", ca=ours.ca)
        with pytest.raises(BusUnavailable):
            await ensure_topics(address, [TOPIC], partitions=1, replication=1, security=wrong)


def test_files_that_cannot_be_read_are_told_and_the_password_is_not(tmp_path: Path) -> None:
    security = KafkaSecurity(protocol="SASL_SSL", username="u", password=PASSWORD, ca=tmp_path / "absent.pem")
    assert PASSWORD not in repr(security)
    with pytest.raises(SettingsInvalid, match="KAIROS_KAFKA_CA"):
        security.options()
