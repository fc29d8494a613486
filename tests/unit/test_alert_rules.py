"""Every alert asks for metrics there are, fires and is over in promtool's own tests, and has a page of what to do."""

import importlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.__main__ import COMMANDS
from services.adapters.prometheus_metrics import CONTRACT, DROPPED, PREFIX, Declared

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
FILES = sorted(path for path in FOLDER.glob("alerts_*.yaml") if not path.stem.endswith("_test"))
SECTIONS = ("What it means", "What customers feel", "Look at", "Do", "Over when")
OWN = {"up", "process_start_time_seconds"}
"""What Prometheus and its client library give."""


def rules(path: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for path in FILES for rule in rules(path)}


def declared() -> dict[str, Declared]:
    """Every metric of every role."""
    found = {PREFIX + name: metric for name, metric in CONTRACT.items()}
    for module in (*COMMANDS.values(), "services.commands.model_drift"):
        for value in vars(importlib.import_module(module)).values():
            if isinstance(value, dict):
                found |= {PREFIX + name: one for name, one in value.items() if isinstance(one, Declared)}
    return found | {PREFIX + DROPPED: Declared("counter", ("metric",), "")}


def asked_for(expression: str) -> set[str]:
    """The metrics an expression names, as they are declared."""
    names = set(re.findall(rf"\b{PREFIX}[a-z_]+\b(?!:)", expression))
    return {
        re.sub("_(bucket|sum|count)$", "", name) if re.search("_(bucket|count|sum)$", name) else name for name in names
    }


def test_every_alert_and_recording_asks_for_metrics_that_roles_have() -> None:
    known = set(declared())
    recorded = {rule["record"] for rule in rules(FOLDER / "rules_slo.yaml")}
    for name, rule in ALERTS.items():
        text = str(rule["expr"])
        assert asked_for(text) <= known, name
        assert set(re.findall(r"kairos:[a-z_]+:[a-z_0-9]+", text)) <= recorded, name
        assert asked_for(text) or "kairos:" in text or any(own in text for own in OWN), name
    for rule in rules(FOLDER / "rules_slo.yaml"):
        assert asked_for(rule["expr"]) <= known


def test_every_label_an_alert_selects_or_groups_by_is_one_of_the_metric() -> None:
    known, common = declared(), {"instance", "role", "job", "le"}
    for name, rule in ALERTS.items():
        text = str(rule["expr"])
        labels = {label for metric in asked_for(text) for label in known[metric].labels} | common
        for selected in re.findall(r"\{([^}]*)\}", text):
            assert {pair.split("=")[0].split("!")[0].strip() for pair in selected.split('",')} <= labels, name
        for grouped in re.findall(r"by \(([^)]*)\)", text):
            assert {label.strip() for label in grouped.split(",")} <= labels, name


def test_every_bucket_asked_for_is_a_bound() -> None:
    for path in (*FILES, FOLDER / "rules_slo.yaml"):
        for metric, bound in re.findall(r'(kairos_[a-z_]+)_bucket\{le="([^"]+)"', path.read_text(encoding="utf-8")):
            assert float(bound) in declared()[metric].bounds, (metric, bound)


def test_every_alert_says_how_bad_it_is_and_where_to_read_on() -> None:
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in {"page", "warning"}, name
        assert rule["annotations"]["summary"], name
        assert rule["annotations"]["runbook"] == f"docs/runbooks/{name}.md"


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(ALERTS)
    for name in ALERTS:
        text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
        assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == SECTIONS, name
        assert text.startswith(f"# {name}\n")
        assert all(len(part.strip()) > 5 for part in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]), name
        for link in re.findall(r"\]\(([^)]+\.md)\)", text):
            assert (RUNBOOKS / link).exists(), (name, link)


def test_every_command_a_page_names_is_one() -> None:
    for path in RUNBOOKS.glob("*.md"):
        for command in re.findall(r"`kairos ([a-z-]+)", path.read_text(encoding="utf-8")):
            assert command in COMMANDS, (path.name, command)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_alert_is_silent_before_and_fires(path: Path) -> None:
    """And is over after, but for the alerts on models, which last as long as the learner's own verdict."""
    body = yaml.safe_load(path.with_name(f"{path.stem}_test.yaml").read_text(encoding="utf-8"))
    fires: dict[str, list[bool]] = {}
    for test in body["tests"]:
        for case in test["alert_rule_test"]:
            fires.setdefault(case["alertname"], []).append(bool(case.get("exp_alerts")))
    assert set(fires) == {rule["alert"] for rule in rules(path)}
    for name, expected in fires.items():
        assert expected[0] is False and True in expected and expected[-1] is False, name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_promtool_finds_the_rules_right(path: Path) -> None:
    for command in (["check", "rules", path.name], ["test", "rules", f"{path.stem}_test.yaml"]):
        done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_can_start_with_its_configuration() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yaml"], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = yaml.safe_load((FOLDER / "prometheus.yaml").read_text(encoding="utf-8"))["rule_files"]
    assert set(loaded) == {path.name for path in FILES} | {"rules_slo.yaml"}
