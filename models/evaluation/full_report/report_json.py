"""A report as JSON: the same figures as on the page, infinite ends of intervals as null."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

import numpy as np

from models.evaluation.full_report.report_content import FORMAT, EvaluationReport
from models.evaluation.off_policy.judgement import OffPolicyReport
from models.evaluation.off_policy.report import as_json


def report_json(report: EvaluationReport) -> dict[str, object]:
    """Plain mappings, lists, texts and finite numbers."""
    plain = _plain(report)
    if not isinstance(plain, dict):
        raise TypeError("a report is a mapping")
    return {"format": FORMAT, **plain}


def encode_report(report: EvaluationReport) -> str:
    """The JSON text; equal reports have equal texts."""
    return json.dumps(report_json(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, OffPolicyReport):
        return _plain(as_json(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value
