"""A campaign's outcome as a table and as a result file."""

import os
from collections import Counter, defaultdict
from statistics import median

from loadtests.faults.campaign import Outcome
from loadtests.faults.reconciliation import Findings
from loadtests.results import Result, Table, Verdict, describe

FINDINGS = tuple(Findings.__dataclass_fields__)
_NODE_AWAY = frozenset({"api_killed", "api_frozen", "api_terminated"})
_NO_ANSWER = frozenset(
    {"ConnectError", "ReadError", "RemoteProtocolError", "ReadTimeout", "ConnectTimeout", "WriteError"}
)
_WHY = (
    ("200", "answered"),
    ("202", "acknowledged"),
    ("409", "another body under the same request id"),
    ("429 Retry-After", "more than the node takes at once"),
    ("503 Retry-After", "the bus or the store does not acknowledge, or the same request is under way"),
    ("422", "not valid, and meant to be"),
    ("400", "not valid, and meant to be"),
)


def why_allowed(what: str, status: str, during: str) -> str | None:
    """Why a status is no broken promise; None where it is one."""
    if status in _NO_ANSWER:
        return "the node was killed, stopped or restarted" if during in _NODE_AWAY else None
    if status in ("409", "422", "400") and what not in ("conflict", "invalid"):
        return None
    return dict(_WHY).get(status)


def unexpected(outcome: Outcome) -> Counter[tuple[str, str, str]]:
    """Answers that nothing allows."""
    return Counter({key: n for key, n in outcome.statuses.items() if why_allowed(*key) is None})


def is_sound(outcome: Outcome) -> bool:
    """Whether every promise was kept as far as the campaign went."""
    kept = all(one.recovery_s is not None and not one.findings and not one.problems for one in outcome.struck)
    return kept and not unexpected(outcome)


def holds(outcome: Outcome) -> bool:
    """Whether every promise was kept, to the end."""
    return outcome.finished and is_sound(outcome)


def table(outcome: Outcome) -> str:
    """By kind how many, how long to recover, and what was found; then the totals."""
    lines = [f"{'kind':<28} {'faults':>6} {'median s':>9} {'worst s':>9}  findings"]
    for name, faults, middle, worst, found in _by_kind(outcome):
        lines.append(f"{name:<28} {faults:>6} {middle:>9.2f} {worst:>9.2f}  {found}")
    lines += ["", *_totals(outcome), "", f"{'asked':<10} {'answer':<24} {'times':>7}  why"]
    grouped: Counter[tuple[str, str, str]] = Counter()
    for (what, status, during), times in outcome.statuses.items():
        grouped[what, status, why_allowed(what, status, during) or f"NOT ALLOWED during {during}"] += times
    lines += [f"{what:<10} {status:<24} {times:>7}  {why}" for (what, status, why), times in sorted(grouped.items())]
    for one in outcome.struck:
        lines += [
            f"fault {one.number} {one.kind}: {n}: {e}" for n, entries in one.findings.items() for e in entries[:3]
        ]
        lines += [f"fault {one.number} {problem}" for problem in one.problems]
    lines.append("MISSED" if not is_sound(outcome) else "holds" if outcome.finished else "cut short, nothing amiss")
    return "\n".join(lines)


def result(outcome: Outcome) -> Result:
    """For `var/bench`."""
    recoveries = [one.recovery_s for one in outcome.struck if one.recovery_s is not None and one.kind != "end"]
    figures = {f"{name}_total": float(outcome.total(name)) for name in FINDINGS}
    figures |= {
        "faults": float(_faults(outcome)),
        "faults_planned": float(outcome.planned),
        "kinds": float(len({one.kind for one in outcome.struck} - {"end"})),
        "not_recovered": float(sum(one.recovery_s is None for one in outcome.struck)),
        "unexpected_answers": float(unexpected(outcome).total()),
        "problems": float(sum(len(one.problems) for one in outcome.struck)),
        "answers": float(outcome.answers),
        "degraded_answers": float(outcome.degraded),
        "events": float(outcome.events),
        "responses": float(outcome.responses),
        "records_in_the_store_alone": float(outcome.kept_only),
        "recovery_median_s": round(median(recoveries), 3) if recoveries else 0.0,
        "recovery_worst_s": round(max(recoveries, default=0.0), 3),
    }
    rows: list[list[str | float]] = [
        [name, faults, round(middle, 2), round(worst, 2), found]
        for name, faults, middle, worst, found in _by_kind(outcome)
    ]
    return describe(
        f"faults-{outcome.broker}",
        f"Fault campaign, broker {outcome.broker}, seed {outcome.seed}",
        figures=figures,
        tables=[Table("Faults by kind", ["kind", "faults", "recovery median s", "recovery worst s", "findings"], rows)],
        verdicts=[
            Verdict(
                "every fault is survived",
                "0 lost, doubled, exceeded, unexplained",
                "; ".join(_totals(outcome)),
                holds(outcome),
            )
        ],
        notes=[
            f"{one.number} {one.kind}: {one.findings} {one.problems}"[:500]
            for one in outcome.struck
            if one.findings or one.problems
        ],
    )


def _faults(outcome: Outcome) -> int:
    return sum(one.kind != "end" for one in outcome.struck)


def _by_kind(outcome: Outcome) -> list[tuple[str, int, float, float, str]]:
    recoveries: dict[str, list[float]] = defaultdict(list)
    faults: Counter[str] = Counter()
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for one in outcome.struck:
        faults[one.kind] += 1
        if one.recovery_s is None:
            found[one.kind]["not recovered"] += 1
        else:
            recoveries[one.kind].append(one.recovery_s)
        found[one.kind].update({name: len(entries) for name, entries in one.findings.items()})
        if one.problems:
            found[one.kind]["problems"] += len(one.problems)
    return [
        (
            kind,
            faults[kind],
            median(recoveries[kind]) if recoveries[kind] else 0.0,
            max(recoveries[kind], default=0.0),
            ", ".join(f"{n} {name}" for name, n in found[kind].items()) or "none",
        )
        for kind in sorted(faults)
    ]


def _totals(outcome: Outcome) -> list[str]:
    return [
        f"{_faults(outcome)} of {outcome.planned} faults, {outcome.events:,} events, {outcome.answers:,} decisions "
        f"({outcome.degraded:,} degraded), {outcome.responses:,} responses acknowledged, load {os.getloadavg()[0]:.1f}",
        ", ".join(f"{name} {outcome.total(name)}" for name in FINDINGS),
        f"not recovered {sum(one.recovery_s is None for one in outcome.struck)}, "
        f"problems {sum(len(one.problems) for one in outcome.struck)}, "
        f"unexpected answers {unexpected(outcome).total()}, "
        f"records in the store alone {outcome.kept_only}, ended by themselves {outcome.own_ends}",
        ", ".join(f"{n} median {median(v):.2f} worst {max(v):.2f}" for n, v in sorted(outcome.figures.items()) if v),
    ]
