"""Every operation of the OpenAPI document, asked by every role, about its own and about others' things."""

from collections.abc import Callable, Iterator
from itertools import count
from types import ModuleType
from typing import Any

import httpx
import pytest

from services.api.authentication import ApiKeys, ApiScope
from services.api.customer_scope import CustomerScope
from services.use_cases.governance.simulations import Simulations

ADMIN = (ApiScope.AUTHOR, ApiScope.APPROVE, ApiScope.STOP, ApiScope.AUDIT, ApiScope.PRIVACY, ApiScope.OPERATE)
"""Scopes of people and operators; those of channels and core systems are the others."""
DATA = tuple(scope for scope in ApiScope if scope not in ADMIN)
ULID, HEX = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "0" * 32
PARTS = {
    "customer_id": "retail:1", "decision_id": ULID, "version": "strategy-1", "name": "age", "simulation_id": ULID,
    "erasure_id": HEX,
}  # fmt: skip
QUESTION = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner"}]}
BODIES: dict[str, Any] = {"/v1/decisions": QUESTION}
Operation = tuple[str, str, str]
"""Method, path and the scope that the document says it needs."""


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["security"]:
                yield method, path, operation["x-kairos-scope"]


class NoSimulations:
    """Keeps none."""

    async def load(self, job_id: str) -> bytes | None:
        return None


@pytest.fixture
async def everything(
    bank: Any, connect: Callable[..., Any], make_key: Callable[..., Any], governance_bench: ModuleType
) -> httpx.AsyncClient:
    """A node that has everything, with a key for each scope, for all but each, and of both planes."""
    bench = governance_bench.Bench()
    desk = await bench.desk()
    roles: dict[str, tuple[ApiScope, ...]] = {f"only {scope}": (scope,) for scope in ApiScope}
    roles |= {f"all but {scope}": tuple(s for s in ApiScope if s is not scope) for scope in ApiScope}
    roles |= {"data plane": DATA, "admin plane": ADMIN, "nothing": ()}
    keys = [make_key(name, *scopes) for name, scopes in roles.items()]
    client: httpx.AsyncClient = await connect(
        authenticator=ApiKeys(keys), governance=desk, simulations=Simulations(desk, NoSimulations(), bench, bench)
    )
    return client


async def asked(client: httpx.AsyncClient, operation: Operation, role: str | None) -> httpx.Response:
    method, path, _ = operation
    body = None if method in ("get", "delete") else BODIES.get(path, {"unheard": "of"})
    headers = {} if role is None else {"X-API-Key": role}
    return await client.request(method, path.format(**PARTS), json=body, headers=headers)


async def test_each_operation_needs_exactly_the_scope_it_names(everything: httpx.AsyncClient) -> None:
    document = (await everything.get("/openapi.json")).json()
    seen = count()
    for operation in operations(document):
        scope = operation[2]
        for role, expected in ((None, 401), ("nobody's key", 401), ("nothing", 403), (f"all but {scope}", 403)):
            assert (await asked(everything, operation, role)).status_code == expected, (operation, role)
        allowed = await asked(everything, operation, f"only {scope}")
        assert allowed.status_code not in (401, 403, 405, 500), (operation, allowed.text)
        declared = document["paths"][operation[1]][operation[0]]["responses"]
        assert str(allowed.status_code) in declared, (operation, allowed.status_code)
        next(seen)
    assert next(seen) > 30


async def test_a_token_of_the_data_plane_opens_nothing_of_the_admin_plane(everything: httpx.AsyncClient) -> None:
    document = (await everything.get("/openapi.json")).json()
    for operation in operations(document):
        admin = operation[2] in ADMIN
        for role, barred in (("data plane", admin), ("admin plane", not admin)):
            assert ((await asked(everything, operation, role)).status_code == 403) is barred, (operation, role)
    changing = [o for o in operations(document) if o[0] != "get" and o[1].startswith("/v1/strategies")]
    assert {scope for *_, scope in changing} == {"author", "approve"}


async def test_nobody_approves_what_they_handed_in(everything: httpx.AsyncClient) -> None:
    text = "name: bank\nversion: bank-1\n"
    key = {"X-API-Key": "admin plane"}
    handed_in = await everything.post("/v1/strategies", json={"files": {"strategy.yaml": text}}, headers=key)
    assert handed_in.status_code == 201, handed_in.text
    own = await everything.post("/v1/strategies/bank-1/approve", json={}, headers=key)
    assert own.status_code == 409
    other = await everything.post("/v1/strategies/bank-1/approve", json={}, headers={"X-API-Key": "only approve"})
    assert other.status_code == 200


SCOPED = "only its own customers"
BY_PROFILE = "only customers by profile"
MINE, FOREIGN, ABSENT = "retail:1", "corp:1", "corp:404"


@pytest.fixture
async def scoped(
    bank: Any, small_bank: ModuleType, connect: Callable[..., Any], make_key: Callable[..., Any]
) -> httpx.AsyncClient:
    """Two clients that may do everything, each with its own customers, and one without bounds."""
    for customer in (FOREIGN, "retail:2"):
        bank.store.states[customer] = small_bank.state(bank.live.features, {"age": 55})
    by_prefix, by_age = CustomerScope.of(["retail:1"]), CustomerScope.of(["age=40"])
    keys = [
        make_key(SCOPED, *ApiScope, customers=by_prefix),
        make_key(BY_PROFILE, *ApiScope, customers=by_age),
        make_key("everybody's", *ApiScope),
    ]
    client: httpx.AsyncClient = await connect(authenticator=ApiKeys(keys))
    return client


@pytest.mark.parametrize("role", [SCOPED, BY_PROFILE])
async def test_a_foreign_customer_is_like_one_who_never_was(scoped: httpx.AsyncClient, role: str) -> None:
    """In every operation of the document that names a customer in its path."""
    document = (await scoped.get("/openapi.json")).json()
    key = {"X-API-Key": role}
    about_one = [o for o in operations(document) if "{customer_id}" in o[1]]
    assert len(about_one) >= 5
    for method, path, _ in about_one:
        answers = {}
        for customer in (MINE, FOREIGN, ABSENT):
            place = path.format(**(PARTS | {"customer_id": customer}))
            answers[customer] = await scoped.request(method, place, headers=key)
        assert answers[MINE].status_code != 404, (method, path)
        foreign, absent = answers[FOREIGN], answers[ABSENT]
        assert (foreign.status_code, foreign.content) == (404, absent.content), (method, path)
        assert absent.status_code == 404
        assert foreign.headers == absent.headers


@pytest.mark.parametrize("role", [SCOPED, BY_PROFILE])
async def test_decisions_are_made_for_ones_own_customers_only(scoped: httpx.AsyncClient, bank: Any, role: str) -> None:
    key = {"X-API-Key": role}

    async def decide(customer: str) -> httpx.Response:
        return await scoped.post("/v1/decisions", json=QUESTION | {"customer_id": customer}, headers=key)

    assert (await decide(MINE)).status_code == 200
    foreign, absent = await decide(FOREIGN), await decide(ABSENT)
    assert (foreign.status_code, foreign.content) == (404, absent.content)
    assert [event.key for event in bank.bus.events] == [MINE]


@pytest.mark.parametrize("role", [SCOPED, BY_PROFILE])
async def test_decisions_and_options_of_foreign_customers_do_not_exist(scoped: httpx.AsyncClient, role: str) -> None:
    key, all_seeing = {"X-API-Key": role}, {"X-API-Key": "everybody's"}
    made = await scoped.post("/v1/decisions", json=QUESTION | {"customer_id": FOREIGN}, headers=all_seeing)
    decision, option = made.json()["decision_id"], made.json()["placements"][0]["options"][0]["tracking_id"]
    foreign = await scoped.get(f"/v1/decisions/{decision}", headers=key)
    absent = await scoped.get(f"/v1/decisions/{ULID}", headers=key)
    assert (foreign.status_code, foreign.content) == (404, absent.content)
    said = [{"response_id": f"r-{t}", "tracking_id": t, "outcome": "accept"} for t in (option, f"{ULID}.0")]
    taken = (await scoped.post("/v1/responses", json=said, headers=key)).json()
    assert (taken["accepted"], taken["duplicates"]) == (0, 0)
    assert [each["error"].replace(option, "T").replace(f"{ULID}.0", "T") for each in taken["rejected"]] == [
        "unknown tracking_id T"
    ] * 2
    assert (await scoped.get(f"/v1/decisions/{decision}", headers=all_seeing)).status_code == 200
    assert (await scoped.post("/v1/responses", json=said[:1], headers=all_seeing)).json()["accepted"] == 1


async def test_events_about_foreign_customers_are_not_taken(scoped: httpx.AsyncClient, bank: Any) -> None:
    def event(customer: str) -> dict[str, Any]:
        return {
            "specversion": "1.0", "id": f"e-{customer}", "source": "branch", "type": "bank.channel.login",
            "subject": customer, "time": "2026-11-21T09:00:00Z", "data": {"channel": "mobile"},
        }  # fmt: skip

    sent = [event(MINE), event(FOREIGN), event(ABSENT)]
    taken = await scoped.post("/v1/events", json=sent, headers={"X-API-Key": SCOPED})
    assert taken.status_code == 202, taken.text
    assert taken.json()["accepted"] == 1
    assert [(each["index"], each["error"]) for each in taken.json()["rejected"]] == [
        (1, "subject: no customer of the sender"),
        (2, "subject: no customer of the sender"),
    ]
    assert [published.key for published in bank.bus.events] == [MINE]


async def test_forged_tracking_ids_are_refused(scoped: httpx.AsyncClient, bank: Any) -> None:
    """A thousand guesses around an option that was really made, by who may answer for every channel."""
    key = {"X-API-Key": "everybody's"}
    made = (await scoped.post("/v1/decisions", json=QUESTION, headers=key)).json()
    option = made["placements"][0]["options"][0]["tracking_id"]
    decision, _, place = option.partition(".")
    digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    guesses = [f"{decision}.{number}" for number in range(500) if str(number) != place]
    guesses += [decision[:i] + d + decision[i + 1 :] + f".{place}" for i in range(1, 26) for d in digits]
    forged = [guess for guess in dict.fromkeys(guesses) if guess != option][:1_000]
    assert len(forged) == 1_000
    before = len(bank.bus.events)
    for start in (0, 500):
        said = [
            {"response_id": f"f-{n}", "tracking_id": guess, "outcome": "accept"}
            for n, guess in enumerate(forged[start : start + 500], start)
        ]
        taken = (await scoped.post("/v1/responses", json=said, headers=key)).json()
        assert (taken["accepted"], taken["duplicates"], len(taken["rejected"])) == (0, 0, 500)
    assert len(bank.bus.events) == before
