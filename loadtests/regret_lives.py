"""Lives of a simulated bank whose every decision is judged by the truth (`regret`, `regret_launches`).

A bank (`regret_bank.yaml`) lives, is explored at random, and its first version is fitted and promoted by the product's
own learner on the archive of these decisions. From then on it can be lived several times, people, visits, truth and
first version the same:

    tree alone      the engine ranks by the first version, no exploration
    online          the same version; posteriors over it from this life's own responses; Thompson sampling
    refits          the first version and those that the learner fits and promotes on this life's own log
    product         both: what a deployment does

Where the learner's checks refuse the first version it serves all lives all the same, and the report says so.

The learner of a life is the role's class with its checks, timetable and drift watch; a look has what the archiver would
have written by the evening (`regret_learner`).
"""

from collections import Counter as Counts
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from pathlib import Path

from decision_engine.prepared import prepare
from decision_engine.propensity import Scorers
from decision_engine.strategy import Exploration, Strategy
from loadtests.regret_learner import LifeLearner
from loadtests.simulated_archive import KeptStates
from services.adapters.file_strategy_source import load_strategy_file
from services.simulation.bank import BankConfig, BankStream, SimulatedDay
from services.simulation.online_learner import InProcessLearner
from services.simulation.policy_value import JudgedDecision
from services.simulation.served_decisions import SERVED, Counter
from services.simulation.truth import ResponseModel, TasteShift

CUSTOMERS = 800
HISTORY, EXPLORED = 3, 14
"""Days: of life before, and explored at random."""
REFRESH_MS = 600_000
"""How often the table is read anew, in simulated time."""
FIRST_DAY = date(2026, 3, 1)
LEARNING = Exploration(kind="thompson", rounds=100, contenders=24)


class Kind(StrEnum):
    """How a life learns."""

    TREE = "tree alone"
    ONLINE = "online"
    REFITS = "refits"
    PRODUCT = "product"

    @property
    def learns_online(self) -> bool:
        """Whether posteriors are kept over the model that serves."""
        return self in {Kind.ONLINE, Kind.PRODUCT}

    @property
    def refits(self) -> bool:
        """Whether the learner goes on."""
        return self in {Kind.REFITS, Kind.PRODUCT}


@dataclass(frozen=True, slots=True)
class Judged:
    """A measured decision: day of the measurement, customer, regret, the oracle's value, what was shown and what the
    oracle would have shown."""

    day: int
    customer: str
    regret: float
    best: float
    shown: str | None
    wanted: str


@dataclass(slots=True)
class Life:
    """One life of a bank from the end of the exploration on."""

    counter: Counter
    scorers: Scorers
    online: InProcessLearner | None = None
    learner: LifeLearner | None = None
    judged: list[Judged] = field(default_factory=list)
    refreshed_ms: int = 0

    def live(self, number: int, day: SimulatedDay) -> None:
        """Lives on for a day and judges its decisions; in the evening the learner looks, where there is one."""
        self.counter.states.add(day.events)
        for visit in day.visits:
            self._refresh(visit.at_ms)
            served = self.counter.serve(visit, self.scorers)
            if served is None:
                continue
            if self.online is not None:
                self.online.note(served)
            if self.learner is not None:
                self.learner.note(served)
            verdict = self.counter.worth(visit, served)
            if verdict is not None:
                self.judged.append(judged(number, verdict))
        self._evening()

    def _refresh(self, now_ms: int) -> None:
        if self.online is not None and now_ms - self.refreshed_ms >= REFRESH_MS:
            self.counter.online = self.online.table(now_ms)
            self.refreshed_ms = now_ms

    def _evening(self) -> None:
        if self.learner is None:
            return
        self.learner.day_over(kept_of(self.counter))
        self.scorers = self.learner.scorers
        if self.online is not None:
            self.online.scorers = self.scorers


def judged(day: int, verdict: JudgedDecision) -> Judged:
    """The decision as served beside the oracle's."""
    expected = verdict.expected
    wanted = max(expected, key=lambda name: expected[name])
    shown = verdict.chosen[SERVED]
    earned = 0.0 if shown is None else expected.get(shown, 0.0)
    return Judged(day, verdict.customer_id, expected[wanted] - earned, expected[wanted], shown, wanted)


def kept_of(counter: Counter) -> KeptStates:
    """The counter's states, which keep what the archiver would."""
    states = counter.states
    if not isinstance(states, KeptStates):
        raise TypeError("the states of this bank keep nothing for an archive")
    return states


@dataclass(frozen=True, slots=True)
class Bank:
    """A bank at the end of its exploration, the days that follow, and how often the oracle would have put an offer
    first. `learner` has promoted the first version; lives go on from a copy of it. `refused` is why the checks had
    refused that version, which serves all lives all the same; empty where they had not."""

    strategy: Strategy
    counter: Counter
    learner: LifeLearner
    days: tuple[SimulatedDay, ...]
    wanted: Counts[str]
    refused: tuple[str, ...]

    def life(self, kind: Kind, strategy: Strategy, folder: Path) -> Life:
        """A life from here on, with this strategy; the learner's files go into a folder of that life's own."""
        learner = self.learner.continued(strategy, folder) if kind.refits else None
        if not kind.learns_online:
            plain = replace(strategy, online=None, exploration=Exploration())
            return Life(self.counter.continued(plain), self.learner.scorers, None, learner)
        learning = replace(strategy, exploration=LEARNING)
        prepared = prepare(learning)
        if prepared.online is None:
            raise ValueError(f"{strategy.name} does not declare online_learning")
        online = InProcessLearner(prepared, prepared.online, self.learner.scorers)
        return Life(self.counter.continued(learning), self.learner.scorers, online, learner)


def explored_bank(strategy: Strategy, seed: int, customers: int, days: int, folder: Path) -> Bank:
    """A bank explored on base rates, every offer as likely as any other, and its first version, which
    serves even if its checks refuse it. Raises ValueError where the learner finds too little to fit one."""
    exploring = replace(strategy, online=None, exploration=Exploration(kind="epsilon_greedy", epsilon=1.0))
    stream = BankStream(BankConfig(seed=seed, customers=customers, start=FIRST_DAY))
    counter, wanted = Counter(exploring, stream.people, seed), Counts[str]()
    states = KeptStates(counter.features, exploring)
    states.kept, counter.states = [], states
    learner = LifeLearner.new(exploring, folder, FIRST_DAY)
    for number in range(HISTORY + EXPLORED):
        day = stream.next_day()
        states.add(day.events)
        for visit in day.visits if number >= HISTORY else ():
            served = counter.serve(visit, {})
            if served is not None:
                learner.note(served)
                verdict = counter.worth(visit, served)
                wanted.update([] if verdict is None else [judged(number, verdict).wanted])
        learner.day_over(states, look=number == HISTORY + EXPLORED - 1)
    refused = () if learner.scorers or not learner.serve_refused() else learner.fits[-1].problems
    if not learner.scorers:
        raise ValueError(f"seed {seed}: too little was decided for a first version")
    return Bank(exploring, counter, learner, tuple(stream.next_day() for _ in range(days)), wanted, refused)


def taste_shift(strategy: Strategy, seed: int, offers: float, affinities: float) -> Callable[[Life], None]:
    """What turns a life's truth."""
    turned = ResponseModel(strategy.offers, seed, TasteShift(seed=seed, offers=offers, affinities=affinities))

    def turn(life: Life) -> None:
        life.counter.truth = turned

    return turn


def regret_bank() -> Strategy:
    """The strategy of the banks."""
    return load_strategy_file(Path(__file__).with_name("regret_bank.yaml"))
