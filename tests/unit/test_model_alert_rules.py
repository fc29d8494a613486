"""The alert rules on models: they name metrics the learner exports, and promtool's own tests hold where it is there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from models.drift.findings import DriftKind
from services.adapters.prometheus_metrics import CONTRACT, PREFIX
from services.commands.model_drift import METRICS

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = FOLDER / "alerts_models.yaml"


def rules() -> list[dict[str, object]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_rule_asks_for_metrics_and_kinds_there_are() -> None:
    declared = {PREFIX + name for name in (*CONTRACT, *METRICS)}
    kinds = {kind.value for kind in DriftKind}
    watched: set[str] = set()
    for rule in rules():
        text = str(rule["expr"])
        asked = set(re.findall(rf"{PREFIX}[a-z_]+", text))
        assert asked and asked <= declared, rule["alert"]
        for values in re.findall(r'kind=~?"([^"]+)"', text):
            assert set(values.split("|")) <= kinds, rule["alert"]
            watched |= set(values.split("|"))
    assert watched == kinds  # no kind of drift goes without an alert


def test_every_rule_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in rules():
        labels, notes = rule["labels"], rule["annotations"]
        assert isinstance(labels, dict) and labels["severity"] in {"page", "warning"}
        assert isinstance(notes, dict) and notes["summary"] and "kairos" in notes["description"].lower()


def test_the_rules_tests_name_rules_there_are() -> None:
    body = yaml.safe_load((FOLDER / "alerts_models_test.yaml").read_text(encoding="utf-8"))
    named = {case["alertname"] for test in body["tests"] for case in test["alert_rule_test"]}
    assert named == {rule["alert"] for rule in rules()}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_the_rules_right() -> None:
    for command in (["check", "rules", RULES.name], ["test", "rules", "alerts_models_test.yaml"]):
        done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
