"""Where the rows begin that a model learns from: a fit started by drift leaves the rows before it behind."""

import logging

from models.errors import RegistryError
from models.manifest import Manifest
from models.registry import ModelRegistry

_log = logging.getLogger(__name__)


def drift_start_ms(basis: Manifest, registry: ModelRegistry) -> int:
    """From which moment on (epoch milliseconds) the version to follow learnt because of drift; 0: from the beginning.

    A version that drift started says so itself. One that followed it learnt from no earlier row, which tells it from a
    version that was fitted on everything, as after a drift fit that was declined.
    """
    if basis.data is None:
        return 0
    if _is_drift(basis):
        return basis.data.since_ms
    before = (_manifest(registry, version) for version in registry.versions(basis.name) if version != basis.version)
    starts = [
        drifted.data.since_ms
        for drifted in before
        if drifted is not None and drifted.data is not None and _is_drift(drifted)
        if drifted.created_at <= basis.created_at and drifted.data.since_ms <= basis.data.since_ms
    ]
    return max(starts, default=0)


def _is_drift(manifest: Manifest) -> bool:
    return (manifest.reason or "").startswith("drift")


def _manifest(registry: ModelRegistry, version: str) -> Manifest | None:
    try:
        return registry.manifest(version)
    except RegistryError as error:
        _log.error("%s cannot be read: %s", version, error, extra={"action": "learn"})
        return None
