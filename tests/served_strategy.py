"""A node's settings over servers of a test's own, for a strategy that the test writes."""

from pathlib import Path
from typing import Any

from services.settings import Settings, read_settings


def settings_for(strategy: str, servers: Any, folder: Path, **more: str) -> Settings:
    """The strategy's text stands in a file of the folder, where models and archives go as well; `more` are further
    variables."""
    file = folder / "strategy.yaml"
    file.write_text(strategy, encoding="utf-8")
    return read_settings(
        {
            "KAIROS_REDIS_URL": servers.redis_url,
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "KAIROS_KAFKA_IDEMPOTENCE": "false",
            "KAIROS_STRATEGY_PATH": str(file),
            "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
            "KAIROS_MODEL_PATH": str(folder / "models"),
            "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
            **more,
        }
    )
