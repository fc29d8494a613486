"""Readers of files: strategies and their conditions, backups, the archive, and everything of a model.

Text of LightGBM is read by LightGBM only after its SHA-256 was compared, so its own parser is not among them; ours is.
"""

import json
from functools import partial
from hashlib import sha256
from io import BytesIO

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from decision_engine.conditions.check import checked_expression
from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.evaluation import Facts, compile_expression
from decision_engine.conditions.reading import Words, read_out
from decision_engine.errors import StrategyInvalid
from decision_engine.features.definitions import AttributeType
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from loadtests.fuzz_targets import ROOT, Target, as_text, scratch, written
from loadtests.fuzz_targets_log import GOLDEN_STRATEGY
from models.decision_log.archive_files import archive_files, read_rows
from models.decision_log.offer_catalogue import decode_catalogue, encode_catalogue, offer_facts
from models.drift.reference import decode_reference
from models.errors import ArchiveDamaged, ArtifactUnreadable, ManifestInvalid, RegistryError, TrainingRefused
from models.evaluation.promotion_checks import Assessment, Check, decode_assessment, encode_assessment
from models.manifest import Manifest, Metric, TrainingData, decode_manifest, encode_manifest
from models.segment_calibration import decode_calibration
from models.tree_text import read_trees
from services.adapters.backup_folder import CONTENTS, CONTROL_FILE, BackupDamaged, control_records, read_backup
from services.adapters.file_strategy_source import load_strategy_file, load_strategy_texts
from services.adapters.parquet_archive import ARCHIVE_SCHEMA
from services.adapters.yaml_document import plain_value, read_yaml
from services.adapters.yaml_source import read_source
from services.commands.import_decisions import read_past_log
from services.use_cases.authoring.source_nodes import SourceUnreadable
from services.use_cases.past_decisions import PastDecisionInvalid

_SAMPLE = ROOT / "tests" / "unit" / "strategy_loading" / "sample_strategy.yaml"
_TYPES = {
    "age": AttributeType.INT, "balance": AttributeType.DOUBLE, "vip": AttributeType.BOOL, "city": AttributeType.STRING,
    "since": AttributeType.TIMESTAMP,
}  # fmt: skip
_CONDITIONS = (
    "age >= 18 && city in ['Praha', 'Brno'] && !vip", "balance / 2.5 > 100.0 || has_product('gold')",
    "now - since > duration('720h') ? vip : age < 65", "[1, 2, 3].exists(x, x > age) || city.startsWith('P')",
    "has(age) && since.getHours('Europe/Prague') >= 9 && r'a\\d' != city", "min(age, 5) % 2 == 1 && size(city) > 3",
)  # fmt: skip
_SCHEMA = FeatureSchema((
    Column(name="age", source=ColumnSource.ATTRIBUTE, categories=None),
    Column(name="offer", source=ColumnSource.OFFER, categories=("gold", "silver")),
))  # fmt: skip


def targets() -> list[Target]:
    """Strategies, what is kept of the log, models."""
    return [*_strategies(), *_kept(), *_models()]


def _strategies() -> list[Target]:
    sample, golden = _SAMPLE.read_bytes(), GOLDEN_STRATEGY.read_bytes()
    conditions = tuple(text.encode() for text in _CONDITIONS)
    return [
        Target(name="condition", samples=conditions, decode=_condition, refuses=(ConditionError,), weight=6),
        Target(name="plain value of YAML", samples=(b"1e5", b"0x1", b"true", b"-.5"), weight=0.5,
               decode=lambda value: plain_value(as_text(value))),
        Target(name="YAML document", samples=_pieces(sample), weight=2,
               decode=lambda value: read_yaml(as_text(value), "f")),
        Target(name="YAML source for edits", samples=_pieces(sample), refuses=(SourceUnreadable,), weight=2,
               decode=lambda value: read_source(as_text(value))),
        Target(name="strategy", samples=(sample, golden), refuses=(StrategyInvalid,), weight=0.08,
               decode=lambda value: load_strategy_texts({"strategy.yaml": as_text(value)})),
        Target(name="strategy file", samples=(golden,), refuses=(StrategyInvalid,),
               weight=0.05, decode=lambda value: load_strategy_file(written(value, "strategy.yaml"))),
    ]  # fmt: skip


def _pieces(text: bytes) -> tuple[bytes, ...]:
    """Parts of a file, each beginning with a section: short files are read more often."""
    found, part = [], list[bytes]()
    for line in text.splitlines(keepends=True):
        if part and line[:1].isalpha() and len(b"".join(part)) > 300:
            found.append(b"".join(part))
            part = []
        part.append(line)
    return (*found, b"".join(part), b"a: &x [1, 'b']\nb: *x\nc: |\n  text\n  more\nd: {e: !!str 5, <<: {f: null}}\n")


def _condition(value: bytes) -> None:
    checked = checked_expression(as_text(value), _TYPES)
    run = compile_expression(checked)
    for facts in ({"age": 3, "city": "Praha", "since": 0, "vip": True, "balance": -1.5}, {}):
        run(Facts(facts, frozenset({"gold"}), 1_795_254_600_123))
    read_out(checked.expression, Words(locale="en", money=frozenset({"balance"}), currency="CZK"))


def _kept() -> list[Target]:
    line = json.dumps({"partition": 0, "key": "YWN0OjE=", "value": "e30=", "headers": [["a", "Yg=="]]}).encode() + b"\n"
    contents = json.dumps(_contents(b"", 0)).encode()
    past = {
        "decision_id": "D1", "customer_id": "retail:1", "time": "2026-01-01T00:00:00Z", "placement": "p",
        "chances": {"a": 0.5, "b": 0.5}, "offered": "a",
    }  # fmt: skip
    answer = {"response_id": "r", "decision_id": "D1", "outcome": "accept", "time": "2026-01-02T00:00:00Z"}
    return [
        Target(name="contents of a backup", samples=(contents,), decode=partial(_backup, CONTENTS),
               refuses=(BackupDamaged,)),
        Target(name="records of a backup", samples=(line, line + line), decode=partial(_backup, CONTROL_FILE),
               refuses=(BackupDamaged,)),
        Target(name="file of the archive", samples=(_parquet(),), decode=_archive, weight=0.4,
               refuses=(ArchiveDamaged,)),
        Target(name="past decisions", samples=(json.dumps(past).encode() + b"\n" + json.dumps(answer).encode(),),
               decode=lambda value: read_past_log(written(value, "past.jsonl")), refuses=(PastDecisionInvalid,)),
    ]  # fmt: skip


def _backup(changed: str, value: bytes) -> None:
    """A backup of which one file holds the bytes, with the hash of that file as it should be."""
    folder = scratch() / "backup-now"
    folder.mkdir(exist_ok=True)
    line = value if changed == CONTROL_FILE else b""
    (folder / CONTROL_FILE).write_bytes(line)
    document = _contents(line, line.count(b"\n"))
    (folder / CONTENTS).write_bytes(value if changed == CONTENTS else json.dumps(document).encode())
    control_records(read_backup(folder))


def _contents(line: bytes, records: int) -> dict[str, object]:
    return {
        "format": 1, "made_at": "2026-11-22T06:00:00+00:00", "records": records, "partitions": 3,
        "chain": {"sequence": 1, "hash": "0a"}, "files": {CONTROL_FILE: sha256(line).hexdigest()},
    }  # fmt: skip


def _parquet() -> bytes:
    rows = [dict.fromkeys(ARCHIVE_SCHEMA.names) | {"partition": 0, "offset": n, "value": "{}"} for n in range(9)]
    out = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=ARCHIVE_SCHEMA), out, compression="zstd")
    return out.getvalue()


def _archive(value: bytes) -> None:
    folder = scratch() / "archive" / "topic=bank.profile" / "day=2026-11-01"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "p0-0-8.parquet").write_bytes(value)
    for file in archive_files(scratch() / "archive", "bank.profile"):
        list(read_rows(file, ("value", "time", "offset")))


def _models() -> list[Target]:
    invalid = (ManifestInvalid,)
    isotonic = {"kind": "isotonic", "margins": [-1.0, 0.0, 2.0], "probabilities": [0.1, 0.2, 0.9]}
    corrections = [{
        "source": "offer", "name": "offer", "position": 1, "slopes": [1.0, 0.5], "intercepts": [0.0, 0.1],
        "rows": [5, 6], "positives": [1, 2],
    }]  # fmt: skip
    segmented = {"kind": "segmented", "overall": {"kind": "logistic", "slope": 1, "intercept": 0.5},
                 "corrections": corrections}  # fmt: skip
    distribution = {"edges": [0.0, 1.0, 2.0], "codes": None, "counts": [1, 2, 3, 4, 0], "effective": 10.0}
    reference = {
        "format": 1, "rows": 10, "positives": 2, "scores": distribution, "delays": None,
        "columns": [{"name": "age", "source": "attribute", "importance": 0.5, **distribution}],
    }  # fmt: skip
    assessment = encode_assessment(Assessment(reason="rows", checks=(Check("ranks", "passed", "AUC"),), champion="m-1"))
    catalogue = encode_catalogue(offer_facts(load_strategy_file(_SAMPLE))).encode()
    return [
        Target(name="manifest", samples=(_manifest(),), decode=decode_manifest, refuses=(RegistryError,), weight=2),
        Target(name="calibration", samples=tuple(json.dumps(c).encode() for c in (isotonic, segmented)),
               decode=_calibration, refuses=invalid),
        Target(name="reference of drift", samples=(json.dumps(reference).encode(),), decode=decode_reference,
               refuses=invalid),
        Target(name="checks of a version", samples=(assessment,), decode=decode_assessment, refuses=invalid),
        Target(name="catalogue of offers", samples=(catalogue,), refuses=(TrainingRefused,),
               decode=lambda value: decode_catalogue(as_text(value))),
        Target(name="text of trees", samples=(_trees(),), decode=lambda value: read_trees(as_text(value)),
               refuses=(ArtifactUnreadable,), weight=2),
    ]  # fmt: skip


def _calibration(value: bytes) -> object:
    """As the registry reads it."""
    return decode_calibration(value, _SCHEMA)


def _manifest() -> bytes:
    data = TrainingData(
        since_ms=0, until_ms=9, held_out_since_ms=5, rows=3, positives=1, label="accept", attribution_seconds=9,
        fingerprint="0a",
    )  # fmt: skip
    return encode_manifest(
        Manifest(
            name="cross_sell", version="cross_sell-20261120T020000Z-0a1b2c3d", kind="gbdt", schema=_SCHEMA,
            files={"model.txt": "0a" * 32}, created_at="2026-11-20T02:00:00Z", data=data, seeds=(1,),
            metrics={"auc": Metric(value=0.7, low=0.6, high=0.8)}, libraries={"lightgbm": "4"}, reason="rows",
        )
    )  # fmt: skip


def _trees() -> bytes:
    draw = np.random.default_rng(1)
    table = draw.normal(size=(300, 3))
    labels = (table[:, 0] + table[:, 1] > 0).astype(float)
    settings = {"objective": "binary", "num_leaves": 6, "verbosity": -1, "num_threads": 1, "seed": 1}
    text: str = lightgbm.train(settings, lightgbm.Dataset(table, labels), num_boost_round=3).model_to_string()
    return text.encode()
