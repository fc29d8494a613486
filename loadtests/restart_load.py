"""A constant load of everything a bank sends, drawn from a seed: events, some of them twice, decisions, responses to
what they offered, and looks at customers. What was acknowledged is remembered, to be asked for later."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from loadtests.balanced_client import BalancedClient

CUSTOMERS = 60
AT_ONCE = 24
"""Requests under way at most: a bank's channels wait for each other no less."""
OLDEST_DAYS = 20
SOURCE = "restarts"
PLACEMENTS = (("mobile", "home_banner"), ("mobile", "card_page_tile"), ("contact_centre", "agent_panel"))
REACTIONS = (("impression",), ("impression", "click"), ("impression", "click", "accept"), ("impression", "dismiss"))
KINDS = ("transaction", "transaction", "transaction", "page", "login", "search", "form", "profile", "product")


@dataclass(slots=True)
class Acknowledged:
    """What the deployment said it has taken."""

    events: set[str] = field(default_factory=set)
    """`source/id`, as the log names them."""
    decisions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Request id to the decision ids it was answered with."""
    responses: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Response id to tracking id and outcome."""
    degraded: int = 0
    """Decisions that went without something."""


class RestartLoad:
    """Sends until told to stop, at most so many actions a second."""

    def __init__(self, client: BalancedClient, seed: int, actions_a_second: float) -> None:
        self.taken = Acknowledged()
        self._client = client
        self._draws = random.Random(seed)
        self._pause_s = 1 / actions_a_second
        self._numbers = 0
        self._sent: list[dict[str, object]] = []
        self._room = asyncio.Semaphore(AT_ONCE)

    @property
    def actions(self) -> int:
        """How many were begun."""
        return self._numbers

    async def run(self, stop: asyncio.Event) -> None:
        """Returns when everything under way has been answered."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for number in range(1, CUSTOMERS + 1):
                await self._begin(group, self._publish(self._event("profile", f"retail:{number}")))
            due_s = loop.time()
            while not stop.is_set():
                await self._begin(group, self._action())
                due_s = max(due_s + self._pause_s, loop.time() - 1.0)  # a stall is not made up for by a burst
                await asyncio.sleep(max(0.0, due_s - loop.time()))

    async def _begin(self, group: asyncio.TaskGroup, action: Awaitable[None]) -> None:
        await self._room.acquire()

        async def done() -> None:
            try:
                await action
            finally:
                self._room.release()

        group.create_task(done())

    def _action(self) -> Awaitable[None]:
        """The next one; everything is drawn here, so that the same seed sends the same whatever answers when."""
        customer = f"retail:{self._draws.randint(1, CUSTOMERS)}"
        act = self._draws.choices(("event", "again", "decide", "look"), weights=(50, 5, 40, 5))[0]
        if act == "again" and self._sent:
            return self._publish(self._draws.choice(self._sent))
        if act == "decide":
            return self._decide(customer, self._draws.choice(PLACEMENTS), self._draws.choice(REACTIONS))
        if act == "look":
            return self._look(customer)
        return self._publish(self._event(self._draws.choice(KINDS), customer))

    async def _publish(self, event: dict[str, object]) -> None:
        self._sent.append(event)
        if await self._client.post("/v1/events", event) is not None:
            self.taken.events.add(f"{event['source']}/{event['id']}")

    async def _look(self, customer: str) -> None:
        await self._client.get(f"/v1/customers/{customer}")

    async def _decide(self, customer: str, asked: tuple[str, str], reactions: tuple[str, ...]) -> None:
        channel, placement = asked
        request_id = f"r-{self._number()}"
        body: dict[str, object] = {
            "request_id": request_id, "customer_id": customer, "channel": channel, "timeout_ms": 1000,
            "placements": [{"id": placement, "count": 1}],
        }  # fmt: skip
        answer = await self._client.post("/v1/decisions", body)
        if answer is None:
            return
        decision = answer.json()
        self.taken.decisions[request_id].add(decision["decision_id"])
        self.taken.degraded += decision["degraded"]
        for option in decision["placements"][0].get("options", []):
            for outcome in reactions:
                await self._respond(option["tracking_id"], outcome, channel)

    async def _respond(self, tracking_id: str, outcome: str, channel: str) -> None:
        response_id = f"{tracking_id}-{outcome}"
        body = {"response_id": response_id, "tracking_id": tracking_id, "outcome": outcome, "channel": channel}
        answer = await self._client.post("/v1/responses", body)
        if answer is None:
            return
        if answer.json()["rejected"]:
            self._client.asked.failures.append(f"response {response_id}: {answer.text[:200]}")
            return
        self.taken.responses[response_id] = tracking_id, outcome

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _event(self, kind: str, customer: str) -> dict[str, object]:
        number, draws = self._number(), self._draws
        back = timedelta(0) if kind == "profile" else timedelta(seconds=draws.randrange(OLDEST_DAYS * 86_400))
        event_type, data = _content(kind, number, draws)
        return {
            "specversion": "1.0", "id": f"e-{number}", "type": event_type, "source": SOURCE, "subject": customer,
            "time": (datetime.now(UTC) - back).isoformat(timespec="milliseconds").replace("+00:00", "Z"), "data": data,
        }  # fmt: skip


def _content(kind: str, number: int, draws: random.Random) -> tuple[str, dict[str, object]]:
    make: Callable[[int, random.Random], tuple[str, dict[str, object]]] = _CONTENT[kind]
    return make(number, draws)


def _transaction(_: int, draws: random.Random) -> tuple[str, dict[str, object]]:
    credit = draws.random() < 0.2
    return "bank.transaction.posted", {
        "account_id": draws.choice(("1", "2")), "direction": "credit" if credit else "debit",
        "amount": draws.randint(1_000, 900_000), "currency": "CNY", "balance_after": draws.randint(0, 50_000_000),
        "kind": draws.choice(("transfer_in", "salary")) if credit else draws.choice(("card", "transfer_out", "fee")),
        "category": draws.choice(("dining", "fuel", "travel", "groceries")),
    }  # fmt: skip


def _page(_: int, draws: random.Random) -> tuple[str, dict[str, object]]:
    page = draws.choice(("cards", "wealth", "deposits", "loans"))
    return "bank.channel.page_view", {"channel": "mobile", "page": page, "duration_ms": draws.randint(100, 60_000)}


def _login(number: int, _: random.Random) -> tuple[str, dict[str, object]]:
    return "bank.channel.login", {"channel": "mobile", "session_id": f"s-{number}"}


def _search(_: int, draws: random.Random) -> tuple[str, dict[str, object]]:
    return "bank.channel.search", {"query": "x", "topic": draws.choice(("fx", "loan", "fund")), "results": 3}


def _form(number: int, draws: random.Random) -> tuple[str, dict[str, object]]:
    act = draws.choice(("opened", "submitted"))
    form = draws.choice(("card_application", "loan_application"))
    return f"bank.channel.form_{act}", {"channel": "mobile", "form": form, "form_id": f"f-{number // 20}"}


def _profile(number: int, draws: random.Random) -> tuple[str, dict[str, object]]:
    attributes = {"age": draws.randint(20, 75), "city": draws.choice(("beijing", "shanghai")), "risk_level": 3}
    return "bank.profile.updated", {"attributes": {**attributes, "risk_assessed_at": 1_771_000_000_000 + number}}


def _product(number: int, draws: random.Random) -> tuple[str, dict[str, object]]:
    return "bank.product.opened", {"product": draws.choice(("gold_card", "term_deposit")), "account_id": f"a{number}"}


_CONTENT = {
    "transaction": _transaction, "page": _page, "login": _login, "search": _search, "form": _form, "profile": _profile,
    "product": _product,
}  # fmt: skip
