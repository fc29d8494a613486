"""The claims of the screens and the governance behind them. Each is a command that judges itself."""

from loadtests.evidence_engine import claim

CLAIMS = (
    claim(
        "the agent's desktop is fast",
        "customer opened to three offers under 300 ms, accepted offer replaced under 200 ms at the median of 60",
        ["loadtests.agent_desktop_latency"],
        timeout=600,
    ),
    claim(
        "a lead reaches the manager",
        "from the event to the lead on the screen under one second, the worst of 30 arrivals",
        ["loadtests.lead_to_screen"],
        timeout=300,
    ),
    claim(
        "screens in the browser",
        "every screen's main path end to end in headless Chromium, with pictures; nothing logged, no policy broken",
        ["pytest", "-q", "tests/browser"],
        timeout=2_400,
        quick=False,
    ),
    claim(
        "screens for everybody",
        "axe-core finds nothing serious; both languages, both themes, 1280 px and tablets, by keyboard alone",
        ["pytest", "-q", "tests/browser", "-k", "accessible or keyboard or keys_alone or chinese or tablet"],
        timeout=1_200,
        quick=False,
    ),
    claim(
        "a marketer's path",
        "new offer, two treatments, rule, cap; checked, simulated, approved by another, live: under 30 clicks",
        ["loadtests.marketer_path"],
        timeout=400,
    ),
    claim(
        "a kill switch acts",
        "in under one second on two API nodes under load, the worst of 20 switches",
        ["loadtests.kill_switch_latency"],
        timeout=300,
    ),
    claim(
        "the audit chain holds",
        "any changed, removed or reordered event is found: every one of 700 random manipulations; no false alarm",
        ["loadtests.audit_tampering"],
        timeout=300,
    ),
)
