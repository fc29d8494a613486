"""Whether the time of an answer tells customers who are somebody else's from customers who never were.

Every operation of the document that names a customer is asked about both, in turns of random order, by clients with
customers of their own; the processor time of the node's answers is compared. Foreign and absent are alike where the
median difference is within 5 % of the median time, or the sign test finds one that is likelier than one in a thousand
to be chance. `python -m loadtests.foreign_ids`
"""

import argparse
import asyncio
import math
import sys
from collections.abc import Mapping
from hashlib import sha256
from random import Random
from statistics import median
from time import process_time_ns
from typing import Any

import httpx

from loadtests.api_fuzz import from_tests
from services.api.app import create_app
from services.api.authentication import ApiKey, ApiKeys, ApiScope, Client
from services.api.customer_scope import CustomerScope

PAIRS = 400
FOREIGN, ABSENT = "corp:1001", "corp:4004"
MOST_APART = 0.05
LEAST_LIKELY = 0.001
_SCOPES = {"by id": ["retail:1"], "by profile": ["age=40"]}
_QUESTION = {"channel": "mobile", "placements": [{"id": "home_banner"}]}


async def run(pairs: int) -> bool:
    """Prints a line an operation; whether all are alike."""
    small = from_tests("api_bank")
    bank = small.Bank()
    bank.store.states[FOREIGN] = small.state(bank.live.features, {"age": 55})
    app, alike = create_app(bank.runtime(authenticator=_keys())), True
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bank") as client:
        document = (await client.get("/openapi.json")).json()
        for role in _SCOPES:
            for method, path in operations_on_customers(document):
                alike &= await _compared(client, role, method, path, pairs)
    return alike


def operations_on_customers(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Method and path of every documented operation that names a customer."""
    return [
        (method, path)
        for path, methods in document["paths"].items()
        for method in methods
        if "{customer_id}" in path or path == "/v1/decisions"
    ]


async def _compared(client: httpx.AsyncClient, role: str, method: str, path: str, pairs: int) -> bool:
    draw, differences, times = Random(f"{role} {method} {path}"), list[int](), list[int]()
    for number in range(pairs + 20):
        order = [FOREIGN, ABSENT] if draw.random() < 0.5 else [ABSENT, FOREIGN]
        took = {customer: await _asked(client, role, method, path, customer) for customer in order}
        if took[FOREIGN][1] != took[ABSENT][1]:
            print(f"{method} {path}: the answers differ")
            return False
        if number >= 20:  # what comes first warms up
            differences.append(took[FOREIGN][0] - took[ABSENT][0])
            times += [took[FOREIGN][0], took[ABSENT][0]]
    apart, chance = median(differences) / median(times), _chance(differences)
    alike = abs(apart) <= MOST_APART or chance > LEAST_LIKELY
    print(
        f"{method} {path} ({role}): {median(times) / 1000:.0f} us, foreign {apart:+.1%} beside absent, p = {chance:.2g}"
        f"{'' if alike else ' MISSED'}"
    )
    return alike


async def _asked(
    client: httpx.AsyncClient, role: str, method: str, path: str, customer: str
) -> tuple[int, tuple[object, ...]]:
    place = path.format(customer_id=customer, name="age")
    body: dict[str, Any] = {"json": _QUESTION | {"customer_id": customer}} if method == "post" else {}
    began = process_time_ns()
    answer = await client.request(method, place, headers={"X-API-Key": role}, **body)
    return process_time_ns() - began, (answer.status_code, answer.content, sorted(answer.headers.items()))


def _chance(differences: list[int]) -> float:
    """How likely so many of one sign are by chance (two-sided, normal approximation of the sign test)."""
    signs = [difference > 0 for difference in differences if difference]
    if not signs:
        return 1.0
    z = (abs(sum(signs) - len(signs) / 2) - 0.5) / math.sqrt(len(signs) / 4)
    return math.erfc(max(0.0, z) / math.sqrt(2))


def _keys() -> ApiKeys:
    return ApiKeys([
        ApiKey(
            sha256=sha256(role.encode()).digest(),
            client=Client(
                name=role, channels=None, scopes=frozenset(ApiScope), customers=CustomerScope.of(entries)
            ),
        )
        for role, entries in _SCOPES.items()
    ])  # fmt: skip


def main() -> int:
    """The exit status is the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    return 0 if asyncio.run(run(parser.parse_args().pairs)) else 1


if __name__ == "__main__":
    sys.exit(main())
