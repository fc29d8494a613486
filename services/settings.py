"""All settings: built once from the environment, checked whole, and passed on as plain arguments."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.ports import SettingsInvalid

PREFIX = "KAIROS_"
_FROM_FILE = "_FILE"
"""Behind the name of a secret: the file that holds it."""
AUTH_KINDS = ("off", "api_key", "jwt")
APPROVALS = ("person", "checks")
CLOCK_KINDS = ("system", "events")
LEAST_KEY_BYTES = 16
KAFKA_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
KAFKA_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
LOG_FORMATS = ("text", "json")
_CHANNEL_PRIORITY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}\s*=\s*(agent|interactive|batch)")
NOT_SETTINGS = ("KAIROS_DATA", "KAIROS_TEST_", "KAIROS_CONDITION_PAIRS", "KAIROS_WRITE_GOLDEN")
"""Names (or their beginnings) that tests and measurements read; the program itself does not."""


def _documented(default: Any, help_text: str, *, secret: bool = False) -> Any:
    """A field with its meaning; MISSING makes it required. A secret is in no text form, and may stand in a file."""
    return field(default=default, repr=not secret, metadata={"help": help_text, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, with its meaning in the field's metadata; the variable is `KAIROS_` plus the upper-case name."""

    kafka_bootstrap_servers: str = _documented("127.0.0.1:9092", "Kafka brokers, comma-separated host:port")
    kafka_partitions: int = _documented(12, "partitions of every topic this program creates")
    kafka_replication: int = _documented(1, "replicas of every topic this program creates")
    kafka_idempotence: bool = _documented(True, "idempotent producer; off only for brokers that cannot")
    kafka_session_timeout_ms: int = _documented(10_000, "silence after which a consumer is taken for dead")
    kafka_security_protocol: str = _documented("PLAINTEXT", f"how brokers are greeted: {' | '.join(KAFKA_PROTOCOLS)}")
    kafka_sasl_mechanism: str = _documented("SCRAM-SHA-512", f"with SASL: {' | '.join(KAFKA_MECHANISMS)}")
    kafka_username: str = _documented("", "with SASL: our name")
    kafka_password: str = _documented("", "with SASL: our password", secret=True)
    kafka_ca: Path | None = _documented(None, "authorities (PEM) of the brokers' certificates; none: the system's")
    kafka_cert: Path | None = _documented(None, "our certificate chain (PEM), where brokers want one")
    kafka_key: Path | None = _documented(None, "private key (PEM) of our certificate")
    kafka_retention: str = _documented(
        "", "other retention than usual, in days: topic=days, comma-separated; 0 keeps for ever"
    )
    redis_url: str = _documented(
        "redis://127.0.0.1:6379/0",
        "Redis or Valkey; rediss:// for TLS, redis+sentinel://host:port,host:port/name/0 behind Sentinel, "
        "redis+cluster://host:port,host:port for a cluster",
        secret=True,
    )
    namespace: str = _documented("kairos", "prefix of every key in the store")
    strategy_path: Path = _documented(Path("deploy/strategies/demo_bank"), "folder or file of the strategy")
    model_path: Path = _documented(Path("var/models"), "root of the model registry")
    archive_path: Path = _documented(Path("var/archive"), "root of the Parquet archive")
    snapshot_path: Path = _documented(Path("var/snapshots"), "folder of the customer snapshots that the map shows")
    report_path: Path = _documented(Path("var/reports"), "folder of the evaluation reports that the console shows")
    strategy_archive: Path = _documented(Path("var/strategies"), "every strategy that decided, by version; keep it")
    host: str = _documented("127.0.0.1", "address the API listens on")
    port: int = _documented(8000, "port the API listens on")
    drain_notice_seconds: float = _documented(
        2.0, "how long an API node that was told to stop says it is not ready before it takes no requests any more"
    )
    api_processes: int = _documented(
        1, "processes that serve the API on its port (Linux); the metrics page of each further one is a port further"
    )
    metrics_port: int = _documented(0, "port of the metrics page that every role can have; 0: none")
    auth: str = _documented("off", f"who may call: {' | '.join(AUTH_KINDS)}; off only on a loopback address")
    api_keys_file: Path | None = _documented(None, "JSON file of API key hashes with client, channels and scopes")
    jwks: str | None = _documented(None, "https:// address or file of the keys that access tokens are signed with")
    jwt_issuer: str | None = _documented(None, "who issues access tokens: their iss claim")
    jwt_audience: str = _documented("kairos", "whom access tokens must be meant for: their aud claim")
    jwt_client_claim: str = _documented("client_id", "claim of access tokens that names the client")
    jwt_skew_seconds: int = _documented(30, "how far clocks of the issuer and of nodes may be apart, at most 60")
    revoked_file: Path | None = _documented(None, "JSON file of tokens, keys and clients let in no more; read anew")
    jwks_refresh_seconds: float = _documented(300.0, "how often the keys of tokens are fetched anew")
    tls_cert: Path | None = _documented(None, "certificate chain (PEM) the API serves TLS with; none: plain HTTP")
    tls_key: Path | None = _documented(None, "private key (PEM) of the certificate")
    tls_client_ca: Path | None = _documented(None, "authorities (PEM) of client certificates, then asked of everybody")
    client_rate: float = _documented(0.0, "requests a second a client may make of a node; 0: no limit")
    client_burst: float = _documented(0.0, "requests at once that a client saves up for; 0: those of one second")
    client_at_once: int = _documented(0, "requests of a client that a node works on at once; 0: no limit")
    channel_priorities: str = _documented(
        "",
        "who is answered first under overload, as channel=agent|interactive|batch, comma-separated; docs/overload.md",
    )
    max_in_flight: int = _documented(
        256, "most decisions and responses a process works on at once; it finds its own limit"
    )
    log_hash_key: str = _documented(
        "",
        "key of the pseudonyms of customers in logs and in the store's keys of reasons; none: one a start",
        secret=True,
    )
    webhooks_file: Path | None = _documented(None, "JSON file of the receivers that kairos deliver posts webhooks to")
    clock: str = _documented("system", f"what now is: {' | '.join(CLOCK_KINDS)}; events follows the bus, for replays")
    decision_timeout_ms: int = _documented(100, "time budget of a decision that names none")
    idempotency_seconds: int = _documented(60, "how long a request id gives the same answer")
    record_seconds: int = _documented(86_400, "how long the store keeps decision records")
    tracked_seconds: int = _documented(30 * 86_400, "how long a tracking id can be answered")
    batch_records: int = _documented(4_000, "most records the state builder takes at once")
    archive_flush_seconds: float = _documented(30.0, "longest time a record waits for the archive")
    archive_flush_rows: int = _documented(50_000, "most records of a topic partition that wait for the archive")
    learner_min_rows: int = _documented(5_000, "labelled rows before a first model is fitted")
    learner_min_positives: int = _documented(200, "positive rows before a first model is fitted")
    learner_step_rows: int = _documented(20_000, "further labelled rows before the next fit")
    learner_poll_seconds: float = _documented(10.0, "how often the learner looks at the archive")
    learner_timetable: str = _documented(
        "", "also fit at: every 6h | daily 03:00 | weekly sun 03:00, in the bank's time"
    )
    learner_drift_seconds: float = _documented(300.0, "how often the learner looks for drift; 0: never")
    learner_drift_rows: int = _documented(20_000, "newest labelled rows that a fit started by drift learns from")
    learner_drift_rest_seconds: float = _documented(
        6 * 3_600.0, "how long after any fit of a model drift may not start another"
    )
    learner_approval: str = _documented(
        "person", f"who lets a version serve that passed its checks: {' | '.join(APPROVALS)}"
    )
    proposal_days: int = _documented(7, "how long a proposed model version may be approved")
    online_options_most: int = _documented(
        2_000_000, "options under way that an online learner keeps (some 100 bytes each); it learns from no more"
    )
    prices_seconds: float = _documented(180.0, "how often the pacer prices scarce resources anew")
    prices_fresh_seconds: int = _documented(900, "how old prices may be before they fade")
    attribution_seconds: int = _documented(7 * 86_400, "how long after an impression a response counts")
    governance_requires_simulation: bool = _documented(
        True, "approve a strategy only after a recorded simulation of it against the active one"
    )
    pseudonym_key: str = _documented(
        "", "key of the pseudonyms under which erased people are remembered; needed for erasure", secret=True
    )
    erasure_memory_days: int = _documented(
        0, "how long an erasure is remembered: longer than any log or archive lasts; 0: for ever"
    )
    log_level: str = _documented("INFO", "least severe log line written: DEBUG INFO WARNING ERROR")
    log_format: str = _documented("text", f"one line an event: {' | '.join(LOG_FORMATS)}")
    trace_endpoint: str = _documented("", "OTLP/HTTP address that traces go to (extra telemetry); empty: no traces")
    trace_share: float = _documented(0.01, "share of requests traced that come without a traceparent, 0 to 1")


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings of this environment. Raises SettingsInvalid naming every problem at once."""
    known = {PREFIX + f.name.upper(): f for f in fields(Settings)}
    environment, problems = _with_secrets_of_files(environment, known)
    ours = [name for name in environment if name.startswith(PREFIX) and not name.startswith(NOT_SETTINGS)]
    problems += [_unknown(name, known) for name in ours if name not in known]
    values: dict[str, Any] = {}
    for name, f in known.items():
        if name in environment:
            try:
                values[f.name] = _PARSERS[str(f.type)](environment[name])
            except ValueError as error:
                shown = "" if f.metadata["secret"] else f" (is {environment[name]!r})"
                problems.append(f"{name}: {error}{shown}")
    settings = Settings(**values)
    problems += _contradictions(settings)
    if problems:
        raise SettingsInvalid("\n".join(sorted(problems)))
    return settings


def describe_settings(settings: Settings) -> list[tuple[str, str, str, str]]:
    """For every setting: variable, value (secrets hidden), default, meaning."""
    return [
        (
            PREFIX + f.name.upper(),
            "(hidden)" if f.metadata["secret"] else str(getattr(settings, f.name)),
            "(required)" if f.default is MISSING else str(f.default),
            f.metadata["help"],
        )
        for f in fields(Settings)
    ]


def _with_secrets_of_files(
    environment: Mapping[str, str], known: Mapping[str, Field[Any]]
) -> tuple[dict[str, str], list[str]]:
    """The environment with the secrets of files (`KAIROS_REDIS_URL_FILE`) in place, and what is wrong with them."""
    found, problems = dict(environment), []
    for name in [name for name, f in known.items() if f.metadata["secret"] and name + _FROM_FILE in environment]:
        path = Path(found.pop(name + _FROM_FILE))
        if name in environment:
            problems.append(f"{name}{_FROM_FILE}: give it or {name}, not both")
            continue
        try:
            found[name] = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{name}{_FROM_FILE}: {path} cannot be read: {type(error).__name__}")
    return found, problems


def _unknown(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"{name}: unknown setting" + (f"; did you mean {near[0]}?" if near else "")


def _contradictions(settings: Settings) -> list[str]:
    problems = []
    if settings.auth not in AUTH_KINDS:
        problems.append(f"KAIROS_AUTH: one of {', '.join(AUTH_KINDS)} (is {settings.auth!r})")
    if settings.learner_approval not in APPROVALS:
        problems.append(f"KAIROS_LEARNER_APPROVAL: one of {', '.join(APPROVALS)} (is {settings.learner_approval!r})")
    if settings.clock not in CLOCK_KINDS:
        problems.append(f"KAIROS_CLOCK: one of {', '.join(CLOCK_KINDS)} (is {settings.clock!r})")
    if settings.auth == "off" and not _is_loopback(settings.host):
        problems.append(f"KAIROS_AUTH: off is allowed on a loopback address only, and KAIROS_HOST is {settings.host}")
    if settings.log_format not in LOG_FORMATS:
        problems.append(f"KAIROS_LOG_FORMAT: one of {', '.join(LOG_FORMATS)} (is {settings.log_format!r})")
    if not 0 <= settings.trace_share <= 1:
        problems.append(f"KAIROS_TRACE_SHARE: 0 to 1 (is {settings.trace_share})")
    problems += _access_contradictions(settings)
    problems += _bus_contradictions(settings)
    if not 1 <= settings.decision_timeout_ms <= 1000:
        problems.append(f"KAIROS_DECISION_TIMEOUT_MS: 1 to 1000 (is {settings.decision_timeout_ms})")
    problems += [
        f"{PREFIX}{name.upper()}: at least 1 (is {getattr(settings, name)})"
        for name in (
            "kafka_partitions",
            "kafka_replication",
            "batch_records",
            "idempotency_seconds",
            "record_seconds",
            "proposal_days",
            "online_options_most",
            "max_in_flight",
            "api_processes",
        )
        if getattr(settings, name) < 1
    ]
    return problems


def _bus_contradictions(settings: Settings) -> list[str]:
    """Of how brokers are greeted, and of pseudonyms."""
    problems = []
    if settings.kafka_security_protocol not in KAFKA_PROTOCOLS:
        problems.append(f"KAIROS_KAFKA_SECURITY_PROTOCOL: one of {', '.join(KAFKA_PROTOCOLS)}")
    if settings.kafka_sasl_mechanism not in KAFKA_MECHANISMS:
        problems.append(f"KAIROS_KAFKA_SASL_MECHANISM: one of {', '.join(KAFKA_MECHANISMS)}")
    with_password = settings.kafka_username and settings.kafka_password
    if settings.kafka_security_protocol.startswith("SASL") and not with_password:
        problems.append("KAIROS_KAFKA_USERNAME, KAIROS_KAFKA_PASSWORD: both are needed with SASL")
    over_tls = settings.kafka_security_protocol.endswith("SSL")
    given = [name for name in ("kafka_ca", "kafka_cert", "kafka_key") if getattr(settings, name) is not None]
    if given and not over_tls:
        problems.append(f"{PREFIX}{given[0].upper()}: says nothing without KAIROS_KAFKA_SECURITY_PROTOCOL=…SSL")
    if (settings.kafka_cert is None) != (settings.kafka_key is None):
        problems.append("KAIROS_KAFKA_CERT, KAIROS_KAFKA_KEY: each needs the other")
    if settings.pseudonym_key and len(settings.pseudonym_key.encode()) < LEAST_KEY_BYTES:
        problems.append(f"KAIROS_PSEUDONYM_KEY: at least {LEAST_KEY_BYTES} bytes")
    if settings.erasure_memory_days < 0:
        problems.append(f"KAIROS_ERASURE_MEMORY_DAYS: at least 0 (is {settings.erasure_memory_days})")
    return problems


def _access_contradictions(settings: Settings) -> list[str]:
    """Of who may call, and over what."""
    problems = []
    if settings.auth == "api_key" and settings.api_keys_file is None:
        problems.append("KAIROS_API_KEYS_FILE: needed with KAIROS_AUTH=api_key")
    if settings.auth == "jwt":
        missing = [name for name in ("jwks", "jwt_issuer", "jwt_audience") if not getattr(settings, name)]
        problems += [f"{PREFIX}{name.upper()}: needed with KAIROS_AUTH=jwt" for name in missing]
    problems += _jwks_problems(settings.jwks or "")
    if not 0 <= settings.jwt_skew_seconds <= 60:
        problems.append(f"KAIROS_JWT_SKEW_SECONDS: 0 to 60 (is {settings.jwt_skew_seconds})")
    if settings.jwks_refresh_seconds < 1:
        problems.append(f"KAIROS_JWKS_REFRESH_SECONDS: at least 1 (is {settings.jwks_refresh_seconds})")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        problems.append("KAIROS_TLS_CERT, KAIROS_TLS_KEY: each needs the other")
    if settings.revoked_file is not None and settings.auth == "off":
        problems.append("KAIROS_REVOKED_FILE: shuts nobody out with KAIROS_AUTH=off")
    if settings.tls_client_ca is not None and settings.tls_cert is None:
        problems.append("KAIROS_TLS_CLIENT_CA: needs KAIROS_TLS_CERT and KAIROS_TLS_KEY")
    problems += _priority_faults(settings.channel_priorities)
    problems += [
        f"{PREFIX}{name.upper()}: at least 0 (is {getattr(settings, name)})"
        for name in ("client_rate", "client_burst", "client_at_once", "drain_notice_seconds")
        if not getattr(settings, name) >= 0
    ]
    return problems


def _jwks_problems(address: str) -> list[str]:
    """Of the place of the issuer's keys."""
    try:
        place = urlsplit(address)
        unsafe = place.scheme == "http" and not _is_loopback(place.hostname or "")
        nowhere = place.port == 0 or (place.scheme in {"http", "https"} and not place.hostname)
    except ValueError:
        return ["KAIROS_JWKS: is no address"]
    if nowhere:
        return ["KAIROS_JWKS: is no address"]
    return ["KAIROS_JWKS: whoever is on the way could put in keys of their own; use https://"] if unsafe else []


def _priority_faults(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    faulty = [part for part in found if not _CHANNEL_PRIORITY.fullmatch(part)]
    return [f"KAIROS_CHANNEL_PRIORITIES: channel=agent|interactive|batch (is {part!r})" for part in faulty]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _boolean(text: str) -> bool:
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise ValueError("true or false")
    return values[text.lower()]


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number") from None


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    str(str): str,
    str(int): _whole,
    str(float): _number,
    str(bool): _boolean,
    str(Path): Path,
    str(Path | None): Path,
    str(str | None): str,
}
