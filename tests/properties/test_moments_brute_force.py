"""Triggers of moments fire as a recomputation from all that was ever told says, over states folded for real.

The model keeps every telling that has arrived; which value counts, what was judged and what fired follows from it.
"""

from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import AttributeType, FeatureDeclarations, ProfileAttribute
from decision_engine.features.dictionary import attribute_infos
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate, Update
from decision_engine.features.updates import topic_index
from decision_engine.identifiers import key64
from decision_engine.triggers.compiled import compile_triggers
from decision_engine.triggers.definitions import Contact, EventPattern, Pattern, Shape, Trigger
from decision_engine.triggers.firing import Contacted
from decision_engine.triggers.matching import Step, conclude, match, wake
from event_schemas.topics import topic_for

START = 1_790_000_000_000
MINUTE = 60_000
FRESHNESS, COOLDOWN = 15 * MINUTE, 20 * MINUTE
CUSTOMER = "retail:1"
TOLD = "bank.profile.updated"
TOPIC = topic_index(topic_for(TOLD))
SHIFTS = {"before": -10 * MINUTE, "just_then": 0, "after": 10 * MINUTE}
DECLARATIONS = FeatureDeclarations(
    time_zone="UTC",
    profile=tuple(
        ProfileAttribute(name=name, type=kind, theme="basic", description={})
        for name, kind in (("matures_at", AttributeType.TIMESTAMP), ("level", AttributeType.INT))
    ),
)
FEATURES = compile_features(DECLARATIONS)


@dataclass(frozen=True)
class Telling:
    """A profile update: when, of what moment (None: of the level alone), and the level it tells."""

    key: int
    time_ms: int
    value_ms: int | None
    level: int

    def update(self):
        told = {} if self.value_ms is None else {"matures_at": self.value_ms}
        return Update(self.key, TOLD, self.time_ms, {}, told | {"level": self.level})


@dataclass(frozen=True)
class Batch:
    """What arrives together at a moment, and whether the clock is looked at after it."""

    tellings: tuple[Telling, ...]
    now_ms: int
    wakes: bool


@st.composite
def histories(draw):
    """Batches as they arrive: some late, some twice, moments that come soon, later, again, or lie in the past."""
    batches, arrived, now_ms = [], [], START
    for _ in range(draw(st.integers(2, 10))):
        now_ms += draw(st.sampled_from((0, 1, 2, 4, 9, 30))) * MINUTE
        tellings = []
        for _ in range(draw(st.integers(1, 3))):
            telling = Telling(
                key=len(arrived) + 1,
                time_ms=now_ms - draw(st.sampled_from((0, 0, 0, 1, 4, 16, 40))) * MINUTE,
                value_ms=draw(
                    st.none()
                    | st.sampled_from((-26, -12, -4, 0, 4, 10, 12, 25)).map(lambda m, at=now_ms: at + m * MINUTE)
                ),
                level=draw(st.integers(1, 4)),
            )
            if arrived and draw(st.integers(0, 3)) == 0:
                again = draw(st.sampled_from(arrived))  # the same event, or its value told anew
                telling = again if draw(st.booleans()) else Telling(telling.key, telling.time_ms, again.value_ms, 1)
            tellings.append(telling)
            arrived.append(telling)
        batches.append(Batch(tuple(tellings), now_ms, draw(st.integers(0, 2)) > 0))
    return [*batches, Batch((), now_ms + 50 * MINUTE, wakes=True)]


@dataclass
class Model:
    """One trigger as its words tell it."""

    trigger: Trigger
    told: list = field(default_factory=list)
    value_ms: int | None = None
    waiting: bool = False
    last_ms: int | None = None
    fired: list = field(default_factory=list)

    def arrive(self, telling, now_ms):
        if telling in self.told:
            return
        self.told.append(telling)
        moments = [(each.time_ms, each.value_ms) for each in self.told if each.value_ms is not None]
        newest = max(moments)[1] if moments else None
        if newest != self.value_ms:
            self.value_ms = newest
            self.waiting = now_ms <= self.due_ms() + FRESHNESS

    def look(self, now_ms):
        if not self.waiting or self.due_ms() > now_ms:
            return
        self.waiting = False
        level = max((each.time_ms, each.level) for each in self.told)[1]
        if self.trigger.when and level >= 3:
            return
        due_ms, cooldown_ms = self.due_ms(), self.trigger.cooldown_ms
        cooling = self.last_ms is not None and now_ms <= self.last_ms + cooldown_ms + FRESHNESS
        if (cooling and due_ms < self.last_ms + cooldown_ms) or (self.value_ms, due_ms) in self.fired:
            return
        if cooldown_ms:
            self.last_ms = due_ms
        if now_ms <= due_ms + FRESHNESS:
            self.fired.append((self.value_ms, due_ms))

    def due_ms(self):
        return self.value_ms + self.trigger.pattern.shift_ms


def make_trigger(name, *, cooldown, when):
    pattern = Pattern(
        shape=Shape.MOMENT, steps=(EventPattern(source=TOLD),), attribute="matures_at", shift_ms=SHIFTS[name]
    )
    return Trigger(
        name=name,
        title={},
        pattern=pattern,
        contact=Contact(placement="inbox", channel="manager"),
        cooldown_ms=cooldown,
        freshness_ms=FRESHNESS,
        when="level < 3" if when else None,
    )


def expected(triggers, history):
    models = [Model(trigger) for trigger in triggers]
    for batch in history:
        for model in models:
            for telling in batch.tellings:
                model.arrive(telling, batch.now_ms)
            if batch.wakes:
                model.look(batch.now_ms)
    return {model.trigger.name: model.fired for model in models}


@dataclass
class Customer:
    """State and memory, both going through their bytes; what fires is concluded at once."""

    triggers: object
    one_by_one: bool
    state: bytes | None = None
    memory: bytes | None = None
    offset: int = 0
    fired: list = field(default_factory=list)

    def takes(self, batch):
        steps = [step for telling in batch.tellings if (step := self.folds(telling.update())) is not None]
        for together in [[step] for step in steps] if self.one_by_one else [steps]:
            self.note(match(self.triggers, CUSTOMER, self.memory, together, batch.now_ms), batch.now_ms)
        if batch.wakes:
            snapshot = partial(read_snapshot, FEATURES, self.state, batch.now_ms)
            self.note(wake(self.triggers, CUSTOMER, self.memory, batch.now_ms, snapshot), batch.now_ms)

    def folds(self, update):
        """The step, None where the state takes nothing of it."""
        self.offset += 1
        folded = fold(FEATURES, self.state, [PositionedUpdate(TOPIC, self.offset, update)])
        before, self.state = self.state, folded.value
        if not folded.applied + folded.late or not self.triggers.interested(update):
            return None
        reads = [partial(read_snapshot, FEATURES, state, update.time_ms) for state in (before, folded.value)]
        return Step(update=update, before=reads[0], after=reads[1])

    def note(self, advanced, now_ms):
        self.fired += [(each.trigger, each.cause, each.at_ms) for each in advanced.fired]
        self.memory = advanced.value
        if advanced.fired:
            concluded = {each.id: Contacted(decision_id=None) for each in advanced.fired}
            self.memory = conclude(self.triggers, self.memory, concluded, now_ms).value


@pytest.mark.parametrize("cooldown", [0, COOLDOWN])
@settings(max_examples=120, deadline=None)
@given(history=histories(), when=st.booleans(), one_by_one=st.booleans())
def test_moments_fire_as_a_recomputation_from_all_that_was_told_says(cooldown, history, when, one_by_one):
    triggers = tuple(make_trigger(name, cooldown=cooldown, when=when) for name in SHIFTS)
    dictionary = attribute_infos(DECLARATIONS)
    customer = Customer(
        compile_triggers(SimpleNamespace(triggers=triggers, dictionary=dictionary, offers=())), one_by_one
    )
    for batch in history:
        customer.takes(batch)
    found = {name: [] for name in SHIFTS}
    for name, fired in expected(triggers, history).items():
        for value_ms, due_ms in fired:
            found[name].append((f"timer:{key64(str(value_ms)):016x}", due_ms))
    assert {name: [(c, at) for n, c, at in customer.fired if n == name] for name in SHIFTS} == found
    assert len(set(customer.fired)) == len(customer.fired)
