"""Reads the few figures of a metrics page that the live view shows."""

import httpx

from event_schemas.topics import TRANSACTIONS

TIMEOUT_SECONDS = 1.0


async def event_lag_seconds(client: httpx.AsyncClient, ports: dict[str, int]) -> float | None:
    """How old the newest applied transaction is, from the state builder's page; None when that does not answer.

    Other topics may be silent for hours without anything lagging. On a replay's clock these are seconds of the bank.
    """
    port = ports.get("state-builder")
    if port is None:
        return None
    try:
        response = await client.get(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_SECONDS)
    except httpx.HTTPError:
        return None
    return sample_value(response.text, "kairos_event_lag_seconds", f'topic="{TRANSACTIONS}"')


def sample_value(page: str, metric: str, label: str) -> float | None:
    """The value of the metric's series with this label, in the Prometheus text format; None where there is none."""
    for line in page.splitlines():
        name, _, rest = line.partition("{")
        labels, _, value = rest.rpartition("}")
        if name == metric and label in labels.split(","):
            return float(value.split()[0])
    return None
