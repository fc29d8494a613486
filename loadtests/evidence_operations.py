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
        "no input breaks a decoder",
        "1,000,000 inputs over every reader of what comes from outside: only declared errors, none over 100 ms",
        ["loadtests.decoder_fuzz"],
        timeout=3600,
        quick=False,
    ),
    claim(
        "what hostile clients send is refused",
        "26 kinds of bad bodies and headers: a problem each, loop busy < 50 ms, small ones < 5 ms CPU, RSS + < 5 MB",
        ["loadtests.hostile_http"],
        timeout=300,
    ),
    claim(
        "slow clients cost others nothing",
        "500 half-sent requests: closed within 10 s, p99 of others at most 20 % above rounds without",
        ["loadtests.slow_clients"],
        timeout=600,
        quick=False,
    ),
    claim(
        "a greedy client costs others nothing",
        "twice the limit asked: limit +-2 % taken, the rest 429 with Retry-After; p99 of others at most 10 % above",
        ["loadtests.slow_clients", "--greedy"],
        timeout=600,
        quick=False,
    ),
    claim(
        "foreign and absent look alike",
        "every operation about a customer: the same 404, bytes and headers; times apart by no more than chance",
        ["loadtests.foreign_ids"],
        timeout=300,
    ),
    claim(
        "forged answers are refused",
        "1,000 tracking ids guessed around a real one: 1,000 refused, nothing published",
        ["pytest", "-q", "tests/unit/security/test_security_matrix.py", "-k", "forged"],
        timeout=120,
    ),
    claim(
        "controls of security",
        "every test of the table of docs/security.md: tokens, TLS, scopes by route, foreign ids, limits, secrets",
        ["pytest", "-q", "tests/unit/security", "tests/unit/api"],
        timeout=600,
    ),
    claim(
        "no customer in the logs",
        "20,000 requests and 3,000 events with seeded canaries, errors included: none in logs, metrics, traces, "
        "refusals, reasons of dead letters",
        ["loadtests.log_canaries"],
        timeout=900,
    ),
    claim(
        "sensitive attributes decide nothing",
        "flipped: 0 of 10,000 answers change; everything permuted of who refused personalisation: 0 of 10,000",
        ["loadtests.sensitive_flips"],
        timeout=900,
    ),
    claim(
        "decisions computed again from their records",
        "10,000 of 10,000 made through the API over the demo bank, degraded ones among them: byte for byte",
        ["loadtests.replayed_decisions"],
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

UPGRADING = (
    claim(
        "rolling restarts",
        "two API nodes and three state builders under load, each restarted by SIGTERM, each builder killed: no failed "
        "request, gone within 10 s, no event lost or doubled by an independent fold of the log",
        ["loadtests.rolling_restarts", "--seconds", "60"],
        timeout=900,
        quick=False,
    ),
    claim(
        "rolling upgrade",
        "two layouts of states, and the release before beside this one with a step back half-way, under load: no "
        "failed request, every state, contact and answer by an independent fold of the log",
        ["pytest", "-q", "tests/integration/test_rolling_upgrade.py"],
        timeout=900,
        quick=False,
    ),
    claim(
        "events of two releases",
        "every event the release before wrote is read whole, field by field; newer fields of our own are passed over",
        ["pytest", "-q", "tests/unit/event_schemas"],
        timeout=300,
    ),
)

CLAIMS = (
    *SECURITY,
    *PRIVACY,
    *DEPLOYMENT,
    *UPGRADING,
)
