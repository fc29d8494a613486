"""App and agents as Locust users, asking what the profiles of `loadtests.open_loop` ask.

pip install locust   (in an environment of its own; 2.40 or newer)
PYTHONPATH=. locust -f loadtests/locust/scenarios.py --host http://127.0.0.1:8000
PYTHONPATH=. locust -f loadtests/locust/scenarios.py --host http://127.0.0.1:8000 --headless -u 50 -r 10 -t 1m \
    --most-p99-ms 100 --most-errors 0.01

Locust is a closed loop: its users wait for their answers before they go on, so a server that stalls is asked less, and
the requests that would have come meanwhile are missing from its percentiles. Figures that are published come from
`python -m loadtests.open_loop`. 429 and 503 with `Retry-After` count as answers here, too: refusing in order is right.
"""

import itertools
import os
import uuid
from collections import deque
from typing import Any

from locust import FastHttpUser, between, events, task

from loadtests.open_loop.profiles import PROFILES, Step

CUSTOMERS = int(os.environ.get("LOCUST_CUSTOMERS", "2000"))
"""Asked for: retail:1 to retail:N."""
API_KEY = os.environ.get("LOCUST_API_KEY", "")
_RUN = uuid.uuid4().hex[:12]
_numbers = itertools.count(1)


class _Customers(FastHttpUser):
    """Goes through the steps of a stream for one customer after another, thinking in between."""

    abstract = True
    wait_time = between(1.0, 3.0)

    def on_start(self) -> None:
        """Locust's: before the first task."""
        self._offers: dict[str, deque[str]] = {}

    def ask(self, step: Step, customer: int) -> None:
        """One request; it fails unless it is answered as the step wants, or refused in order."""
        named = {"id": f"{_RUN}-{next(_numbers)}", "customer": customer}
        if step.answers is not None:
            offers = self._offers.get(step.answers)
            if not offers:
                return
            named["tracking"] = offers.popleft()
        headers = {"Content-Type": "application/json"} | ({"X-API-Key": API_KEY} if API_KEY else {})
        with self.client.request(
            "GET" if step.body is None else "POST",
            step.path % named,
            data=None if step.body is None else step.body % named,
            headers=headers,
            name=step.name,
            catch_response=True,
        ) as answer:
            if answer.status_code in step.accepts:
                self._remember(step, answer.json())
                answer.success()
            elif answer.status_code in (429, 503) and answer.headers.get("Retry-After"):
                answer.success()
            else:
                answer.failure(f"status {answer.status_code}")

    def visit(self, steps: tuple[Step, ...]) -> None:
        """All steps for one customer."""
        customer = next(_numbers) * 7_919 % CUSTOMERS + 1
        for step in steps:
            self.ask(step, customer)
            self.wait()

    def _remember(self, step: Step, answer: dict[str, Any]) -> None:
        for placement in answer.get("placements", ()):
            for option in placement.get("options", ())[:1]:
                self._offers.setdefault(step.name, deque(maxlen=100)).append(option["tracking_id"])


class AppUser(_Customers):
    """The mobile app: a home page, that it was seen, a tile."""

    weight = 4

    @task
    def session(self) -> None:
        """One visit."""
        self.visit(PROFILES["app"].streams[0].steps)


class AgentUser(_Customers):
    """An agent: the customer's view, three offers, what the customer said."""

    weight = 1

    @task
    def call(self) -> None:
        """One call."""
        self.visit(PROFILES["agent"].streams[0].steps)


@events.init_command_line_parser.add_listener
def _arguments(parser: Any) -> None:
    parser.add_argument("--most-p99-ms", type=float, default=0.0, help="fail the run above this; 0: never")
    parser.add_argument("--most-errors", type=float, default=1.0, help="fail the run above this share of failures")


@events.quitting.add_listener
def _judge(environment: Any, **_: Any) -> None:
    """Bounds that do not hold make the exit status 1."""
    total, bounds = environment.stats.total, environment.parsed_options
    p99 = total.get_response_time_percentile(0.99) or 0.0
    faults = []
    if not total.num_requests:
        faults.append("nothing was asked")
    if bounds.most_p99_ms and p99 > bounds.most_p99_ms:
        faults.append(f"p99 {p99:.0f} ms, at most {bounds.most_p99_ms:g}")
    if total.fail_ratio > bounds.most_errors:
        faults.append(f"{total.fail_ratio:.1%} failed, at most {bounds.most_errors:.1%}")
    for fault in faults:
        print(f"FAILED: {fault}")
    environment.process_exit_code = 1 if faults else 0
