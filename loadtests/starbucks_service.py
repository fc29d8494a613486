"""The service replays the Starbucks log and decides its last wave: is that worth more than the best single offer?

Real servers, state builder, archiver, training, control topic and API. Profiles, purchases, rewards and responses are
published in order; at each deal of the log its decisions are imported with the attributes the service holds at that
moment (`kairos import`). On what lies before the last wave `kairos train` fits and promotes; then the API decides that
wave for every person, all worth the same, nothing drawn, so by propensity alone. Its choices are judged off-policy on
what the log dealt (known chances), with responses within three days, which is all the log shows of that wave.

    python -m loadtests.starbucks_service               # learns from hours 0 to 335, decides the wave of hour 336
    python -m loadtests.starbucks_service --decide 168  # learns from hours 0 to 167: for choosing settings
    python -m loadtests.starbucks_service --completions-only    # a purchase after news is then no response
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from event_schemas.topics import CHANNEL_EVENTS, DECISIONS, PROFILE_UPDATES, RESPONSES, TRANSACTIONS
from loadtests.starbucks_asking import DecidedWave, decide_wave
from loadtests.starbucks_deployment import WINDOW_SECONDS, StarbucksDeployment, starbucks_deployment
from loadtests.starbucks_value import ServiceValue, judge_service, value_json, value_lines
from services.simulation.cloud_events import TimedEvent
from services.simulation.replay import Replayer, ReplayProgress
from services.simulation.starbucks import LOG_END, WAVES, read_starbucks
from services.simulation.starbucks_events import SOURCE, StarbucksReplay, at_hour, starbucks_replay
from services.use_cases.import_decisions import ImportDecisions
from services.use_cases.past_decisions import PastDecisions
from services.use_cases.wire_time import rfc3339

DATA = Path(os.environ.get("KAIROS_DATA", "../shared/data")) / "starbucks"
REPORT = Path("var/reports/starbucks_service.json")
MODEL = "response"
CATCH_UP_SECONDS = 240.0
_COUNTED = {
    "profiles": (PROFILE_UPDATES, ("tenure_days",)),
    "purchases": (TRANSACTIONS, ("purchase_count_21d",)),
    "rewards": (CHANNEL_EVENTS, ("reward_count_21d",)),
    "responses": (RESPONSES, ("received_count_21d", "viewed_count_21d", "used_count_21d")),
}
"""What was published on a topic, and the attributes that count it; their window holds the whole log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """Which wave the service decides, about how many persons (None: all), and what a response is."""

    decide: int = WAVES[-1]
    people: int | None = None
    completions_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRun:
    """What was measured. `reconciled` are pairs of what was published and what was found; `seconds` of each step."""

    plan: ServicePlan
    people: int
    published: dict[str, int]
    folded: dict[str, tuple[int, int]]
    archived: dict[str, int]
    training: str
    version: str
    asked_again: int
    restarts: int
    value: ServiceValue
    seconds: dict[str, float]

    @property
    def sound(self) -> bool:
        """Whether everything published was folded and archived, and no role died."""
        equal = all(sent == held for sent, held in self.folded.values())
        return equal and self.archived == self.published and not self.restarts

    def counts(self) -> list[str]:
        """What was published, and where it was found again."""
        found = ", ".join(f"{topic} {count:,} of {self.published[topic]:,}" for topic, count in self.archived.items())
        return [f"folded into states: {_pairs(self.folded)}", f"archived: {found}", f"roles that died: {self.restarts}"]


@dataclass(slots=True)
class _Replay:
    """A replay under way: what is published, what was sent so far, and how long the steps took."""

    deployment: StarbucksDeployment
    replay: StarbucksReplay
    importing: ImportDecisions
    events: list[TimedEvent]
    replayer: Replayer
    quiet: bool
    began: float
    published: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def done(self, step: str, sentence: str) -> None:
        """Notes how long a step took, and says so."""
        now = monotonic()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self.began
        if not self.quiet:
            print(f"[{now - self.began:6.1f} s] {sentence}", flush=True)
        self.began = now

    async def publish_before(self, hour: int) -> None:
        """Everything that happened before this hour; returns when every state holds it."""
        until_ms = at_hour(hour) - 1
        start = self.replayer.progress.acknowledged
        await self.replayer.publish_until(self.events, until_ms)
        sent = self.events[start : self.replayer.progress.acknowledged]
        self.published.update(timed.event.topic for timed in sent)
        await self.deployment.reader.wait_until_applied(self.replayer.positions, CATCH_UP_SECONDS)
        self.done("replay", f"{len(sent):,} events before hour {hour} published, and applied to every state")

    async def import_wave(self, hour: int) -> None:
        """The log's deals of that hour, with the attributes as the service holds them."""
        deals = self.replay.deals[hour]
        imported = await self.importing([deal.decision for deal in deals])
        self.published[DECISIONS] += imported.decisions
        dealt = sum(deal.decision.offered is not None for deal in deals)
        self.done("import", f"wave {hour}: {imported.decisions:,} past decisions imported, {dealt:,} with an offer")


async def run_service(data: Path, folder: Path, plan: ServicePlan, *, quiet: bool = False) -> ServiceRun:
    """The whole measurement. Raises MeasurementFailed, StarbucksUnreadable, and what the parts raise."""
    began, log = monotonic(), read_starbucks(data, plan.people)
    decide = plan.decide
    async with starbucks_deployment(folder) as deployment:
        replay = starbucks_replay(log, deployment.loaded.strategy, completions_only=plan.completions_only)
        work = _prepared(deployment, replay, quiet, began)
        work.done("read", f"{len(log.people):,} persons, {len(log.happenings):,} lines of the log")
        for wave in [wave for wave in WAVES if wave < decide]:
            await work.publish_before(wave)
            await work.import_wave(wave)
        await work.publish_before(decide)
        folded = await _folded(work, decide)
        await deployment.wait_until_archived(work.published)
        work.done(
            "archive", f"{sum(work.published.values()):,} records archived; folded as published: {_pairs(folded)}"
        )
        training = await deployment.command(
            *("train", "--model", MODEL, "--threads", "2", "--promote", "--actor", "measurement"),
            *("--approved-by", "second-person"),
        )
        work.done("train", "trained and promoted\n" + _indented(training))
        decided = await _decide_wave(work, decide)
        await work.import_wave(decide)
        await work.publish_before(min(decide + LOG_END - WAVES[-1], LOG_END))
        archived = await deployment.wait_until_archived(work.published)
        value = judge_service(deployment.settings, decide, decided.by_customer)
        work.done("judge", "judged")
        return ServiceRun(
            plan=plan,
            people=len(log.people),
            published=dict(work.published),
            folded=folded,
            archived=archived,
            training=training,
            version=decided.version,
            asked_again=decided.asked_again,
            restarts=deployment.restarts,
            value=value,
            seconds=work.seconds,
        )


def _prepared(deployment: StarbucksDeployment, replay: StarbucksReplay, quiet: bool, began: float) -> _Replay:
    loaded = deployment.loaded
    past = PastDecisions(loaded.strategy, SOURCE, loaded.features.layout)
    events = sorted([*replay.events, *replay.responses(past)], key=lambda timed: timed.at_ms)
    importing = ImportDecisions(
        store=deployment.store, features=loaded.features, publisher=deployment.publisher, past=past
    )
    replayer = Replayer(publisher=deployment.publisher, progress=ReplayProgress(SOURCE))
    return _Replay(deployment, replay, importing, events, replayer, quiet, began)


async def _folded(work: _Replay, hour: int) -> dict[str, tuple[int, int]]:
    """By name: what was published, and what the states of all customers add up to."""
    customers = sorted({timed.event.key for timed in work.events})
    held: Counter[str] = Counter()
    for row in (await work.deployment.reader.attributes(customers, at_hour(hour))).values():
        for title, (topic, names) in _COUNTED.items():
            # Of a profile only that it is there counts.
            held[title] += sum(name in row if topic == PROFILE_UPDATES else int(row.get(name, 0)) for name in names)
    return {title: (work.published[topic], held[title]) for title, (topic, _) in _COUNTED.items()}


async def _decide_wave(work: _Replay, hour: int) -> DecidedWave:
    """Lets the API decide about every person of the wave at its very hour. Raises MeasurementFailed."""
    client = await work.deployment.start_api()
    await work.deployment.clock.advance(at_hour(hour))
    people = [deal.decision.customer_id for deal in work.replay.deals[hour]]
    decided = await decide_wave(client, people, rfc3339(at_hour(hour)))
    work.published[DECISIONS] += len(people) + decided.asked_again
    sentence = f"{len(people):,} decisions by {decided.version}, {decided.asked_again} asked again"
    work.done("decide", f"wave {hour}: {sentence}")
    return decided


def _pairs(folded: dict[str, tuple[int, int]]) -> str:
    return ", ".join(f"{title} {held:,} of {sent:,}" for title, (sent, held) in folded.items())


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def measure_service(plan: ServicePlan | None = None, *, quiet: bool = True) -> ServiceRun:
    """The measurement in a folder of its own. Raises as `run_service`."""
    with tempfile.TemporaryDirectory(prefix="kairos-starbucks-") as folder:
        return asyncio.run(run_service(DATA, Path(folder), plan or ServicePlan(), quiet=quiet))


def write_report(run: ServiceRun, path: Path) -> None:
    """Everything measured, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = {
        "decided_hour": run.plan.decide,
        "completions_only": run.plan.completions_only,
        "people": run.people,
        "attribution_seconds": WINDOW_SECONDS,
        "version": run.version,
        "published": run.published,
        "archived": run.archived,
        "folded": {title: {"published": sent, "held": held} for title, (sent, held) in run.folded.items()},
        "asked_again": run.asked_again,
        "restarts": run.restarts,
        "seconds": {step: round(seconds, 1) for step, seconds in run.seconds.items()},
        "training": run.training.splitlines(),
        "value": value_json(run.value),
    }
    path.write_text(json.dumps(shown, indent=2), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Prints steps and figures and writes the report; 1 when the service is not above the best single offer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decide", type=int, choices=WAVES[1:], default=WAVES[-1], help="hour of the wave to decide")
    parser.add_argument("--people", type=int, help="only the first so many persons (default: all)")
    parser.add_argument("--completions-only", action="store_true", help="a purchase after news is no response")
    parser.add_argument("--report", type=Path, default=REPORT, help=f"where to write the report (default {REPORT})")
    args = parser.parse_args(argv)
    if not DATA.is_dir():
        print(f"{DATA} is not there: KAIROS_DATA says where the data are", file=sys.stderr)
        return 1
    plan = ServicePlan(decide=args.decide, people=args.people, completions_only=args.completions_only)
    run = measure_service(plan, quiet=False)
    print("\n".join(["", *value_lines(run.value), "", *run.counts()]))
    write_report(run, args.report)
    print(f"\n{sum(run.seconds.values()):.0f} s; report: {args.report}")
    return 0 if run.sound and run.value.holds else 1


if __name__ == "__main__":
    sys.exit(main())
