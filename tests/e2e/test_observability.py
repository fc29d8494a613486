"""The whole product embedded, under load, watched by a real Prometheus: every metric of the contract is there, labels
stay few, every dashboard query returns data, every alert can be evaluated."""

import asyncio
import importlib.util
import json
import re
import shutil
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from services.adapters.embedded_servers import free_port
from services.adapters.prometheus_metrics import CONTRACT, PREFIX
from services.commands.dev import Deployment, deployment
from services.simulation.traffic import TrafficConfig, TrafficStats, run_demo_traffic

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
LOAD_SECONDS = 9.0
PUBLIC = (
    "decision_seconds", "decision_stage_seconds", "decisions_total", "rejections_total", "fallbacks_total",
    "degraded_total", "responses_total", "events_applied_total", "events_dead_lettered_total", "event_lag_seconds",
    "feature_age_seconds", "ledger_reservations_total", "volume_remaining", "model_score", "model_calibration_error",
    "feature_psi", "arm_reward_total",
)  # fmt: skip
"""The names that the public contract promises."""
QUIET = {
    # Names without a series in a bank of some seconds, each with what brings one.
    "degraded_total": "something is missing",
    "events_refused_total": "somebody was erased",
    "events_late_total": "an event older than the longest window",
    "events_duplicate_total": "a producer repeats an event",
    "state_conflicts_total": "two builders own a partition",
    "state_rewinds_total": "the store lost writes",
    "records_unkept_total": "store or bus is away",
    "requests_failed_total": "an answer of 500 or above",
    "shed_total": "more than can be taken",
    "circuit_opened_total": "store or bus hangs or fails",
    "model_score": "a model serves; the first is fitted after some thousand answers",
    "model_calibration_error": "a fit",
    "feature_psi": "a model serves for some thousand rows",
    "model_drift_alarm": "a model serves for some thousand rows",
    "model_fits_total": "a fit",
    "model_refusals_total": "a version that does not fit",
    "model_shadow_total": "a version in the shadow",
    "kill_switch_engaged": "somebody stops something",
    "strategy_share": "a canary",
    "webhook_tries_total": "a receiver is configured",
    "guard_share": "a new version beside the one before",
    "signing_keys": "access tokens",
    "signing_key_fetches_total": "access tokens",
    "revocations_read_total": "another list of the revoked",
    "volume_price": "a volume that is scarce",
    "conversions_attributed_total": "a purchase after an offer",
    "online_updates_total": "an answer to what online learning asked",
    "online_pending": "an answer to what online learning asked",
    "online_posterior_age_seconds": "evidence to learn from",
    "events_dead_lettered_total": "an unreadable record on the bus",
    "ledger_reservations_total": "an offer with a cap",
    "trigger_delay_seconds": "a pattern that fires",
    "trigger_firings_total": "a pattern that fires",
    "outbound_published_total": "a pattern that fires",
    "streams_open": "a screen listens",
    "governance_acts": "somebody acts",
    "governance_faults": "somebody acts",
}
MUST_HAVE = {
    "decision_seconds", "decision_stage_seconds", "decisions_total", "rejections_total", "fallbacks_total",
    "responses_total", "events_applied_total", "event_lag_seconds", "feature_age_seconds", "arm_reward_total",
    "apply_delay_seconds", "bus_lag_records", "volume_remaining", "ledger_reservations_total", "archived_total",
}  # fmt: skip
"""What load brings whatever else happens."""
MOST_SERIES = 2_000
"""Of one metric of one role, with the demo bank's 60 offers and 200 rules."""
pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], str]]:
    """The metrics pages after load, and the address of a Prometheus that scraped them meanwhile (empty: none here)."""
    folder = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with asyncio.Runner() as runner:
            served = _serve(folder)
            try:
                yield runner.run(anext(served))
            finally:
                runner.run(served.aclose())


async def _serve(folder: Path) -> AsyncIterator[tuple[dict[str, str], str]]:
    async with deployment(ROOT / "deploy" / "strategies" / "demo_bank", free_port()) as running:
        prometheus, address = await _start_prometheus(folder, running)
        try:
            await _load(running)
            pages = {role: await asyncio.to_thread(_get, url) for role, url in _pages(running).items()}
            await asyncio.sleep(2.5)  # two more scrapes, so that every rate has its two points
            yield pages, address
        finally:
            if prometheus is not None:
                prometheus.terminate()
                await prometheus.wait()


def _pages(running: Deployment) -> dict[str, str]:
    ports = {**running.metrics_ports, "api": running.settings.port}
    return {role: f"http://127.0.0.1:{port}/metrics" for role, port in ports.items()}


async def _load(running: Deployment) -> None:
    """A small bank lives for some seconds; and somebody sends what must not become labels."""
    stop, stats = asyncio.Event(), TrafficStats()
    config = TrafficConfig(
        api_url=running.api_url, bootstrap_servers=running.settings.kafka_bootstrap_servers,
        strategy_path=running.settings.strategy_path, customers=120, history_days=5, day_seconds=20.0,
        visits_per_second=60.0, idempotence=False,
    )  # fmt: skip
    traffic = asyncio.create_task(run_demo_traffic(config, stats, stop))
    deadline = time.monotonic() + 60.0
    while stats.phase != "live" and time.monotonic() < deadline and not traffic.done():
        await asyncio.sleep(0.1)
    for number in range(300):
        await asyncio.to_thread(_hostile, running.api_url, number)
    await asyncio.sleep(LOAD_SECONDS)
    stop.set()
    await traffic


def _hostile(url: str, number: int) -> None:
    body = {
        "request_id": f"sent-{number}", "customer_id": f"retail:sent{number}", "channel": f"sent_{number}",
        "placements": [{"id": f"sent_{number}", "count": 1}], "context": {"page": f"sent-{number}"},
    }  # fmt: skip
    event = {
        "specversion": "1.0", "id": f"sent-{number}", "type": f"bank.channel.sent_{number}", "source": "sent-source",
        "subject": f"retail:sent{number}", "time": "2026-11-21T09:30:00Z", "data": {},
    }  # fmt: skip
    answered = {"outcome": "click", "response_id": f"sent-{number}", "tracking_id": f"sent.{number}"}
    for path, document in (("decisions", body), ("events", event), ("responses", answered), (f"sent-{number}", {})):
        request = urllib.request.Request(
            f"{url}/v1/{path}", json.dumps(document).encode(), {"Content-Type": "application/json"}
        )
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except urllib.error.HTTPError as refused:
            refused.close()


async def _start_prometheus(folder: Path, running: Deployment) -> tuple[asyncio.subprocess.Process | None, str]:
    binary = shutil.which("prometheus")
    if binary is None:
        return None, ""
    targets = [
        {"targets": [urllib.parse.urlsplit(url).netloc], "labels": {"role": role}}
        for role, url in _pages(running).items()
    ]
    config = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    config["scrape_configs"] = [{"job_name": "kairos", "static_configs": targets}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            binary, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}", stdout=log, stderr=log,
        )  # fmt: skip
    return process, f"http://127.0.0.1:{port}"


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def _asked(address: str, path: str, **parameters: str) -> dict[str, object]:
    document = json.loads(_get(f"{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
    assert document["status"] == "success", document
    data: dict[str, object] = document["data"]
    return data


def _series(pages: dict[str, str], name: str) -> list[str]:
    """Lines of the metric's samples, over all roles."""
    pattern = re.compile(rf"^{PREFIX}{name}(_bucket|_count|_sum)?(\{{| )")
    return [line for page in pages.values() for line in page.splitlines() if pattern.match(line)]


def test_every_metric_of_the_contract_is_on_a_page(watched: tuple[dict[str, str], str]) -> None:
    pages, _ = watched
    everything = "\n".join(pages.values())
    for name in PUBLIC:
        assert name in CONTRACT
        assert f"# TYPE {PREFIX}{name} {CONTRACT[name].kind}" in everything, name


def test_load_brings_series_of_every_metric_but_those_of_faults_and_fits(watched: tuple[dict[str, str], str]) -> None:
    pages, _ = watched
    assert {name for name in MUST_HAVE if not _series(pages, name)} == set()
    assert {name for name in PUBLIC if not _series(pages, name)} <= set(QUIET)


def test_nothing_a_caller_sends_becomes_a_label_and_series_stay_few(watched: tuple[dict[str, str], str]) -> None:
    pages, _ = watched
    for role, page in pages.items():
        assert not re.search(r"sent[-_.]?(source|\d)", page), role
        assert not re.search(r'"(retail|corp):', page), role
        assert f"{PREFIX}series_dropped_total{{" not in page, role
    for name in CONTRACT:
        assert len(_series(pages, name)) <= MOST_SERIES, name


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_prometheus_reads_every_role(watched: tuple[dict[str, str], str]) -> None:
    pages, address = watched
    found = _asked(address, "query", query='up{job="kairos"} == 1')["result"]
    assert isinstance(found, list)
    assert {one["metric"]["role"] for one in found} == set(pages)


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_every_dashboard_query_returns_data_but_those_of_what_a_quiet_bank_has_not(
    watched: tuple[dict[str, str], str],
) -> None:
    _, address = watched
    spec = importlib.util.spec_from_file_location("grafana_build", ROOT / "deploy" / "grafana" / "build.py")
    assert spec is not None and spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    sys.modules["grafana_build"] = build
    spec.loader.exec_module(build)
    empty, asked = [], 0
    for dashboard, panel, expression in build.queries():
        text = expression.replace("$__rate_interval", "10s").replace("$__range", "1m")
        asked += 1
        if not _asked(address, "query", query=text)["result"]:
            names = set(re.findall(rf"{PREFIX}([a-z_]+?)(?:_bucket|_sum|_count)?(?=[^a-z_]|$)", expression))
            if not names & set(QUIET):
                empty.append(f"{dashboard} / {panel}: {text}")
    assert asked > 60
    assert empty == []


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_every_alert_is_evaluated_without_an_error_and_a_healthy_bank_pages_nobody(
    watched: tuple[dict[str, str], str],
) -> None:
    _, address = watched
    groups = _asked(address, "rules")["groups"]
    assert isinstance(groups, list)
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) > 60
    assert [rule["name"] for rule in found if rule["health"] != "ok"] == []
    firing = {r["name"] for r in found if r.get("state") == "firing" and r["labels"].get("severity") == "page"}
    assert firing == set()
