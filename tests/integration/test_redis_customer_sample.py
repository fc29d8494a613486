"""Customers drawn from the store: all of a small bank, a sample of a large one, and only states of the layout."""

from collections.abc import AsyncIterator

import pytest

from decision_engine.identifiers import CustomerId
from services.adapters import redis_customer_sample
from services.adapters.redis_client import RedisClient
from services.adapters.redis_customer_sample import RedisCustomerSample
from services.adapters.redis_keys import RedisKeys

pytestmark = pytest.mark.servers
LAYOUT = "0123456789abcdef"


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[RedisClient]:
    async with RedisClient.open(store_url) as opened:
        yield opened


async def filled(client: RedisClient, customers: int) -> None:
    keys, other = (RedisKeys("bank", layout).divided(client.tags) for layout in (LAYOUT, "fedcba9876543210"))
    for number in range(customers):
        customer = CustomerId(f"retail:{number}")
        await client.execute("SET", keys.state(customer), f"state {number}")
        await client.execute("SET", other.state(customer), "of another layout")
        await client.execute("SET", keys.ledger(customer), "contacts")


async def test_everybody_is_drawn_from_a_small_bank(client: RedisClient) -> None:
    await filled(client, 40)
    drawn = await RedisCustomerSample(client, "bank").sample(LAYOUT, 100)
    assert (drawn.whole, drawn.population) == (True, 40)
    assert dict(drawn.states) == {f"retail:{n}": f"state {n}".encode() for n in range(40)}
    nobody = await RedisCustomerSample(client, "other").sample(LAYOUT, 100)
    assert (nobody.whole, nobody.population, list(nobody.states)) == (True, 0, [])


async def test_of_a_large_bank_a_sample_is_drawn_and_its_size_estimated(
    client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_customer_sample, "_AT_ONCE", 100)
    await filled(client, 600)
    drawn = await RedisCustomerSample(client, "bank").sample(LAYOUT, 60)
    assert not drawn.whole
    assert len(drawn.states) == 60
    assert 300 < drawn.population < 1200
