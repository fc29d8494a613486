"""The metrics page of roles without an API."""

import asyncio

from services.adapters.embedded_servers import free_port
from services.adapters.metrics_page import metrics_page
from services.adapters.prometheus_metrics import PrometheusMetrics


async def get(port: int, path: str) -> tuple[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return head.splitlines()[0], body


async def test_the_page_shows_the_metrics_as_they_are_now() -> None:
    metrics = PrometheusMetrics()
    async with metrics_page("127.0.0.1", free_port(), metrics.exposition) as port:
        metrics.count("events_applied_total", 3, type="bank.transaction.posted")
        status, body = await get(port, "/metrics")
        assert status == "HTTP/1.1 200 OK"
        assert 'kairos_events_applied_total{type="bank.transaction.posted"} 3.0' in body
        assert (await get(port, "/livez"))[1] == "ok\n"
        assert (await get(port, "/secrets"))[0] == "HTTP/1.1 404 Not Found"


async def test_port_zero_serves_no_page() -> None:
    async with metrics_page("127.0.0.1", 0, PrometheusMetrics().exposition) as port:
        assert port == 0
