"""Simulated customers at the API: what they ask, how they answer, and what a broken API does to the traffic."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import orjson
import pytest

from event_schemas.codec import decode
from event_schemas.profile import ProductOpened
from services.adapters.file_strategy_source import load_strategy_file
from services.simulation.asking import Asking
from services.simulation.population import make_population
from services.simulation.traffic import TrafficConfig
from services.simulation.traffic_stats import TrafficStats
from services.simulation.truth import ResponseModel
from services.simulation.visitor import Visitors
from services.simulation.visits import Visit

STRATEGY = load_strategy_file(Path(__file__).with_name("small_bank.yaml"))
NOON_MS = 1_772_337_600_000
Handler = Callable[[httpx.Request], httpx.Response]


class Api:
    """Offers one card to everybody and remembers what was asked and answered."""

    def __init__(self) -> None:
        self.decisions: list[dict[str, object]] = []
        self.responses: list[dict[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            candidates = [
                {"offer": "dining_card", "outcome": "offered"},
                {"offer": "bond_fund", "outcome": "ranked_lower"},
                {"offer": "gold_card", "outcome": "rejected"},
            ]
            return httpx.Response(200, json={"candidates": candidates})
        body = orjson.loads(request.content)
        if request.url.path == "/v1/responses":
            self.responses.append(body)
            return httpx.Response(202, json={"accepted": 1, "duplicates": 0, "rejected": []})
        self.decisions.append(body)
        decision_id = f"D{len(self.decisions)}"
        option = {"rank": 1, "offer": "dining_card", "tracking_id": f"{decision_id}.0", "propensity": 0.05,
                  "reasons": [{"code": "FITS", "text": "It fits"}]}  # fmt: skip
        placements = [{"id": "home_banner", "options": [option]}]
        return httpx.Response(200, json={"decision_id": decision_id, "placements": placements, "models": {}})


def visitors(handler: Handler) -> Visitors:
    return Visitors(
        client=httpx.AsyncClient(transport=httpx.MockTransport(handler), base_url="http://api"),
        asking=Asking(STRATEGY),
        people=make_population(300, seed=1),
        truth=ResponseModel(STRATEGY.offers, seed=1),
        offers={str(offer.name): offer for offer in STRATEGY.offers},
        zone=ZoneInfo("Asia/Shanghai"),
        stats=TrafficStats(),
        seed=1,
    )


def visit_of(customer: int, channel: str = "mobile", page: str | None = "home") -> Visit:
    return Visit(customer, NOON_MS + customer * 1_000, channel, page)


async def test_a_visit_asks_for_its_channels_placement_with_the_declared_context_only() -> None:
    api = Api()
    await visitors(api).visit(visit_of(4, page="cards"))

    (asked,) = api.decisions
    assert asked["customer_id"] == "retail:5"
    assert asked["placements"] == [{"id": "home_banner", "count": 1}]
    assert asked["context"] == {"page": "cards"}


async def test_a_channel_without_a_placement_asks_nothing() -> None:
    api = Api()

    assert await visitors(api).visit(visit_of(1, channel="branch", page=None)) is None
    assert api.decisions == []


async def test_everybody_sees_and_some_accept_as_often_as_the_truth_says() -> None:
    api = Api()
    crowd = visitors(api)
    opened = [event for event in [await crowd.visit(visit_of(i)) for i in range(300)] if event is not None]
    outcomes = [response["outcome"] for response in api.responses]
    chances = [
        crowd._chances(visit_of(i), ["dining_card"])[0]
        for i in range(300)  # after one exposure: a lower bound
    ]

    assert outcomes.count("impression") == 300
    assert outcomes.count("click") >= outcomes.count("accept") == len(opened) > sum(chances) / 2
    assert len({response["response_id"] for response in api.responses}) == len(api.responses)


async def test_an_accepted_product_becomes_an_event_of_the_bank() -> None:
    crowd = visitors(Api())
    opened = [event for event in [await crowd.visit(visit_of(i)) for i in range(200)] if event is not None]
    event = decode(opened[0].value)

    assert isinstance(event, ProductOpened)
    assert event.data.product == "dining_card"
    assert opened[0].topic == "bank.profile-updates.v1"


async def test_worth_is_compared_on_a_share_of_the_same_decisions() -> None:
    crowd = visitors(Api())
    for i in range(200):
        await crowd.visit(visit_of(i))

    assert 15 < len(crowd.stats.truths) < 80
    assert crowd.stats.true_worth is not None


async def test_a_refusing_api_is_an_error_to_the_traffic_and_counts_nothing() -> None:
    crowd = visitors(lambda _: httpx.Response(503, headers={"Retry-After": "1"}))

    with pytest.raises(httpx.HTTPStatusError):
        await crowd.visit(visit_of(1))
    assert crowd.stats.decisions == 0


def test_history_ends_where_live_begins_unless_a_start_is_given() -> None:
    config = TrafficConfig(api_url="http://x", bootstrap_servers="x:1", strategy_path=Path("x"), start=date(2026, 5, 1))

    assert config.first_day == date(2026, 5, 1)
