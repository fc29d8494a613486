"""The claims of operations: security, deployment, observability, privacy. Each is a command that judges itself."""

from loadtests.evidence_engine import claim

SECURITY = (
    claim(
        "no request breaks the API",
        "20,000 requests generated from the OpenAPI document, with a key: no 5xx, no undocumented status or answer",
        ["loadtests.api_fuzz"],
        timeout=1800,
        quick=False,
    ),
    claim(
        "controls of security",
        "every test of the table of docs/security.md: tokens, TLS, scopes by route, foreign ids, limits, secrets",
        ["pytest", "-q", "tests/unit/security", "tests/unit/api"],
        timeout=600,
    ),
    claim(
        "no customer in the logs",
        "20,000 requests with seeded canaries, errors and dead letters included: none in logs or metrics",
        ["loadtests.log_canaries"],
        timeout=600,
    ),
    claim(
        "sensitive attributes decide nothing",
        "flipped: 0 of 10,000 answers change; everything permuted of who refused personalisation: 0 of 10,000",
        ["loadtests.sensitive_flips"],
        timeout=900,
    ),
    claim(
        "what is delivered is known",
        "every requirement pinned by hash, bandit finds nothing unanswered, a bill of materials of what runs",
        ["loadtests.supply_chain"],
        timeout=300,
    ),
    claim(
        "no known faults in dependencies",
        "pip-audit over what runs: clean, or each finding answered",
        ["loadtests.supply_chain", "--known-faults"],
        timeout=600,
        quick=False,
    ),
    claim(
        "what tokens cost",
        "a token seen before costs under 10 us a request; one seen first under 1 ms",
        ["loadtests.token_cost"],
        timeout=120,
    ),
)

PRIVACY = (
    claim(
        "nothing of an erased person is left",
        "after an erasure, and after a rebuild from archive and log: 0 hits for the id in every key, value and file; "
        "everybody else's keys and records byte for byte as before",
        ["pytest", "-q", "tests/integration/test_erasure_everywhere.py"],
        timeout=900,
    ),
    claim(
        "an erasure survives kills",
        "the archiver killed between any two steps: the erasure is carried out, no other record is touched",
        ["pytest", "-q", "tests/unit/privacy"],
        timeout=120,
    ),
    claim(
        "attributes are used for their purposes",
        "a marketing rule or model over an attribute that is not for marketing does not load",
        ["pytest", "-q", "tests/unit/strategy_loading/test_purposes_of_attributes.py"],
        timeout=120,
    ),
)

DEPLOYMENT = (
    claim(
        "the deployment is whole",
        "every role in compose and Kubernetes, every variable a setting, every manifest valid for 1.29 to 1.33",
        ["pytest", "-q", "tests/unit/deployment"],
        timeout=300,
    ),
    claim(
        "the wheel starts every role",
        "built, installed with the pinned libraries, all roles up, and a decision offers something",
        ["loadtests.installed_wheel"],
        timeout=600,
        quick=False,
    ),
    claim(
        "every alert fires and is over",
        "50 alerts: silent before, firing, over after in promtool; each with its page of what to do",
        ["pytest", "-q", "tests/unit/test_alert_rules.py"],
        timeout=300,
    ),
    claim(
        "a real Prometheus sees everything",
        "contract metrics under load with bounded labels; every dashboard query has data but those named; no page",
        ["pytest", "-q", "tests/e2e/test_observability.py"],
        timeout=600,
    ),
    claim(
        "traces over HTTP, Kafka and Redis",
        "a caller's trace goes on to store, bus and state; nothing is wrapped where it is off",
        ["pytest", "-q", "tests/integration/test_traces.py"],
        timeout=300,
    ),
    claim(
        "a backup brings everything back",
        "acts byte for byte on new servers, damage and loss refused; the doctor finds each fault it is shown",
        ["pytest", "-q", "tests/integration/test_backup_and_doctor.py"],
        timeout=300,
    ),
    claim(
        "the disaster drill",
        "all lost but backup and mirror: the chain holds, the same customer is offered the same",
        ["loadtests.disaster_drill", "--customers", "2000"],
        timeout=600,
    ),
)

CLAIMS = (
    *SECURITY,
    *PRIVACY,
    *DEPLOYMENT,
)
