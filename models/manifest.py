"""The manifest of a model version: what it is, what it was made of, how good it was, and how to verify it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256

from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from models.errors import ManifestInvalid, SchemaHashMismatch

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A measured figure with its 95 % interval (None where none was computed)."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The examples a version was fitted on. Times are epoch milliseconds of the decisions; `until_ms` is exclusive.

    Rows from `held_out_since_ms` on were only judged on, never learnt from.
    `fingerprint` is a hash over the examples: equal fingerprints mean equal rows.
    """

    since_ms: int
    until_ms: int
    held_out_since_ms: int
    rows: int
    positives: int
    label: str
    attribution_seconds: int
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything known about one model version. `created_at` is RFC 3339 UTC, `files` maps a file name to its
    SHA-256, `approver` names who let it through, if anybody was asked."""

    name: str
    version: str
    kind: str
    schema: FeatureSchema
    files: Mapping[str, str]
    created_at: str
    data: TrainingData | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    approver: str | None = None
    reason: str | None = None
    """What started the fit, such as `rows`, `schedule`, `drift:calibration`; None: a person, or not known."""


def content_hash(manifest: Manifest) -> str:
    """SHA-256 over everything but the version id and the approver, so that any later edit shows."""
    body = _to_mapping(replace(manifest, version="", approver=None))
    return sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as indented JSON."""
    return json.dumps(_to_mapping(manifest), indent=2, ensure_ascii=False).encode() + b"\n"


def decode_manifest(text: bytes) -> Manifest:
    """The manifest of that JSON. Raises ManifestInvalid, or SchemaHashMismatch when its columns were edited."""
    try:
        body = json.loads(text)
        manifest = _from_mapping(body)
        claimed = str(body["schema_hash"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ManifestInvalid(f"manifest cannot be read: {type(error).__name__}: {error}") from error
    if claimed != manifest.schema.hash:
        raise SchemaHashMismatch(
            f"{manifest.version}: schema hash is {claimed}, its columns make {manifest.schema.hash}; register it anew"
        )
    return manifest


def _to_mapping(manifest: Manifest) -> dict[str, object]:
    # Left out where there is none: manifests registered before it was kept must hash to what they did.
    reason = {} if manifest.reason is None else {"reason": manifest.reason}
    return {
        **reason,
        "format": FORMAT,
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind,
        "created_at": manifest.created_at,
        "approver": manifest.approver,
        "files": dict(sorted(manifest.files.items())),
        "data": None if manifest.data is None else asdict(manifest.data),
        "metrics": {name: asdict(metric) for name, metric in sorted(manifest.metrics.items())},
        "seeds": list(manifest.seeds),
        "libraries": dict(sorted(manifest.libraries.items())),
        "schema_hash": manifest.schema.hash,
        "columns": [_column_mapping(column) for column in manifest.schema.columns],
    }


def _column_mapping(column: Column) -> dict[str, object]:
    categories = None if column.categories is None else list(column.categories)
    return {"name": column.name, "source": column.source.value, "categories": categories}


def _from_mapping(body: Mapping[str, object]) -> Manifest:
    if body["format"] != FORMAT:
        raise ValueError(f"format {body['format']} is not {FORMAT}")
    metrics = _mapping(body["metrics"])
    return Manifest(
        name=_text(body["name"]),
        version=_text(body["version"]),
        kind=_text(body["kind"]),
        created_at=_text(body["created_at"]),
        approver=None if body["approver"] is None else _text(body["approver"]),
        reason=_text(body["reason"]) if "reason" in body else None,
        files={name: _text(digest) for name, digest in _mapping(body["files"]).items()},
        data=None if body["data"] is None else _training_data(_mapping(body["data"])),
        metrics={name: _metric(_mapping(metric)) for name, metric in metrics.items()},
        seeds=tuple(_whole(seed) for seed in _list(body["seeds"])),
        libraries={name: _text(version) for name, version in _mapping(body["libraries"]).items()},
        schema=FeatureSchema(tuple(_column(_mapping(column)) for column in _list(body["columns"]))),
    )


def _training_data(body: Mapping[str, object]) -> TrainingData:
    return TrainingData(
        since_ms=_whole(body["since_ms"]),
        until_ms=_whole(body["until_ms"]),
        held_out_since_ms=_whole(body["held_out_since_ms"]),
        rows=_whole(body["rows"]),
        positives=_whole(body["positives"]),
        label=_text(body["label"]),
        attribution_seconds=_whole(body["attribution_seconds"]),
        fingerprint=_text(body["fingerprint"]),
    )


def _metric(body: Mapping[str, object]) -> Metric:
    value = _number(body["value"])
    if value is None:
        raise TypeError("a metric needs a value")
    return Metric(value=value, low=_number(body["low"]), high=_number(body["high"]))


def _column(body: Mapping[str, object]) -> Column:
    categories = body["categories"]
    return Column(
        name=_text(body["name"]),
        source=ColumnSource(_text(body["source"])),
        categories=None if categories is None else tuple(_text(category) for category in _list(categories)),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, not {type(value).__name__}")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"whole number expected, not {type(value).__name__}")
    return value


def _number(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"number expected, not {type(value).__name__}")
    return float(value)


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"object expected, not {type(value).__name__}")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"list expected, not {type(value).__name__}")
    return value
