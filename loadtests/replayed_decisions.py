"""Ten thousand decisions of the demo bank, made through the API, computed again from their records: every byte agrees.

The simulated bank's customers and companies are asked for in every placement and channel, with and without context, by
an API over the deployed strategy: two versions of it, base rates and two models, online learning, kill switches,
volumes. Store, ledger, models and links fail now and then, and some requests have no time. What was recorded is
archived, and `kairos replay-check`, a process of its own that has the folders of archive, strategies and models and
nothing else, computes it again. `python -m loadtests.replayed_decisions`
"""

import argparse
import asyncio
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import lightgbm
import numpy as np

from decision_engine.engine import TRIGGER
from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.outcomes import Outcome
from decision_engine.prepared import prepare
from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Scorers
from decision_engine.strategy import Strategy
from loadtests.replayed_bank import EngagedSwitches, Leases, LinkedStates, ReplayedBank, Unreliable, beliefs
from loadtests.replayed_contents import WANTED_CAUSES, Contents
from models.manifest import Manifest
from models.registry import ModelRegistry
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.parquet_archive import ParquetArchive
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.strategy_versions import StrategyVersions
from services.api.app import create_app
from services.api.authentication import OpenAccess
from services.api.runtime import ApiRuntime
from services.ports import Delivery
from services.simulation.bank import BankConfig, BankStream
from services.simulation.population import PAGES
from services.use_cases.make_decision import Live

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "deploy" / "strategies" / "demo_bank"
DECISIONS = 10_000
CUSTOMERS, COMPANIES = 600, 40
FIRST_DAY = date(2026, 3, 2)
HISTORY_DAYS = 14
EPSILON, INVERSE_GAP = "{kind: epsilon_greedy, epsilon: 0.15}", "{kind: inverse_gap, gamma: 0.05}"
COLUMNS = 12
ASKED_A_DAY = 700
OUTCOMES = (Outcome.IMPRESSION, Outcome.REJECT, Outcome.ACCEPT, Outcome.IMPRESSION)
WORDS = ("pay", "travel", "cash", "card", "loan", "fx", "b001", "groceries", *PAGES)
REPORTED = re.compile(r"^(decisions|identical|differing|degraded) +([\d,]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many decisions were answered, recorded, computed again and identical, what was in them, and the seconds of
    CPU of making and of recomputing them."""

    answered: int
    recorded: int
    compared: int
    identical: int
    contents: Contents
    making_s: float
    replaying_s: float
    said: str

    @property
    def holds(self) -> bool:
        """Whether all are identical, none is missing, and everything that may go wrong did."""
        complete = self.answered == self.recorded == self.compared == self.identical > 0
        return complete and set(self.contents.causes) >= WANTED_CAUSES and not self.contents.lacking


class Stretch:
    """Makes decisions through the API, and keeps in `folder` what a replay may have: archive, strategies, models."""

    def __init__(self, folder: Path, decisions: int, seed: int) -> None:
        self.folder, self.decisions, self.rng = folder, decisions, random.Random(seed)
        self.contents = Contents()
        first, second = self._strategies()
        self.features = compile_features(first.declarations)
        self.bank = ReplayedBank(states=LinkedStates(self.features, first))
        self.stream = BankStream(BankConfig(seed=seed, customers=CUSTOMERS, start=FIRST_DAY, companies=COMPANIES))
        registry = ModelRegistry(folder / "models")
        versions = [_model(registry, first, number) for number in (1, 2)]
        scorers: list[Scorers] = [{"cross_sell": Unreliable(registry.load(each), self.bank)} for each in versions]
        stages: tuple[tuple[Strategy, Scorers], ...] = (
            (first, {}),
            (first, scorers[0]),
            (second, scorers[0]),
            (second, scorers[1]),
        )
        self.stages = [Live.of(prepare(strategy), self.features, stage) for strategy, stage in stages]
        plan = self.stages[0].prepared.online
        assert plan is not None, "the demo bank learns online"
        self.beliefs = beliefs(plan, versions, seed)
        self.answered = 0

    def _strategies(self) -> tuple[Strategy, Strategy]:
        """The deployed one, and one that explores in another way; both are kept, as a node that serves them does."""
        changed = self.folder / "changed"
        shutil.copytree(DEMO, changed)
        text = (changed / "strategy.yaml").read_text("utf-8")
        if EPSILON not in text:
            raise ValueError(f"strategy.yaml of the demo bank no longer says {EPSILON}")
        (changed / "strategy.yaml").write_text(text.replace(EPSILON, INVERSE_GAP), "utf-8")
        versions = StrategyVersions(self.folder / "strategies", load_strategy_file)
        found = []
        for path in (DEMO, changed):
            strategy = load_strategy_file(path)
            versions.register(strategy.version, path)
            found.append(strategy)
        shutil.rmtree(changed)
        return found[0], found[1]

    @property
    def live(self) -> Live:
        """What decides now: each stage for as many decisions."""
        return self.stages[min(self.bank.number * len(self.stages) // self.decisions, len(self.stages) - 1)]

    async def run(self) -> None:
        """All of them, day by day."""
        metrics, bank = PrometheusMetrics(), self.bank
        volumes = [volume.id for volume in self.live.prepared.volumes.volumes]
        runtime = ApiRuntime(
            live=lambda: self.live, store=bank, ledger=bank, publisher=bank, clock=bank, ids=bank, metrics=metrics,
            authenticator=OpenAccess(), exposition=metrics.exposition, decision_timeout_ms=60_000,
            volumes=Leases(volumes, bank), online=lambda: self.beliefs(bank.moment),
            switches=EngagedSwitches(metrics, bank),
        )  # fmt: skip
        for _ in range(HISTORY_DAYS):
            bank.states.add(self.stream.next_day().events)
        transport = httpx.ASGITransport(create_app(runtime))
        async with httpx.AsyncClient(transport=transport, base_url="http://bank") as client:
            while self.answered < self.decisions:
                day = self.stream.next_day()
                bank.states.add(day.events)
                for place in range(min(ASKED_A_DAY, self.decisions - self.answered)):
                    bank.moment = day.start_ms + place * (86_400_000 // ASKED_A_DAY)
                    await self._ask(client)
        with ParquetArchive(self.folder / "archive") as archive:
            archive.append([Delivery(e.topic, 0, n, e.key.encode(), e.value, ()) for n, e in enumerate(bank.published)])

    async def _ask(self, client: httpx.AsyncClient) -> None:
        body = self._question()
        answer = await client.post("/v1/decisions", json=body)
        if answer.status_code != 200:
            raise RuntimeError(f"{body} was answered {answer.status_code}: {answer.text}")
        self.answered += 1
        for place in answer.json()["placements"]:
            for option in place.get("options", ()):
                if self.rng.random() < 0.6:
                    self.bank.note(body["customer_id"], option["tracking_id"], self.rng.choice(OUTCOMES))

    def _question(self) -> dict[str, Any]:
        """Somebody, somewhere: now and then nobody we know, with more than one placement, in no time at all."""
        rng, strategy = self.rng, self.live.prepared.strategy
        places = list(strategy.placements.values())
        first = rng.choice(places)
        beside = [place for place in places if place.channel == first.channel and place is not first]
        asked = [first, *rng.sample(beside, min(len(beside), rng.choice((0, 0, 1, 2))))]
        customer = f"retail:{rng.randint(1, CUSTOMERS)}"
        if rng.random() < 0.1:
            customer = f"corp:{rng.randint(1, COMPANIES)}"
        return {
            "customer_id": "retail:404404" if rng.random() < 0.03 else customer,
            "channel": first.channel,
            "placements": [{"id": place.id, "count": rng.randint(1, place.max_count)} for place in asked],
            "context": dict(self._context(strategy)),
            "locale": rng.choice(strategy.locales),
            "allow_duplicates": rng.random() < 0.1,
            **({"timeout_ms": 1} if rng.random() < 0.03 else {}),
        }

    def _context(self, strategy: Strategy) -> Iterator[tuple[str, Value]]:
        for attribute in strategy.declarations.context:
            if attribute.name != TRIGGER and self.rng.random() < 0.4:
                is_number = attribute.type is AttributeType.INT
                yield attribute.name, self.rng.randrange(5_000_000) if is_number else self.rng.choice(WORDS)


def measure(decisions: int, seed: int = 11) -> Replayed:
    """Makes and archives so many, and has them computed again."""
    with tempfile.TemporaryDirectory(prefix="kairos-replayed-") as name:
        folder, began = Path(name), time.process_time()
        stretch = Stretch(folder, decisions, seed)
        asyncio.run(stretch.run())
        making_s = time.process_time() - began
        for event in stretch.bank.published:
            stretch.contents.note(event.value)
        print(f"{stretch.answered:,} decisions made in {making_s:.0f} s of CPU", file=sys.stderr, flush=True)
        before = os.times().children_user
        said = _replay_check(folder)
        figures = {name: int(number.replace(",", "")) for name, number in REPORTED.findall(said)}
        return Replayed(
            answered=stretch.answered,
            recorded=len({event.value for event in stretch.bank.published}),
            compared=figures.get("decisions", 0),
            identical=figures.get("identical", 0),
            contents=stretch.contents,
            making_s=making_s,
            replaying_s=os.times().children_user - before,
            said=said,
        )  # fmt: skip


def main() -> int:
    """The exit status is the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=DECISIONS)
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)  # of failures on purpose
    found = measure(args.decisions, args.seed)
    contents = found.contents
    if not found.holds:
        print(found.said, file=sys.stderr)
        print(f"answered {found.answered}, recorded {found.recorded}, compared {found.compared}", file=sys.stderr)
        print(f"lacking: {[*contents.lacking, *sorted(WANTED_CAUSES - set(contents.causes))]}", file=sys.stderr)
    print(f"{len(contents.customers):,} customers, {len(contents.channels)} channels, {len(contents.arms)} arms")
    print(f"{len(contents.strategies)} strategies, {len(contents.models) - 1} models beside base rates")
    print(", ".join(f"{number:,} {name}" for name, number in contents.having.most_common()))
    print("causes: " + ", ".join(f"{name} {number:,}" for name, number in contents.causes.most_common()))
    print(f"{found.making_s:.0f} s of CPU to make, {found.replaying_s:.0f} s to compute again")
    print(f"{found.identical:,} of {found.answered:,} identical")
    return 0 if found.holds else 1


def _replay_check(folder: Path) -> str:
    environment = os.environ | {
        "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"), "KAIROS_MODEL_PATH": str(folder / "models"),
        "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
    }  # fmt: skip
    command = [sys.executable, "-m", "services", "replay-check"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=1200)
    return done.stdout if done.stdout else done.stderr


def _model(registry: ModelRegistry, strategy: Strategy, number: int) -> str:
    """A small tree model of acceptance over what rules read, registered; each number another."""
    kinds, linked = (AttributeType.INT, AttributeType.DOUBLE), {attribute.name for attribute in strategy.linked}
    numeric = [name for name in prepare(strategy).attributes if strategy.dictionary[name].type in kinds]
    names = [name for name in numeric if name not in linked][:COLUMNS]
    columns = [Column(name=name, source=ColumnSource.ATTRIBUTE) for name in names]
    columns += [Column(name=name, source=ColumnSource.OFFER) for name in ("value", "base_rate")]
    draw = np.random.default_rng(number)
    rows = draw.exponential(50, (4_000, len(columns)))
    labels = draw.random(len(rows)) < 1 / (1 + np.exp(-(rows[:, 0] - rows[:, 7]) / 40 + 2))
    settings = {"objective": "binary", "num_leaves": 15, "verbosity": -1, "num_threads": 1, "seed": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(rows, labels), num_boost_round=30)
    files = {"model.txt": booster.model_to_string().encode(), "calibration.json": b'{"kind": "identity"}'}
    schema = FeatureSchema(tuple(columns))
    draft = Manifest(name="cross_sell", version="", kind="gbdt", schema=schema, files={}, created_at="")
    return registry.save(draft, files, datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=number)).version


if __name__ == "__main__":
    sys.exit(main())
