"""The secrets of `make up`: made once, kept after, and good enough for the API to open with."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from services.api.authentication import ApiScope
from services.api.keys_file import load_api_keys

DEPLOY = Path(__file__).parents[3] / "deploy"


@pytest.fixture
def make_secrets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_secrets", DEPLOY / "make_secrets.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_secret_that_compose_mounts_is_made_but_the_banks_own(make_secrets: ModuleType, tmp_path: Path) -> None:
    import yaml

    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert make_secrets.main(tmp_path) == 0
    named = {Path(one["file"]).name for one in compose["secrets"].values()} - {"webhooks.json"}
    assert {path.name for path in tmp_path.iterdir()} == named | {"redis_password", "redis.env", "approver_key"}


def test_a_second_time_nothing_changes(make_secrets: ModuleType, tmp_path: Path) -> None:
    make_secrets.main(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    make_secrets.main(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_api_knows_the_keys_and_nobody_may_both_author_and_approve(
    make_secrets: ModuleType, tmp_path: Path
) -> None:
    make_secrets.main(tmp_path)
    keys = load_api_keys(tmp_path / "api_keys.json")
    clients = [keys.identify([(b"x-api-key", (tmp_path / name).read_bytes())]) for name in ("api_key", "approver_key")]
    assert [client.name for client in clients] == ["demo", "approver"]
    assert all(not {ApiScope.AUTHOR, ApiScope.APPROVE} <= client.scopes for client in clients)
    assert "sha256" in json.loads((tmp_path / "api_keys.json").read_text())[0]


def test_store_and_roles_have_the_same_password(make_secrets: ModuleType, tmp_path: Path) -> None:
    make_secrets.main(tmp_path)
    password = (tmp_path / "redis_password").read_text()
    assert (tmp_path / "valkey.conf").read_text() == f"requirepass {password}\n"
    assert f":{password}@valkey:6379" in (tmp_path / "redis.env").read_text()
