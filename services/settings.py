"""All settings: built once from the environment, checked whole, and passed on as plain arguments."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from services.ports import SettingsInvalid

PREFIX = "KAIROS_"
AUTH_KINDS = ("off", "api_key")
APPROVALS = ("person", "checks")
CLOCK_KINDS = ("system", "events")
NOT_SETTINGS = ("KAIROS_DATA", "KAIROS_TEST_", "KAIROS_CONDITION_PAIRS", "KAIROS_WRITE_GOLDEN")
"""Names (or their beginnings) that tests and measurements read; the program itself does not."""


def _documented(default: Any, help_text: str, *, secret: bool = False) -> Any:
    """A field with its meaning; MISSING makes it required."""
    return field(default=default, metadata={"help": help_text, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, with its meaning in the field's metadata; the variable is `KAIROS_` plus the upper-case name."""

    kafka_bootstrap_servers: str = _documented("127.0.0.1:9092", "Kafka brokers, comma-separated host:port")
    kafka_partitions: int = _documented(12, "partitions of every topic this program creates")
    kafka_replication: int = _documented(1, "replicas of every topic this program creates")
    kafka_idempotence: bool = _documented(True, "idempotent producer; off only for brokers that cannot")
    kafka_session_timeout_ms: int = _documented(10_000, "silence after which a consumer is taken for dead")
    redis_url: str = _documented("redis://127.0.0.1:6379/0", "Redis or Valkey; rediss:// for TLS", secret=True)
    namespace: str = _documented("kairos", "prefix of every key in the store")
    strategy_path: Path = _documented(Path("deploy/strategies/demo_bank"), "folder or file of the strategy")
    model_path: Path = _documented(Path("var/models"), "root of the model registry")
    archive_path: Path = _documented(Path("var/archive"), "root of the Parquet archive")
    snapshot_path: Path = _documented(Path("var/snapshots"), "folder of the customer snapshots that the map shows")
    strategy_archive: Path = _documented(Path("var/strategies"), "every strategy that decided, by version; keep it")
    host: str = _documented("127.0.0.1", "address the API listens on")
    port: int = _documented(8000, "port the API listens on")
    metrics_port: int = _documented(0, "port of the metrics page of roles other than the API; 0: none")
    auth: str = _documented("off", f"who may call: {' | '.join(AUTH_KINDS)}; off only on a loopback address")
    api_keys_file: Path | None = _documented(None, "JSON file of API key hashes with client, channels and scopes")
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
    log_level: str = _documented("INFO", "least severe log line written: DEBUG INFO WARNING ERROR")


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings of this environment. Raises SettingsInvalid naming every problem at once."""
    known = {PREFIX + f.name.upper(): f for f in fields(Settings)}
    ours = [name for name in environment if name.startswith(PREFIX) and not name.startswith(NOT_SETTINGS)]
    problems = [_unknown(name, known) for name in ours if name not in known]
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
    if settings.auth == "api_key" and settings.api_keys_file is None:
        problems.append("KAIROS_API_KEYS_FILE: needed with KAIROS_AUTH=api_key")
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
        )
        if getattr(settings, name) < 1
    ]
    return problems


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
}
