"""`deploy/kubernetes` renders to manifests that Kubernetes' own schemas allow, hardened, probed where roles answer."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.unit.deployment.test_compose import ROLES, VARIABLES

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
VERSIONS = ("1.29", "1.31", "1.33")
"""The oldest and newest that are promised, and one between."""
CONTROL_PORTS = {"metrics": 9100, "http": 8000}


def can_render() -> bool:
    """Whether there is a kubectl that knows today's kustomize; that of some distributions is years older."""
    if shutil.which("kubectl") is None:
        return False
    told = subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True, text=True, check=False)
    return told.returncode == 0 and json.loads(told.stdout).get("kustomizeVersion", "").startswith("v5.")


pytestmark = pytest.mark.skipif(not can_render(), reason="there is no kubectl with kustomize 5")


def render(name: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / name)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return render("overlays/example")


def kind(manifests: list[dict[str, Any]], wanted: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == wanted}


def pods(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Pod specs by the name of what makes them."""
    found = {}
    for one in manifests:
        if one["kind"] in {"Deployment", "Job"}:
            found[one["metadata"]["name"]] = one["spec"]["template"]["spec"]
        elif one["kind"] == "CronJob":
            found[one["metadata"]["name"]] = one["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest(manifests: list[dict[str, Any]], version: str) -> None:
    for one in manifests:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_manifest_with_a_slip_would_be_found(manifests: list[dict[str, Any]]) -> None:
    slipped = {**next(iter(kind(manifests, "Deployment").values())), "spce": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(slipped, VERSIONS[-1], strict=True)


def test_the_base_renders_by_itself() -> None:
    assert {one["kind"] for one in render("base")} >= {"Deployment", "NetworkPolicy", "HorizontalPodAutoscaler"}


def test_every_role_is_deployed_by_its_command(manifests: list[dict[str, Any]]) -> None:
    deployed = kind(manifests, "Deployment")
    assert set(deployed) == ROLES
    for name, spec in pods(manifests).items():
        (container,) = spec["containers"]
        assert container["args"][0] == name


def test_every_variable_is_a_setting(manifests: list[dict[str, Any]]) -> None:
    (settings,) = kind(manifests, "ConfigMap").values()
    assert set(settings["data"]) <= VARIABLES
    for name, spec in pods(manifests).items():
        assert {one["name"] for one in spec["containers"][0].get("env", [])} <= VARIABLES, name


def test_every_pod_is_hardened_as_the_namespace_enforces(manifests: list[dict[str, Any]]) -> None:
    assert (
        kind(manifests, "Namespace")["kairos"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        == "restricted"
    )
    for name, spec in pods(manifests).items():
        (container,) = spec["containers"]
        held, own = spec["securityContext"], container["securityContext"]
        assert held["runAsNonRoot"] is True and held["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert own["readOnlyRootFilesystem"] is True and own["allowPrivilegeEscalation"] is False, name
        assert own["capabilities"] == {"drop": ["ALL"]}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert container["resources"]["requests"] and container["resources"]["limits"]["memory"], name


def test_every_role_is_probed_on_ports_it_opens(manifests: list[dict[str, Any]]) -> None:
    (settings,) = kind(manifests, "ConfigMap").values()
    for name, one in kind(manifests, "Deployment").items():
        (container,) = one["spec"]["template"]["spec"]["containers"]
        open_ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe]["httpGet"]
            assert asked["path"] in {"/livez", "/readyz"}, name
            assert str(open_ports[asked["port"]]) in {
                settings["data"]["KAIROS_PORT"],
                settings["data"]["KAIROS_METRICS_PORT"],
            }
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}, name
    (api,) = kind(manifests, "Deployment")["api"]["spec"]["template"]["spec"]["containers"]
    assert api["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_more_than_one_pod_comes_with_a_budget_and_exactly_one_is_replaced_not_doubled(
    manifests: list[dict[str, Any]],
) -> None:
    budgets, deployed = kind(manifests, "PodDisruptionBudget"), kind(manifests, "Deployment")
    for name, one in deployed.items():
        if one["spec"]["replicas"] > 1:
            assert budgets[name]["spec"]["selector"]["matchLabels"] == one["spec"]["selector"]["matchLabels"]
        else:
            assert one["spec"]["strategy"] == {"type": "Recreate"}, name
    assert set(budgets) <= set(deployed)


def test_the_api_grows_by_cpu_and_the_state_builder_by_lag_as_well(manifests: list[dict[str, Any]]) -> None:
    from services.adapters.prometheus_metrics import CONTRACT, PREFIX

    scaled = kind(manifests, "HorizontalPodAutoscaler")
    assert set(scaled) == {"api", "state-builder"}
    assert [one["type"] for one in scaled["api"]["spec"]["metrics"]] == ["Resource"]
    by_lag = [one["pods"] for one in scaled["state-builder"]["spec"]["metrics"] if one["type"] == "Pods"]
    assert {one["metric"]["name"].removeprefix(PREFIX) for one in by_lag} <= set(CONTRACT)
    assert by_lag
    partitions = int(next(iter(kind(manifests, "ConfigMap").values()))["data"]["KAIROS_KAFKA_PARTITIONS"])
    assert scaled["state-builder"]["spec"]["maxReplicas"] == partitions


def test_every_secret_claim_and_account_named_is_known(manifests: list[dict[str, Any]]) -> None:
    expected_secrets = {"kairos-store", "kairos-api-keys", "kairos-webhooks"}
    told = (FOLDER / "overlays" / "example" / "kustomization.yaml").read_text(encoding="utf-8")
    claims, accounts = set(kind(manifests, "PersistentVolumeClaim")), set(kind(manifests, "ServiceAccount"))
    for spec in pods(manifests).values():
        assert spec["serviceAccountName"] in accounts
        for volume in spec.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "secret" in volume:
                assert volume["secret"]["secretName"] in expected_secrets
    assert all(name in told for name in expected_secrets)
    assert not kind(manifests, "Secret")  # no secret stands in a repository


def test_nothing_is_reached_but_by_a_policy(manifests: list[dict[str, Any]]) -> None:
    policies = kind(manifests, "NetworkPolicy")
    closed = policies["nothing-by-default"]["spec"]
    assert closed["podSelector"] == {} and set(closed["policyTypes"]) == {"Ingress", "Egress"}
    assert not closed.get("ingress") and not closed.get("egress")
    opened = {
        port["port"] for p in policies.values() for rule in p["spec"].get("ingress", []) for port in rule["ports"]
    }
    assert opened == set(CONTROL_PORTS)
