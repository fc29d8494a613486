"""Waiting for a deployment that was just started: its API is ready, and decisions rely on the states."""

import asyncio
from collections.abc import Sequence

import httpx

from services.adapters.role_processes import RoleProcess


async def until_ready(url: str, roles: Sequence[RoleProcess], within_s: float) -> None:
    """Fails with the ends of the roles' logs."""
    deadline = asyncio.get_running_loop().time() + within_s
    async with httpx.AsyncClient(trust_env=False) as client:
        while asyncio.get_running_loop().time() < deadline:
            try:
                if (await client.get(f"{url}/readyz")).status_code == 200 and await _states_are_complete(client, url):
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError("\n".join(f"--- {role.name}\n{role.log_tail()}" for role in roles))


async def _states_are_complete(client: httpx.AsyncClient, url: str) -> bool:
    """Whether decisions rely on the states: the builder has read the log as it found it."""
    body = {
        "request_id": "ready",
        "customer_id": "retail:1",
        "channel": "mobile",
        "placements": [{"id": "home_banner", "count": 1}],
        "timeout_ms": 1000,
        "dry_run": True,
    }
    return (await client.post(f"{url}/v1/decisions", json=body)).json().get("degraded") is False
