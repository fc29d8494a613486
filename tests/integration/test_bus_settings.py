"""How the bus is greeted and how long it keeps what it carries, from settings that contradict nothing."""

from typing import Any

import pytest

from event_schemas.topics import ALL_TOPICS, CHANNEL_EVENTS, CONTROL, DECISIONS, PROFILE_UPDATES
from services.adapters.kafka_topics import ensure_topics
from services.bus_wiring import bus_security, wanted_topics
from services.ports import SettingsInvalid
from services.settings import Settings, describe_settings, read_settings

pytestmark = pytest.mark.servers
SASL = {
    "KAIROS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAIROS_KAFKA_USERNAME": "kairos",
    "KAIROS_KAFKA_PASSWORD": "a-secret",
}


def test_a_name_and_a_password_reach_the_client_and_no_text() -> None:
    settings = read_settings(SASL)
    options = bus_security(settings).options()
    assert (options["security_protocol"], options["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("kairos", "a-secret")
    assert options["ssl_context"].check_hostname
    assert "a-secret" not in repr(settings)
    assert "a-secret" not in repr(describe_settings(settings))
    assert bus_security(Settings()).options() == {}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"KAIROS_KAFKA_SECURITY_PROTOCOL": "TLS"}, "KAIROS_KAFKA_SECURITY_PROTOCOL: one of"),
        ({"KAIROS_KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAIROS_KAFKA_SASL_MECHANISM: one of"),
        ({"KAIROS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "both are needed with SASL"),
        ({"KAIROS_KAFKA_CA": "ca.pem"}, "KAIROS_KAFKA_CA: says nothing without"),
        ({**SASL, "KAIROS_KAFKA_CERT": "c.pem"}, "each needs the other"),
        ({"KAIROS_PSEUDONYM_KEY": "short"}, "KAIROS_PSEUDONYM_KEY: at least 16 bytes"),
        ({"KAIROS_ERASURE_MEMORY_DAYS": "-1"}, "KAIROS_ERASURE_MEMORY_DAYS: at least 0"),
    ],
)
def test_what_contradicts_stops_the_start(changed: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        read_settings(changed)


def test_the_bank_sets_how_long_topics_are_kept() -> None:
    wanted = {t.name: t for t in wanted_topics(Settings(kafka_retention=f"{DECISIONS}=30, {CHANNEL_EVENTS}=0"))}
    assert wanted[DECISIONS].retention_ms == 30 * 86_400_000
    assert wanted[CHANNEL_EVENTS].retention_ms is None
    assert wanted[PROFILE_UPDATES] in ALL_TOPICS
    assert wanted_topics(Settings()) == ALL_TOPICS


@pytest.mark.parametrize("text", [f"{CONTROL}=3", "nbo.unknown.v1=3", f"{DECISIONS}=x", DECISIONS])
def test_a_retention_that_cannot_be_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsInvalid, match="KAIROS_KAFKA_RETENTION"):
        wanted_topics(Settings(kafka_retention=text))


async def test_topics_are_made_with_the_retention_wanted(servers: Any) -> None:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    settings = Settings(kafka_retention=f"{DECISIONS}=30")
    await ensure_topics(servers.bootstrap_servers, wanted_topics(settings), partitions=1, replication=1)
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.bootstrap_servers)
    await admin.start()
    try:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, DECISIONS)])
    finally:
        await admin.close()
    told = {entry[0]: entry[1] for resource in answer.resources for entry in resource[4]}
    assert told["retention.ms"] == str(30 * 86_400_000)
