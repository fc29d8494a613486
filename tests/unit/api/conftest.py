"""The small bank, and clients that speak to the application without a network."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from types import ModuleType
from typing import Any

import httpx
import pytest

from services.api.app import create_app


@pytest.fixture
def bank(small_bank: ModuleType) -> Any:
    return small_bank.Bank()


@pytest.fixture
async def connect(bank: Any) -> AsyncIterator[Callable[..., Any]]:
    """Opens a client of the bank's API; keywords override parts of its runtime."""
    async with AsyncExitStack() as stack:

        async def open_client(**overrides: Any) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(create_app(bank.runtime(**overrides)))
            return await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://bank"))

        yield open_client


@pytest.fixture
async def client(connect: Callable[..., Any]) -> httpx.AsyncClient:
    opened: httpx.AsyncClient = await connect()
    return opened
