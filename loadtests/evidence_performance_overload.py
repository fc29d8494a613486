"""The claims of overload: what a full node still does, whom it refuses, and how it comes back."""

from loadtests.evidence_engine import claim

CLAIMS = (
    claim(
        "overload at 1.5, 3 and 10 times capacity",
        "goodput at least 90 % of capacity at 3x, 70 % at 10x, p99 of answers within 100 ms, of refusals within 20 ms "
        "and at less than a tenth of a decision's processor time; agents and screens 99 % in time while batches are "
        "refused; full rate within 5 s, memory within 10 %; 1,000 clients at once bring nothing down; a store that "
        "hangs: p99 within 1.2 deadlines, nobody refused, whole again within 5 s",
        ["loadtests.overload"],
        timeout=600,
        quick=False,
    ),
    claim(
        "the limit on a simulated loop",
        "the same goodput, priorities and recovery, machine-independent",
        ["pytest", "-q", "tests/unit/api/test_load_limit.py", "tests/unit/api/test_load_gate.py"],
        timeout=300,
    ),
    claim(
        "circuits of store and bus",
        "open within a second of a hang, one call at a time while open, closed within five seconds of the first answer",
        ["pytest", "-q", "tests/unit/use_cases/test_circuit_breaker.py", "tests/integration/test_store_circuit.py"],
        timeout=300,
    ),
)
