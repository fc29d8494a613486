"""The judgement of policies, as a table for people and as JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

import numpy as np

from models.evaluation.intervals import Estimate
from models.evaluation.off_policy.judgement import OffPolicyReport, PolicyJudgement
from models.evaluation.off_policy.slates import SlateValue
from models.evaluation.report import aligned

_HEALTH_TITLES: Mapping[str, str] = {
    "effective": "effective choices",
    "effective_clusters": "effective customers",
    "largest_weight": "largest weight",
    "largest_share": "largest share of weight",
    "mean_weight": "mean weight",
    "mean_expected": "mean weight expected",
    "unsupported": "not supported by the log",
    "rewarded": "rewarded choices with weight",
}
_SHARES = frozenset({"largest_share", "unsupported"})


def report_lines(report: OffPolicyReport) -> list[str]:
    """Estimates, differences, weights, warnings, and the verdict."""
    lines = [
        f"{report.choices:,} recorded choices of {report.clusters:,} customers; 95 % intervals: bootstrap over "
        f"customers (BCa, {report.rule.replicates:,} replicates, seed {report.rule.seed})",
        "",
        *aligned(list(_estimates(report))),
        "",
        *aligned(list(_weights(report))),
    ]
    if report.differences:
        lines += ["", *aligned(list(_differences(report)))]
    return [*lines, "", *(line for policy in report.policies for line in _remarks(policy))]


def slate_lines(value: SlateValue) -> list[str]:
    """The value of a slate and of its places."""
    rows: list[tuple[str, ...]] = [("reward a slate", "IPS", "95 % interval", "SNIPS", "95 % interval", "effective")]
    rows.append(("as logged", _figure(value.logged), _interval(value.logged), "", "", ""))
    whole = (value.inverse_propensity, value.self_normalised)
    rows.append(("all places", *(cell for found in whole for cell in (_figure(found), _interval(found))), ""))
    for place in value.places:
        cells = (place.inverse_propensity, place.self_normalised)
        shown = tuple(cell for found in cells for cell in (_figure(found), _interval(found)))
        rows.append((f"place {place.place}", *shown, f"{place.health.effective:,.0f}"))
    head = f"{value.slates:,} slates, assuming {value.model.value}"
    return [head, "", *aligned(rows), "", *(f"NO CONCLUSION  {reason}" for reason in value.refusals)]


def as_json(report: OffPolicyReport) -> dict[str, object]:
    """Everything in the report; infinite ends of intervals are null."""
    return {
        "choices": report.choices,
        "customers": report.clusters,
        "interval": {"method": "BCa bootstrap over customers", "level": 0.95, **asdict(report.rule)},
        "logged": estimate_json(report.logged),
        "conclusive": report.conclusive,
        "policies": [_policy_json(policy) for policy in report.policies],
        "differences": [
            {"policy": row.policy, "other": row.other, **estimate_json(row.estimate)} for row in report.differences
        ],
    }


def slate_json(value: SlateValue) -> dict[str, object]:
    """The slate's value and its places."""
    return {
        "assumes": value.model.value,
        "slates": value.slates,
        "logged": estimate_json(value.logged),
        "IPS": estimate_json(value.inverse_propensity),
        "SNIPS": estimate_json(value.self_normalised),
        "places": [
            {
                "place": place.place,
                "IPS": estimate_json(place.inverse_propensity),
                "SNIPS": estimate_json(place.self_normalised),
                "weights": _finite(asdict(place.health)),
            }
            for place in value.places
        ],
        "refusals": list(value.refusals),
    }


def estimate_json(found: Estimate) -> dict[str, float | None]:
    """Value and interval."""
    ends = {"value": found.value, "low": found.low, "high": found.high}
    return {name: end if np.isfinite(end) else None for name, end in ends.items()}


def _policy_json(policy: PolicyJudgement) -> dict[str, object]:
    return {
        "policy": policy.name,
        "conclusive": not policy.refusals,
        "headline": policy.headline.value,
        "estimates": {kind.value: estimate_json(found) for kind, found in policy.estimates.items()},
        "over_log": estimate_json(policy.over_log),
        "weights": _finite(asdict(policy.health)),
        "clipping_bias": None if policy.clipping is None else asdict(policy.clipping),
        "refusals": list(policy.refusals),
        "warnings": list(policy.warnings),
    }


def _finite(fields: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in fields.items()}


def _estimates(report: OffPolicyReport) -> Iterator[tuple[str, ...]]:
    yield "policy", "estimator", "reward a choice", "95 % interval"
    yield "as logged", "mean", _figure(report.logged), _interval(report.logged)
    for policy in report.policies:
        for kind, found in policy.estimates.items():
            mark = " *" if kind is policy.headline else ""
            yield policy.name, f"{kind.value}{mark}", _figure(found), _interval(found)


def _weights(report: OffPolicyReport) -> Iterator[tuple[str, ...]]:
    yield "weights", *(policy.name for policy in report.policies)
    shown = [asdict(policy.health) for policy in report.policies]
    for name, title in _HEALTH_TITLES.items():
        yield title, *(_cell(name, health[name]) for health in shown)


def _cell(name: str, value: float) -> str:
    if name in _SHARES:
        return f"{value:.2%}"
    return f"{value:.3f}" if name.startswith("mean") else f"{value:,.0f}" if value >= 100 else f"{value:.4g}"


def _differences(report: OffPolicyReport) -> Iterator[tuple[str, ...]]:
    yield "difference (same resamples)", "reward a choice", "95 % interval"
    for policy in report.policies:
        yield f"{policy.name} over the log", _figure(policy.over_log), _interval(policy.over_log)
    for row in report.differences[::2]:
        yield f"{row.policy} over {row.other}", _figure(row.estimate), _interval(row.estimate)


def _remarks(policy: PolicyJudgement) -> Iterator[str]:
    if policy.clipping is not None:
        yield (
            f"clipping       {policy.name}: moves IPS by {policy.clipping.observed:+.5f} on this log, "
            f"its bias is at most {policy.clipping.bound:.5f} either way"
        )
    yield from (f"warning        {policy.name}: {warning}" for warning in policy.warnings)
    yield from (f"NO CONCLUSION  {policy.name}: {reason}" for reason in policy.refusals)


def _figure(found: Estimate) -> str:
    return f"{found.value:.5f}" if np.isfinite(found.value) else "undefined"


def _interval(found: Estimate) -> str:
    return f"{found.low:.5f} .. {found.high:.5f}" if np.isfinite(found.value) else ""
