"""Who may do what."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.api.authentication import ApiKey, ApiKeys, ApiScope, Client
from services.api.keys_file import load_api_keys
from services.ports import SettingsInvalid

QUESTION = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner"}]}
APP_KEY, BRANCH_KEY, AUDIT_KEY = "app-key", "branch-key", "audit-key"


def key(text: str, name: str, channels: set[str] | None, *scopes: ApiScope) -> ApiKey:
    client = Client(name=name, channels=None if channels is None else frozenset(channels), scopes=frozenset(scopes))
    return ApiKey(sha256=sha256(text.encode()).digest(), client=client)


@pytest.fixture
async def guarded(connect: Any) -> httpx.AsyncClient:
    keys = ApiKeys(
        [
            key(APP_KEY, "app", {"mobile"}, ApiScope.DECIDE, ApiScope.RESPOND, ApiScope.READ),
            key(BRANCH_KEY, "branch", {"branch"}, ApiScope.DECIDE, ApiScope.RESPOND, ApiScope.READ),
            key(AUDIT_KEY, "audit", None, ApiScope.READ),
        ]
    )
    client: httpx.AsyncClient = await connect(authenticator=keys)
    return client


@pytest.mark.parametrize("header", [("X-API-Key", APP_KEY), ("Authorization", f"Bearer {APP_KEY}")])
async def test_a_known_key_opens_what_its_client_may_do(guarded: httpx.AsyncClient, header: tuple[str, str]) -> None:
    assert (await guarded.post("/v1/decisions", json=QUESTION, headers=[header])).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "app-kez"},
        {"X-API-Key": APP_KEY + " x"},
        {"X-API-Key": "k" * 100_000},
        {"Authorization": APP_KEY},
        {"Authorization": f"Basic {APP_KEY}"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer " + sha256(APP_KEY.encode()).hexdigest()},
    ],
)
@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/responses", "/v1/events"])
async def test_anything_else_is_401(guarded: httpx.AsyncClient, headers: dict[str, str], path: str) -> None:
    answer = await guarded.post(path, json=QUESTION, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    ["/v1/customers/retail:1", "/v1/decisions/01J", "/v1/dictionary", "/v1/strategies", "/v1/strategies/1", "/metrics"],
)
async def test_reading_needs_a_key(guarded: httpx.AsyncClient, path: str) -> None:
    assert (await guarded.get(path)).status_code == 401


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/openapi.json", "/asyncapi.json"])
async def test_health_and_documents_are_open(guarded: httpx.AsyncClient, path: str) -> None:
    assert (await guarded.get(path)).status_code == 200


async def test_a_missing_scope_is_403(guarded: httpx.AsyncClient) -> None:
    audit = {"X-API-Key": AUDIT_KEY}
    assert (await guarded.get("/v1/dictionary", headers=audit)).status_code == 200
    assert (await guarded.post("/v1/decisions", json=QUESTION, headers=audit)).status_code == 403
    assert (await guarded.post("/v1/responses", json={}, headers=audit)).status_code == 403
    assert (await guarded.post("/v1/events", json={}, headers=audit)).status_code == 403
    assert (await guarded.get("/metrics", headers=audit)).status_code == 403


async def test_a_channel_of_another_client_is_403_and_its_decisions_do_not_exist(guarded: httpx.AsyncClient) -> None:
    app, branch = {"X-API-Key": APP_KEY}, {"X-API-Key": BRANCH_KEY}
    assert (await guarded.post("/v1/decisions", json=QUESTION, headers=branch)).status_code == 403
    decided = (await guarded.post("/v1/decisions", json=QUESTION, headers=app)).json()
    path = f"/v1/decisions/{decided['decision_id']}"
    assert (await guarded.get(path, headers=app)).status_code == 200
    foreign, absent = await guarded.get(path, headers=branch), await guarded.get("/v1/decisions/01J", headers=branch)
    assert (foreign.status_code, foreign.content) == (404, absent.content)
    tracking_id = decided["placements"][0]["options"][0]["tracking_id"]
    response = {"response_id": "r", "tracking_id": tracking_id, "outcome": "accept"}
    taken = (await guarded.post("/v1/responses", json=response, headers=branch)).json()
    assert (taken["accepted"], taken["rejected"][0]["error"]) == (0, f"unknown tracking_id {tracking_id}")


def test_keys_are_read_from_a_file_of_hashes(tmp_path: Path) -> None:
    digest = sha256(b"secret").hexdigest()
    file = tmp_path / "keys.json"
    file.write_text(f'[{{"client": "app", "sha256": "{digest}", "channels": ["mobile"], "scopes": ["decide"]}}]')
    client = load_api_keys(file).identify([(b"x-api-key", b"secret")])
    assert client == Client(name="app", channels=frozenset({"mobile"}), scopes=frozenset({ApiScope.DECIDE}))


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{}",
        "[]",
        '[{"client": "app"}]',
        '[{"client": "app", "sha256": "00", "channels": null, "scopes": ["decide"]}]',
        '[{"client": "app", "sha256": "' + "0" * 64 + '", "channels": null, "scopes": ["fly"]}]',
        '[{"client": "trigger", "sha256": "' + "0" * 64 + '", "channels": null, "scopes": ["decide"]}]',
    ],
)
def test_a_keys_file_with_faults_stops_the_start(tmp_path: Path, document: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(document)
    with pytest.raises(SettingsInvalid):
        load_api_keys(file)


@pytest.mark.parametrize(("more", "addressed_as"), [({}, "Mei Lin"), ({"recipient": "M012"}, "M012")])
def test_leads_are_addressed_to_a_person_by_name_or_as_their_key_says(
    tmp_path: Path, more: dict[str, str], addressed_as: str
) -> None:
    entry = {"client": "Mei Lin", "sha256": sha256(b"secret").hexdigest(), "channels": None, "scopes": ["serve"]}
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([entry | more]))
    client = load_api_keys(file).identify([(b"x-api-key", b"secret")])
    assert (client.name, client.addressed_as) == ("Mei Lin", addressed_as)
