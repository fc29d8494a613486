"""How it goes, over HTTP: every part as it stands, what is said when there is nothing, and who may see what."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from html import unescape
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from models.drift.findings import DriftFigure, DriftKind, DriftReport
from models.evaluation.arm_rewards import ArmRewards
from models.evaluation.experiments import ExperimentResult, judge_experiment
from models.evaluation.intervals import Estimate
from models.manifest import Manifest, Metric
from models.prior_scorer import BASE_RATE_SCHEMA
from models.registry import ModelRegistry
from services.api.app import create_app
from services.api.authentication import ApiKey, ApiKeys, ApiScope, Client
from services.api.runtime import ResultPorts
from services.use_cases.attribution_report import AttributionQuery, AttributionReport, CreditRow
from services.use_cases.authoring.tools import AuthoringTools
from services.use_cases.model_acts import promotion_of
from services.use_cases.models_now import ModelsNow
from services.use_cases.observing.funnel_log import FunnelLog, LogTooLarge, Reading, fold_log
from services.use_cases.observing.model_health import ModelDesk
from services.use_cases.observing.results_period import Period
from services.use_cases.observing.results_reading import NothingArchived, NotJudged
from services.use_cases.observing.volumes import PricesNow, VolumeDesk

ORIGIN = "http://bank"
OURS = {"origin": ORIGIN, "x-kairos-fragment": "1", "accept-language": "en"}
SCOPES = frozenset({ApiScope.READ, ApiScope.DECIDE, ApiScope.RESPOND})


class Held:
    """Sessions in memory."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def load(self, digest: str) -> bytes | None:
        return self.values.get(digest)

    async def save(self, digest: str, value: bytes, seconds: int) -> None:
        self.values[digest] = value

    async def remove(self, digest: str) -> None:
        self.values.pop(digest, None)


class Acts:
    """A desk of governance without versions."""

    def state(self) -> Any:
        return SimpleNamespace(versions={}, drafts={}, engaged=())

    def active_version(self) -> None:
        return None


def arms() -> list[ExperimentResult]:
    """Six hundred customers in full, four hundred in an arm that earns half of it."""
    rng = np.random.default_rng(1)
    arm_of = np.repeat(np.array([0, 1]), [600, 400])
    accepted = (rng.random(1000) < np.where(arm_of == 0, 0.6, 0.3)).astype(np.float64)
    rewards = ArmRewards(
        experiment="arms", arms=("full", "random_eligible"), customers=np.arange(1000, dtype=np.intp),
        days=np.zeros(1000, np.intp), arm_of=arm_of.astype(np.intp), accepted=accepted, value=accepted * 1000,
    )  # fmt: skip
    return [judge_experiment(rewards)]


def drifted() -> DriftReport:
    def figure(kind: DriftKind, name: str, value: float, *, beyond: bool = False) -> DriftFigure:
        limits = Estimate(value=value, low=value / 2, high=value * 2)
        return DriftFigure(kind=kind, name=name, value=value, limit=0.25, beyond=beyond, interval=limits)

    figures = (
        figure(DriftKind.CALIBRATION, "calibration", 0.62, beyond=True),
        figure(DriftKind.RESPONSE_RATE, "response_rate", 1.0),
        figure(DriftKind.COLUMN, "balance", 0.31, beyond=True),
        figure(DriftKind.COLUMN, "age", float("inf")),
        figure(DriftKind.SCORE, "score", 0.02),
        figure(DriftKind.LABEL_DELAY, "label_delay", 0.01),
    )
    return DriftReport(version="v", rows=1234, recent=1000, positives=99, figures=figures)


class Log:
    """What the archive would give: the events of the small bank's bus."""

    def __init__(self, bank: Any) -> None:
        self.bank = bank
        self.fails: Exception | None = None
        self.reads = 0

    async def funnel_log(self, period: Period) -> FunnelLog:
        self.reads += 1
        if self.fails is not None:
            raise self.fails
        prepared = self.bank.live.prepared
        events = [(event.topic, event.value) for event in self.bank.bus.events]
        return fold_log(
            Reading(starts_ms=period.starts_ms, segments={}, strategy_of={prepared.strategy.version: prepared}.get),
            [value for topic, value in events if "decisions" in topic],
            [value for topic, value in events if "responses" in topic],
        )

    async def experiments(self, period: Period) -> list[ExperimentResult]:
        if self.fails is not None:
            raise self.fails
        return arms()

    async def drift(self, version: str) -> DriftReport:
        return drifted()


class Pools:
    """A store without pools, closed."""

    def pool(self, volume: str, period: str) -> str:
        return f"{volume}:{period}"

    async def is_open(self) -> bool:
        return False

    async def left(self, pools: Sequence[str]) -> dict[str, int]:
        return {}

    async def held(self) -> Mapping[str, int] | None:
        return None


class Credits:
    """Attribution that credits one offer."""

    async def attribution(self, query: AttributionQuery) -> AttributionReport:
        row = CreditRow(name="gold_card", conversions=1.0, value=123_400, touches=1)
        return AttributionReport(rows=(row,), conversions=1.0, value=123_400)


class Looking:
    """A person at the console of the small bank."""

    def __init__(self, bank: Any, log: Log, client: httpx.AsyncClient) -> None:
        self.bank = bank
        self.log = log
        self.client = client

    async def decide(self, customer: str, channel: str = "mobile") -> list[dict[str, Any]]:
        place = {"mobile": "home_banner", "contact_centre": "agent_panel"}[channel]
        body = {"customer_id": customer, "channel": channel, "locale": "en", "placements": [{"id": place, "count": 2}]}
        answer = (await self.client.post("/v1/decisions", json=body)).json()
        options: list[dict[str, Any]] = answer["placements"][0].get("options", [])
        return options

    async def say(self, tracking_id: str, outcome: str) -> None:
        body = {"response_id": f"{tracking_id}-{outcome}", "tracking_id": tracking_id, "outcome": outcome}
        assert (await self.client.post("/v1/responses", json=body)).status_code < 300

    async def get(self, path: str, status: int = 200) -> str:
        answer = await self.client.get(path)
        assert answer.status_code == status, answer.text
        return unescape(answer.text)


@pytest.fixture
def bank(small_bank: ModuleType) -> Any:
    return small_bank.Bank(live=small_bank.live(*small_bank.OFFERS))


@asynccontextmanager
async def looking(bank: Any, root: Path, secret: str = "Mei Lin", **overrides: Any) -> AsyncIterator[Looking]:
    tools = AuthoringTools(load=lambda _: None, read=lambda _: None, sample=None)  # type: ignore[arg-type]
    log, acts = Log(bank), ModelsNow()
    registry = ModelRegistry(root / "models")
    if "model" in overrides:
        await acts.note(promotion_of(overrides.pop("model"), event_id="p", at=datetime.now(UTC), actor="lin"))
    ports = ResultPorts(
        log=log,
        volumes=VolumeDesk(pools=Pools(), prices=PricesNow(), fresh_ms=1),
        models=ModelDesk(registry=registry, acts=acts, reports=root / "reports", proposal_days=7),
    )
    runtime = bank.runtime(sessions=Held(), authoring=tools, governance=Acts(), results=ports, **overrides)
    transport = httpx.ASGITransport(create_app(runtime))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=OURS) as client:
        signed_in = await client.post("/sign-in", data={"secret": secret}, headers={"accept": "text/html"})
        client.headers["cookie"] = signed_in.headers.get("set-cookie", "").partition(";")[0]
        client.headers["x-api-key"] = secret
        yield Looking(bank, log, client)


async def test_figures_are_those_of_what_was_decided_and_answered(bank: Any, tmp_path: Path) -> None:
    async with looking(bank, tmp_path, attribution=Credits()) as people:
        options = await people.decide("retail:1")
        assert len(options) == 2
        await people.say(options[0]["tracking_id"], "impression")
        await people.say(options[0]["tracking_id"], "accept")
        page = await people.get("/console/results/figures")
        assert "1 requests read." in page
        assert 'title="Too few cases to go by"' in page
        shown = bank.live.prepared.strategy.offer(options[0]["offer"]).title["en"]
        assert shown in page
        assert "/console/decisions?from=" in page
        for by in ("group", "treatment", "channel"):
            assert "1 requests read." in await people.get(f"/console/results/figures?by={by}")
        assert people.log.reads == 1  # kept: all of these are cuts of the same reading
        assert "0 requests read." in await people.get("/console/results/figures?channel=contact_centre")
        assert people.log.reads == 1
        await people.get("/console/results/figures?days=30")
        assert people.log.reads == 2


async def test_the_arms_stand_with_lift_and_verdict(bank: Any, tmp_path: Path) -> None:
    async with looking(bank, tmp_path) as people:
        page = await people.get("/console/results/lift")
        assert "The standing experiment" in page
        assert "random" in page
        (result,) = arms()
        lift = result.arms[1].accept_lift
        assert lift is not None
        assert f"{100 * lift.value:.1f}%" in page
        assert "worse since day 1" in page


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (NothingArchived("no folder"), "Nothing is archived yet"),
        (NotJudged("no window"), "not enough yet"),
        (LogTooLarge("9 GB"), "choose fewer days"),
    ],
)
async def test_what_cannot_be_read_says_why_in_its_place(
    bank: Any, tmp_path: Path, fails: Exception, said: str
) -> None:
    async with looking(bank, tmp_path) as people:
        people.log.fails = fails
        for path in ("/console/results/figures", "/console/results/lift", "/console/volumes/caps"):
            if not (isinstance(fails, NotJudged) and path != "/console/results/lift"):
                assert said in await people.get(path)
        assert "Results" in await people.get("/console/results")


@pytest.mark.parametrize(
    "query",
    ["days=5", "days=own&from=2026-11-21&to=2026-11-01", "days=own", "by=colour", "of=cards", "weak=much", "weak=-1"],
)
async def test_what_makes_no_sense_is_refused(bank: Any, tmp_path: Path, query: str) -> None:
    async with looking(bank, tmp_path) as people:
        await people.get(f"/console/results/figures?{query}", 422)


async def test_a_person_of_one_channel_sees_that_channel(bank: Any, tmp_path: Path) -> None:
    client = Client(name="mobile-only", channels=frozenset({"mobile"}), scopes=SCOPES)
    keys = ApiKeys([ApiKey(sha256=sha256(b"mobile-only").digest(), client=client)])
    async with looking(bank, tmp_path, "mobile-only", authenticator=keys) as people:
        await people.decide("retail:1")
        assert "1 requests read." in await people.get("/console/results/figures")
        await people.get("/console/results/figures?channel=contact_centre", 422)
        assert "you may see only some" in await people.get("/console/results/lift")
        events = people.bank.bus.events
        other = orjson.loads(next(event.value for event in events if "decisions" in event.topic))
        other["data"] |= {"channel": "contact_centre", "decision_id": "another"}
        events.append(SimpleNamespace(topic="nbo.decisions.v1", value=orjson.dumps(other)))
        assert "1 requests read." in await people.get("/console/results/figures?days=30")


async def test_volumes_that_are_closed_and_caps_are_told(bank: Any, tmp_path: Path) -> None:
    async with looking(bank, tmp_path) as people:
        page = await people.get("/console/volumes")
        assert "Nothing of any volume is handed out" in page
        await people.decide("retail:1")
        assert "The contact policy held nothing back." in await people.get("/console/volumes/caps")


async def test_models_show_who_serves_what_drifted_and_the_papers(bank: Any, tmp_path: Path) -> None:
    draft = Manifest(
        name="cross_sell", version="", kind="prior", created_at="", files={}, schema=BASE_RATE_SCHEMA,
        metrics={"auc": Metric(value=0.8123, low=0.79, high=0.83), "calibration_error": Metric(value=0.0123)},
    )  # fmt: skip
    card = {"card.md": b"# Card of it\n\n- a limit\n"}
    manifest = ModelRegistry(tmp_path / "models").save(draft, card, datetime.now(UTC))
    async with looking(bank, tmp_path, model=manifest) as people:
        page = await people.get("/console/models")
        assert manifest.version in page
        assert "0.8123" in page
        assert "Calibration error" in page
        found = await people.get(f"/console/models/drift/{manifest.version}")
        assert "alarm" in found
        assert "balance" in found
        assert "inf" not in found
        shown = await people.get(f"/console/models/card/{manifest.version}")
        assert "<h1>Card of it</h1>" in shown
        assert "<li>a limit</li>" in shown
        await people.get(f"/console/models/report/{manifest.version}", 404)
        (tmp_path / "reports").mkdir()
        (tmp_path / "reports" / f"{manifest.version}.html").write_text("<style>p{}</style>", encoding="utf-8")
        answer = await people.client.get(f"/console/models/report/{manifest.version}")
        assert answer.text == "<style>p{}</style>"
        assert "script-src" not in answer.headers["content-security-policy"]
        for path in ("card", "report"):
            await people.get(f"/console/models/{path}/cross_sell-20260101T000000Z-00000000", 404)
        await people.decide("retail:1")
        assert "base rates" in await people.get("/console/models/volume/cross_sell")
