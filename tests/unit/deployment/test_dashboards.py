"""The dashboards as files are those of the builder, and ask for metrics that roles have."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.test_alert_rules import asked_for, declared

GRAFANA = Path(__file__).parents[3] / "deploy" / "grafana"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("grafana_build", GRAFANA / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["grafana_build"] = module
    spec.loader.exec_module(module)
    return module


def test_the_files_are_what_the_builder_makes(build: ModuleType) -> None:
    """If not: python deploy/grafana/build.py."""
    assert {path.name: path.read_text(encoding="utf-8") for path in (GRAFANA / "dashboards").iterdir()} == build.texts()


def test_every_query_asks_for_metrics_and_labels_there_are(build: ModuleType) -> None:
    known = declared()
    for dashboard, panel, expression in build.queries():
        names = asked_for(expression)
        assert names <= set(known), (dashboard, panel)
        labels = {label for name in names for label in known[name].labels} | {"le", "role", "instance"}
        for grouped in re.findall(r"by \(([^)]*)\)", expression):
            assert {label.strip() for label in grouped.split(",")} <= labels, (dashboard, panel)


def test_every_metric_of_the_contract_is_on_some_dashboard(build: ModuleType) -> None:
    from services.adapters.prometheus_metrics import CONTRACT, PREFIX

    shown = {name for _, _, expression in build.queries() for name in asked_for(expression)}
    unseen = {PREFIX + name for name in CONTRACT} - shown
    assert unseen == {
        "kairos_control_followed",  # an alert
        "kairos_model_compiled",  # kairos models list says it
        "kairos_online_cells_read_total",  # for whoever tunes online learning
        "kairos_online_refreshes_total",  # the age of beliefs says what matters
        "kairos_stream_cut_off_total",  # an alert
        "kairos_stream_dropped_total",  # repeats, mostly
        "kairos_trigger_memory_dropped_total",  # for whoever writes triggers
    }


def test_panels_lie_side_by_side_within_the_screen(build: ModuleType) -> None:
    for text in build.texts().values():
        document = json.loads(text)
        places = [panel["gridPos"] for panel in document["panels"]]
        cells = {(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])}
        assert len(cells) == sum(p["w"] * p["h"] for p in places)
        assert all(x < build.WIDTH for x, _ in cells)
        assert len({panel["id"] for panel in document["panels"]}) == len(places)
    uids = [json.loads(text)["uid"] for text in build.texts().values()]
    assert len(set(uids)) == len(uids) == 5


def test_the_data_source_is_the_one_provisioned(build: ModuleType) -> None:
    import yaml

    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["uid"] == build.SOURCE["uid"] and source["type"] == build.SOURCE["type"]
