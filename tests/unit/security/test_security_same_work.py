"""A customer who is somebody else's costs the node the same steps as one who never was, so the time of an answer tells
nothing. Steps are counted here; `python -m loadtests.foreign_ids` measures."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import pytest

from decision_engine.features.snapshot import read_snapshot
from loadtests.foreign_ids import operations_on_customers
from services.api import customer_guard
from services.api.authentication import ApiKeys, ApiScope, Client
from services.api.customer_guard import CustomerGuard
from services.api.customer_scope import CustomerScope

FOREIGN, ABSENT, MINE = "corp:1001", "corp:4004", "retail:1"
SCOPES = {"by id": ["retail:1"], "by profile": ["age=40"]}
QUESTION = {"channel": "mobile", "placements": [{"id": "home_banner"}]}


class Counted:
    """A store that notes each call to it, with those arguments that do not name the customer."""

    def __init__(self, store: Any, steps: list[tuple[str, object]]) -> None:
        self._store, self._steps = store, steps

    def __getattr__(self, name: str) -> Any:
        async def call(customer_id: object, *arguments: object) -> object:
            self._steps.append((name, arguments))
            return await getattr(self._store, name)(customer_id, *arguments)

        return call


@pytest.fixture
def steps(bank: Any, small_bank: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """What was done lately: calls of the store, and states that were read, byte for byte."""
    noted: list[tuple[str, object]] = []
    bank.store.states[FOREIGN] = small_bank.state(bank.live.features, {"age": 55})

    def reading(features: Any, state: bytes | None, now_ms: int) -> Any:
        noted.append(("state read", state))
        return read_snapshot(features, state, now_ms)

    monkeypatch.setattr(customer_guard, "read_snapshot", reading)
    return noted


@pytest.fixture
def guard(bank: Any, steps: list[tuple[str, object]]) -> CustomerGuard:
    return CustomerGuard(live=lambda: bank.live, store=Counted(bank.store, steps), clock=bank.clock)


def client_of(entries: list[str]) -> Client:
    return Client(name="c", channels=None, scopes=frozenset(ApiScope), customers=CustomerScope.of(entries))


async def taken(
    guard: CustomerGuard, steps: list[tuple[str, object]], customer_id: str
) -> tuple[bool, list[tuple[str, object]]]:
    """Whether the customer is seen, and what was done to tell."""
    steps.clear()
    return await guard.sees(client_of(["age=40"]), customer_id), list(steps)


async def test_an_absent_customer_is_looked_at_like_a_foreign_one(
    guard: CustomerGuard, steps: list[tuple[str, object]]
) -> None:
    foreign, absent = await taken(guard, steps, FOREIGN), await taken(guard, steps, ABSENT)
    assert foreign == absent
    seen, done = absent
    assert not seen
    assert [name for name, _ in done] == ["read_for_decision", "state read"]
    assert done[1] != ("state read", None)


async def test_what_stands_in_for_an_absent_customer_never_lets_anybody_see_one(
    guard: CustomerGuard, steps: list[tuple[str, object]]
) -> None:
    mine = await taken(guard, steps, MINE)
    absent = await taken(guard, steps, ABSENT)
    assert (mine[0], absent[0]) == (True, False)
    assert mine[1] == absent[1]


async def test_a_state_of_another_layout_stands_in_for_nobody(
    bank: Any, small_bank: ModuleType, guard: CustomerGuard, steps: list[tuple[str, object]]
) -> None:
    await taken(guard, steps, FOREIGN)
    guard._stand_in.layout = "another"
    seen, done = await taken(guard, steps, ABSENT)
    assert not seen
    assert done[1] == ("state read", None)


@pytest.mark.parametrize("role", sorted(SCOPES))
async def test_every_operation_on_a_customer_does_the_same_for_foreign_and_absent(
    role: str, bank: Any, steps: list[tuple[str, object]], connect: Callable[..., Any], make_key: Callable[..., Any]
) -> None:
    keys = [make_key(name, *ApiScope, customers=CustomerScope.of(entries)) for name, entries in SCOPES.items()]
    store = Counted(bank.store, steps)
    client: httpx.AsyncClient = await connect(authenticator=ApiKeys(keys), store=store, ledger=store)
    document = (await client.get("/openapi.json")).json()
    asked = operations_on_customers(document)
    assert len(asked) > 3
    for method, path in asked:
        done = {}
        for customer in (FOREIGN, ABSENT):
            steps.clear()
            body: dict[str, Any] = {"json": QUESTION | {"customer_id": customer}} if method == "post" else {}
            place = path.format(customer_id=customer, name="age")
            answer = await client.request(method, place, headers={"X-API-Key": role}, **body)
            assert answer.status_code == 404, (method, path, answer.text)
            done[customer] = list(steps)
        assert done[FOREIGN] == done[ABSENT], (method, path)
        assert bool(done[ABSENT]) is (role == "by profile"), (method, path)
