"""The claims of reliability: faults survived, nothing lost, doubled, exceeded or unexplained (docs/reliability.md)."""

from loadtests.evidence_engine import claim

CLAIMS = (
    claim(
        "the judge finds what is wrong",
        "lost, doubled, caps, volumes, unexplained answers, dead letters, archive: each found where it is made",
        ["pytest", "-q", "tests/unit/test_fault_reconciliation.py"],
        timeout=120,
    ),
    claim(
        "a small fault campaign",
        "13 faults of 13 kinds: 0 lost, 0 doubled, 0 caps exceeded, 0 unexplained",
        ["pytest", "-q", "tests/integration/test_fault_campaign.py"],
        timeout=600,
    ),
    claim(
        "a store that lost its ledgers",
        "reservations are back before decisions rely on them: no cap is given a second time",
        ["pytest", "-q", "tests/integration/test_ledger_restore.py"],
        timeout=300,
    ),
    claim(
        "the fault campaign",
        "500 faults over all kinds: 0 events lost or doubled, 0 caps or volumes exceeded, 0 unexplained decisions",
        ["loadtests.faults", "--seed", "1", "--faults", "500"],
        timeout=4 * 3600,
        quick=False,
    ),
    claim(
        "the same on Apache Kafka",
        "500 faults, the broker killed among them: 0 lost, doubled, exceeded, unexplained",
        ["loadtests.faults", "--seed", "1", "--faults", "500", "--broker", "kafka"],
        timeout=4 * 3600,
        quick=False,
    ),
    claim(
        "a day, compressed",
        "24 simulated hours: memory of every process grows by less than 1 MB an hour, handles by none",
        ["loadtests.faults.soak", "--minutes", "10"],
        timeout=1800,
        quick=False,
    ),
)
