"""One attribute of one customer: definition, value, window, and the events behind it."""

from typing import Any

import httpx
import pytest


async def test_a_windowed_sum_names_its_events_filter_and_window(client: httpx.AsyncClient) -> None:
    seen = (await client.get("/v1/customers/retail:1/attributes/card_spend_sum_30d")).json()
    portrait = (await client.get("/v1/customers/retail:1")).json()
    shown = {view["name"]: view["value"] for views in portrait["attributes"].values() for view in views}
    assert seen["value"] == shown["card_spend_sum_30d"]
    assert (seen["source"], seen["aggregate"], seen["field"]) == ("bank.transaction.posted", "sum", "amount")
    assert (seen["window"], seen["window_until"]) == ("30d", seen["time"])
    assert seen["window_from"] < seen["newest_event_at"] <= seen["time"]
    assert (seen["newest_event_within"], seen["events"] >= 1, seen["rows"] >= 1) == ("d", True, True)


async def test_a_profile_attribute_tells_when_it_was_set(client: httpx.AsyncClient) -> None:
    seen = (await client.get("/v1/customers/retail:1/attributes/age")).json()
    assert (seen["source"], seen["window"], seen["rows"]) == ("bank.profile.updated", None, 1)
    assert seen["newest_event_at"] is not None


async def test_of_an_unknown_customer_the_definition_is_told_and_no_value(client: httpx.AsyncClient) -> None:
    seen = (await client.get("/v1/customers/retail:nobody/attributes/age")).json()
    assert (seen["value"], seen["rows"], seen["newest_event_at"]) == (None, 0, None)
    assert seen["definition"]


@pytest.mark.parametrize(("name", "status"), [("ages", 404), ("1age", 422), ("a" * 200, 422)])
async def test_names_that_nobody_declared_are_refused(client: httpx.AsyncClient, name: str, status: int) -> None:
    assert (await client.get(f"/v1/customers/retail:1/attributes/{name}")).status_code == status


async def test_a_store_that_is_away_is_503(bank: Any, client: httpx.AsyncClient) -> None:
    bank.store.fail.add("read")
    assert (await client.get("/v1/customers/retail:1/attributes/age")).status_code == 503
