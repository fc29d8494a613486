"""`deploy/compose.yaml` runs every role, with settings there are, reached on the ports and paths that they serve."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.__main__ import COMMANDS
from services.settings import PREFIX, Settings

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
ROLES = frozenset(
    name
    for name, module in COMMANDS.items()
    if "services.commands.running_role import"
    in (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
)
"""Whatever runs until it is told to stop is a role."""
SECRET_FILES = {PREFIX + f.name.upper() + "_FILE" for f in fields(Settings) if f.metadata["secret"]}
VARIABLES = {PREFIX + f.name.upper() for f in fields(Settings)} | SECRET_FILES


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return document


def own(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services that run our image."""
    return {name: one for name, one in compose["services"].items() if one["image"] == "kairos:local"}


def test_there_are_roles_to_deploy() -> None:
    assert {"api", "state-builder", "archiver", "learner", "guard"} <= ROLES


def test_every_role_runs_under_its_name(compose: dict[str, Any]) -> None:
    running = {name: one["command"] for name, one in own(compose).items() if "entrypoint" not in one}
    assert set(running) == ROLES | {"topics"}
    assert all(command == [name] for name, command in running.items())


def test_every_variable_is_a_setting(compose: dict[str, Any]) -> None:
    for name, one in own(compose).items():
        given = set(one["environment"])
        assert given <= VARIABLES, (name, given - VARIABLES)
    image = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    assert set(re.findall(rf"\b({PREFIX}[A-Z_]+)=", image)) <= VARIABLES


def test_what_runs_ours_can_write_nowhere_but_where_it_must(compose: dict[str, Any]) -> None:
    for name, one in own(compose).items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in one["security_opt"], name
        assert one["volumes"] == ["kairos:/srv/kairos/var"], name
        assert one["mem_limit"], name


def test_only_loopback_is_published(compose: dict[str, Any]) -> None:
    for name, one in compose["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", [])), name


def test_every_secret_volume_and_dependency_named_is_there(compose: dict[str, Any]) -> None:
    for name, one in compose["services"].items():
        assert set(one.get("secrets", [])) <= set(compose["secrets"]), name
        assert set(one.get("depends_on", {})) <= set(compose["services"]), name
        for mount in one.get("volumes", []):
            source = mount.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).exists(), (name, source)


def test_every_server_waited_for_tells_its_health(compose: dict[str, Any]) -> None:
    image = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    for one in compose["services"].values():
        for name, wanted in one.get("depends_on", {}).items():
            waited = compose["services"][name]
            if wanted["condition"] == "service_healthy":
                assert "test" in waited.get("healthcheck", {}) or (
                    waited["image"] == "kairos:local" and "/livez" in image
                )
            else:
                assert wanted["condition"] == "service_completed_successfully"
                assert waited["restart"] == "on-failure"


def test_every_image_of_others_is_of_a_version(compose: dict[str, Any]) -> None:
    for name, one in compose["services"].items():
        tag = one["image"].rsplit(":", 1)[-1]
        assert tag == "local" or re.fullmatch(r"v?\d+(\.\d+)+", tag), name


def test_prometheus_scrapes_every_role_where_it_serves_its_page(compose: dict[str, Any]) -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    (found,) = scraped["scrape_configs"][0]["dns_sd_configs"]
    assert set(found["names"]) == ROLES
    assert f"KAIROS_METRICS_PORT={found['port']}" in (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    for pattern in scraped["rule_files"]:
        assert list((DEPLOY / "prometheus").glob(pattern)), pattern


def test_the_image_runs_as_nobody_in_particular_from_pinned_libraries() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", text, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["kairos"\]$', text, re.MULTILINE)
    installs = [line for line in text.splitlines() if re.search(r"pip.* install ", line)]
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / path).exists() for path in copied.split()), copied
    assert len(re.findall(r"^FROM ", text, re.MULTILINE)) == 2


def test_what_the_build_needs_gets_past_the_ignore_file() -> None:
    kept = {
        line[1:]
        for line in (DEPLOY / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all(any(path == one or path.startswith(f"{one}/") for one in kept) for path in copied.split()), copied
