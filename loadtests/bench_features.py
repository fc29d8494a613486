"""What a fold, a snapshot and a stored state cost: `python -m loadtests.bench_features`.

A typical retail customer (six postings a week, two logins) under forty streams and 250 attributes, and the same with a
busy one. Medians over repeats; one core.
"""

import gc
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    DerivedFeature,
    FeatureDeclarations,
    FeatureDefinition,
    ProfileAttribute,
    Value,
    Window,
)
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate, Update
from decision_engine.features.updates import EVENT_FIELDS

DAY_MS = 86_400_000
START_MS = 1_760_000_000_000
FOLD_TARGET_US = 20.0
SNAPSHOT_TARGET_US = 60.0
SIZE_TARGET = 2048

_POSTED = "bank.transaction.posted"
_WINDOWS = tuple(Window("d", days) for days in (1, 7, 14, 30, 60, 90))
_FILTERS = {
    "debit": 'direction == "debit"',
    "credit": 'direction == "credit"',
    "card": 'direction == "debit" && kind == "card"',
    "large": "amount >= 500000",
    "salary": 'kind == "salary"',
    "cash": 'kind in ["cash_deposit", "cash_withdrawal"]',
    "transfer_out": 'kind == "transfer_out"',
    "transfer_in": 'kind == "transfer_in"',
    "groceries": 'category == "groceries"',
    "travel": 'category == "travel"',
    "dining": 'category == "dining"',
    "abroad": 'has(merchant_country) && merchant_country != "CN"',
    "utility": 'kind == "utility"',
    "fee": 'kind == "fee"',
    "qr": 'kind == "qr_payment"',
    "own": "own_account == true",
}


@dataclass(frozen=True)
class Line:
    """One row of the table: what, how much, how much it may be."""

    claim: str
    measured: float
    target: float | None
    unit: str


def declarations() -> FeatureDeclarations:
    """Forty streams: 16 filters counted and summed, extremes, logins, distinct values, and whole-life facts."""
    features: list[FeatureDefinition] = []
    for name, where in _FILTERS.items():
        features.append(_feature(f"{name}_count", Aggregate.COUNT, where=where, windows=_WINDOWS))
        features.append(_feature(f"{name}_sum", Aggregate.SUM, where=where, field="amount", windows=_WINDOWS))
    for name in ("debit", "credit"):
        where = _FILTERS[name]
        features.append(_feature(f"{name}_mean", Aggregate.MEAN, where=where, field="amount", windows=_WINDOWS))
        features.append(_feature(f"{name}_max", Aggregate.MAX, where=where, field="amount", windows=_WINDOWS))
        pairs = ((_WINDOWS[1], _WINDOWS[5]),)
        features.append(_feature(f"{name}_ratio", Aggregate.RATIO, where=where, field="amount", window_pairs=pairs))
        features.append(
            _feature(f"{name}_trend", Aggregate.TREND, where=where, field="amount", windows=_WINDOWS[1:4:2])
        )
        features.append(_feature(f"{name}_since", Aggregate.DAYS_SINCE_LAST, where=where))
    features.append(_feature("categories", Aggregate.DISTINCT, field="category", windows=_WINDOWS[3:5]))
    features.append(_feature("balance", Aggregate.LAST, field="balance_after"))
    features.extend(
        _feature(source, Aggregate.COUNT, source=f"bank.channel.{source}", windows=_WINDOWS[1:4])
        for source in ("login", "page_view", "search", "call_started")
    )
    return FeatureDeclarations(
        time_zone="Asia/Shanghai",
        profile=tuple(_profile(f"profile_{number}") for number in range(10)),
        features=tuple(features),
        derived=(
            DerivedFeature(
                name="idle_share",
                expression="balance / max(1, credit_sum_30d)",
                type=AttributeType.DOUBLE,
                theme="contribution",
                description={},
            ),
        ),
    )


def customer(weeks: int, postings_a_week: int, seed: int) -> Iterator[PositionedUpdate]:
    """The events of one customer in order of time."""
    draw = random.Random(seed)
    times = sorted(draw.randrange(weeks * 7 * DAY_MS) for _ in range(weeks * (postings_a_week + 2)))
    attributes: dict[str, Value] = {f"profile_{number}": draw.randrange(100) for number in range(10)}
    yield _positioned(2, 0, Update(event_key=1, source="bank.profile.updated", time_ms=START_MS, attributes=attributes))
    for number, offset_ms in enumerate(times):
        if draw.random() < 2 / (postings_a_week + 2):
            update = Update(
                event_key=draw.getrandbits(64),
                source="bank.channel.login",
                time_ms=START_MS + offset_ms,
                fields={"channel": "mobile"},
            )
            yield _positioned(1, number, update)
        else:
            yield _positioned(0, number, _posting(draw, START_MS + offset_ms))


def measure(repeats: int) -> list[Line]:
    """The lines of the table."""
    features = compile_features(declarations(), EVENT_FIELDS)
    lines = [
        Line("streams", len(features.stored.streams) + len(features.stored.distinct), None, ""),
        Line("attributes", len(features.names), None, ""),
    ]
    for who, postings in (("typical", 6), ("busy", 60)):
        lines += _customer_lines(features, who, postings, repeats)
    return lines


def _customer_lines(features: CompiledFeatures, who: str, postings: int, repeats: int) -> list[Line]:
    typical = who == "typical"
    *history, newest = customer(20, postings, seed=7)
    state = fold(features, None, history).value
    now_ms = START_MS + 20 * 7 * DAY_MS
    batch = history[-100:]
    before = fold(features, None, history[:-100]).value
    return [
        Line(f"{who}: state", len(state), SIZE_TARGET if typical else None, "bytes"),
        Line(
            f"{who}: fold of one event",
            _median_us(lambda: fold(features, state, (newest,)), repeats),
            FOLD_TARGET_US if typical else None,
            "us",
        ),
        Line(
            f"{who}: fold of 100, each",
            _median_us(lambda: fold(features, before, batch), repeats // 20) / 100,
            None,
            "us",
        ),
        Line(
            f"{who}: snapshot",
            _median_us(lambda: read_snapshot(features, state, now_ms), repeats),
            SNAPSHOT_TARGET_US if typical else None,
            "us",
        ),
        Line(f"{who}: first snapshot of many", _first_snapshots_us(features, postings, now_ms), None, "us"),
    ]


def _first_snapshots_us(features: CompiledFeatures, postings: int, now_ms: int) -> float:
    """Median over customers who have not been read before."""
    states = [fold(features, None, list(customer(20, postings, seed=100 + number))).value for number in range(60)]
    samples = []
    for state in states:
        start = time.perf_counter_ns()
        read_snapshot(features, state, now_ms)
        samples.append((time.perf_counter_ns() - start) / 1000)
    return statistics.median(samples)


def _median_us(work: Callable[[], object], repeats: int) -> float:
    """Median over repeats of the time for one call, in microseconds; the collector rests meanwhile."""
    for _ in range(50):
        work()
    samples = []
    gc.disable()
    for _ in range(max(repeats, 20)):
        start = time.perf_counter_ns()
        for _ in range(10):
            work()
        samples.append((time.perf_counter_ns() - start) / 10_000)
    gc.enable()
    return statistics.median(samples)


def _feature(
    name: str,
    aggregate: Aggregate,
    *,
    source: str = _POSTED,
    where: str | None = None,
    field: str | None = None,
    windows: tuple[Window, ...] = (),
    window_pairs: tuple[tuple[Window, Window], ...] = (),
) -> FeatureDefinition:
    return FeatureDefinition(
        name=name,
        source=source,
        aggregate=aggregate,
        theme="transaction",
        description={},
        field=field,
        where=where,
        windows=windows,
        window_pairs=window_pairs,
    )


def _profile(name: str) -> ProfileAttribute:
    return ProfileAttribute(name=name, type=AttributeType.INT, theme="basic", description={})


def _positioned(topic: int, offset: int, update: Update) -> PositionedUpdate:
    return PositionedUpdate(topic, offset, update)


def _posting(draw: random.Random, time_ms: int) -> Update:
    kind = draw.choice(["card", "card", "card", "qr_payment", "qr_payment", "transfer_out", "transfer_in", "utility"])
    fields: dict[str, Value] = {
        "account_id": "1",
        "direction": "credit" if kind == "transfer_in" else "debit",
        "amount": draw.randrange(100, 900_000),
        "currency": "CNY",
        "balance_after": draw.randrange(10_000_000),
        "kind": kind,
        "category": draw.choice(["groceries", "groceries", "dining", "travel", "home"]),
        "counterparty": "shop",
    }
    return Update(event_key=draw.getrandbits(64), source=_POSTED, time_ms=time_ms, fields=fields)


def main() -> int:
    """Prints the table; 1 if a target is missed."""
    lines = measure(repeats=300)
    missed = 0
    for line in lines:
        verdict = ""
        if line.target is not None:
            verdict = "ok" if line.measured <= line.target else "MISSED"
            missed += verdict == "MISSED"
        target = "" if line.target is None else f"<= {line.target:g}"
        print(f"{line.claim:32} {line.measured:10.1f} {line.unit:6} {target:10} {verdict}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
