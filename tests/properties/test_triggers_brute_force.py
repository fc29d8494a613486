"""Triggers fire exactly as their words say, recomputed from plain lists of all events by code that shares nothing.

The model knows everything that has arrived so far, in the order it arrived, and forgets nothing but what is written in
docs/triggers.md: what matched is used up, and what could only complete something stale is left out.
"""

from dataclasses import dataclass, field
from itertools import combinations, pairwise, product
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.customer import CustomerSnapshot
from decision_engine.features.definitions import AttributeInfo, AttributeType
from decision_engine.features.update import Update
from decision_engine.triggers.compiled import compile_triggers
from decision_engine.triggers.definitions import Contact, EventPattern, Pattern, Shape, Trigger, Wave
from decision_engine.triggers.firing import Contacted
from decision_engine.triggers.matching import Step, conclude, match, note_intent, pending, wake

START = 1_790_000_000_000
MINUTE = 60_000
WITHIN, FRESHNESS, COOLDOWN = 10 * MINUTE, 15 * MINUTE, 20 * MINUTE
CUSTOMER = "retail:1"
CONTACT = Contact(placement="inbox", channel="manager")
LEVEL = AttributeInfo(
    name="level", type=AttributeType.INT, theme="basic", description={}, source="profile", default=None, definition=""
)


def pattern(shape, *sources, **more):
    return Pattern(shape=shape, steps=tuple(EventPattern(source=source) for source in sources), **more)


PATTERNS = {
    "one": pattern(Shape.EVENT, "a"),
    "three": pattern(Shape.COUNT, "a", within_ms=WITHIN, at_least=3),
    "three_of_one": pattern(Shape.COUNT, "a", within_ms=WITHIN, at_least=3, same="form"),
    "chain": pattern(Shape.SEQUENCE, "a", "b", "c", within_ms=WITHIN),
    "chain_of_one": pattern(Shape.SEQUENCE, "a", "b", within_ms=WITHIN, same="form"),
    "twice": pattern(Shape.SEQUENCE, "a", "a", within_ms=WITHIN),
    "left": pattern(Shape.ABSENCE, "a", "b", within_ms=WITHIN),
    "left_of_one": pattern(Shape.ABSENCE, "a", "b", within_ms=WITHIN, same="form"),
}
BEFORE, WHEN = "event.amount > level", "event.amount < level + 3"


def make_trigger(name, *, cooldown, before, when):
    return Trigger(
        name=name,
        title={},
        pattern=PATTERNS[name],
        contact=CONTACT,
        cooldown_ms=cooldown,
        freshness_ms=FRESHNESS,
        before=BEFORE if before else None,
        when=WHEN if when else None,
        fields={"amount": AttributeType.INT} if before or when else {},
    )


@dataclass(frozen=True)
class Event:
    """An event, and the level of the customer just before and just after it."""

    key: int
    source: str
    time_ms: int
    form: str
    amount: int
    levels: tuple[int, int]

    def step(self):
        before, after = self.levels
        fields = {"form": self.form, "amount": self.amount} if self.form else {"amount": self.amount}
        update = Update(event_key=self.key, source=self.source, time_ms=self.time_ms, fields=fields)
        return Step(update=update, before=lambda: standing(before), after=lambda: standing(after))


@dataclass(frozen=True)
class Batch:
    """Events that arrive together at a moment; with `wakes` the clock is looked at after them, at that level."""

    events: tuple[Event, ...]
    now_ms: int
    wakes: bool
    level: int


def standing(level):
    return CustomerSnapshot(known=True, attributes={"level": level})


@st.composite
def histories(draw):
    """Batches in the order they arrive: events mostly soon after their time, some late, some twice."""
    batches, arrived, now_ms, key = [], [], START, 0
    for _ in range(draw(st.integers(1, 8))):
        now_ms += draw(st.sampled_from((0, 1, 2, 3, 5, 8, 12, 30))) * MINUTE
        events = []
        for _ in range(draw(st.integers(0, 3))):
            key += 1
            event = Event(
                key=key,
                source=draw(st.sampled_from(("a", "a", "b", "c"))),
                time_ms=now_ms - draw(st.sampled_from((0, 0, 0, 1, 2, 4, 7, 10, 11, 16, 26, 40))) * MINUTE,
                form=draw(st.sampled_from(("x", "x", "y", ""))),
                amount=draw(st.integers(1, 4)),
                levels=(draw(st.integers(0, 2)), draw(st.integers(0, 2))),
            )
            if arrived and draw(st.integers(0, 7)) == 0:
                event = draw(st.sampled_from(arrived))
            events.append(event)
            arrived.append(event)
        batches.append(Batch(tuple(events), now_ms, draw(st.booleans()), draw(st.integers(0, 2))))
    return [*batches, Batch((), now_ms + WITHIN, wakes=True, level=1)]


# The model -------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """One trigger. `unused` are the events that have matched nothing yet, by the value they share."""

    trigger: Trigger
    unused: dict = field(default_factory=dict)
    fired: list = field(default_factory=list)
    judged: set = field(default_factory=set)
    armed: set = field(default_factory=set)
    last_ms: int | None = None

    def arrive(self, event, now_ms):
        pattern = self.trigger.pattern
        if event.source not in {step.source for step in pattern.steps} or (pattern.same and not event.form):
            return
        if pattern.shape is Shape.EVENT:
            self.complete(event, event, now_ms)
            return
        group = self.unused.setdefault(event.form if pattern.same else None, [])
        if pattern.shape is not Shape.ABSENCE:
            group[:] = [each for each in group if is_relevant(each, now_ms)]
        if event in group:
            return
        if pattern.shape is Shape.ABSENCE:
            group.append(event)
            if is_relevant(event, now_ms) and self.allowed(self.trigger.before, event, event.levels[0]):
                self.armed.add(event.key)
        elif is_relevant(event, now_ms):
            group.append(event)
            last = (
                self.last_of_count(event, group) if pattern.shape is Shape.COUNT else self.last_of_chain(event, group)
            )
            if last is not None and self.complete(last, event, now_ms):
                group.clear()
            elif pattern.shape is Shape.COUNT:
                group[:] = sorted(group, key=order)[-2 * pattern.at_least :]

    def last_of_count(self, event, group):
        """Of every way to choose three events, this one among them, the one that is complete first."""
        ends = [
            max(chosen, key=order)
            for chosen in combinations(group, self.trigger.pattern.at_least)
            if event in chosen and span(chosen) <= WITHIN
        ]
        return min(ends, key=order, default=None)

    def last_of_chain(self, event, group):
        """Of every way to fill the steps in the order of times, this event among them, the first to be complete."""
        steps = self.trigger.pattern.steps
        ends = [
            chain[-1]
            for chain in product(group, repeat=len(steps))
            if event in chain
            and all(each.source == step.source for each, step in zip(chain, steps, strict=True))
            and all(one.time_ms < other.time_ms for one, other in pairwise(chain))
            and span(chain) <= WITHIN
        ]
        return min(ends, key=order, default=None)

    def complete(self, last, arrived, now_ms):
        before, after = arrived.levels
        if not (self.allowed(self.trigger.before, last, before) and self.allowed(self.trigger.when, last, after)):
            return False
        self.fire(last.key, last.time_ms, now_ms)
        return True

    def wake(self, now_ms, level):
        """Every opening without an answer, once its time is over."""
        due = [
            (event, group)
            for group in self.unused.values()
            for event in group
            if event.key in self.armed - self.judged and event.source == "a" and event.time_ms + WITHIN <= now_ms
        ]
        for event, group in sorted(due, key=lambda each: order(each[0])):
            self.judged.add(event.key)
            if not is_answered(event, group) and self.allowed(self.trigger.when, event, level):
                self.fire(event.key, event.time_ms + WITHIN, now_ms)

    def fire(self, key, at_ms, now_ms):
        cooldown = self.trigger.cooldown_ms
        if (
            self.last_ms is not None
            and now_ms <= self.last_ms + cooldown + FRESHNESS
            and at_ms < self.last_ms + cooldown
        ):
            return
        if (key, at_ms) in self.fired:
            return
        if cooldown:
            self.last_ms = at_ms
        if now_ms - at_ms <= FRESHNESS:
            self.fired.append((key, at_ms))

    @staticmethod
    def allowed(guard, event, level):
        if guard is None:
            return True
        return event.amount > level if guard == BEFORE else event.amount < level + 3


def is_answered(opened, group):
    end = opened.time_ms + WITHIN
    closed = any(e.source == "b" and opened.time_ms <= e.time_ms <= end for e in group)
    return closed or any(e.source == "a" and order(e) > order(opened) and e.time_ms <= end for e in group)


def is_relevant(event, now_ms):
    return event.time_ms + WITHIN + FRESHNESS >= now_ms


def order(event):
    return event.time_ms, event.key


def span(events):
    times = [event.time_ms for event in events]
    return max(times) - min(times)


def expected(triggers, history):
    models = {trigger.name: Model(trigger) for trigger in triggers}
    for batch in history:
        for model in models.values():
            for event in batch.events:
                model.arrive(event, batch.now_ms)
            if batch.wakes and model.trigger.pattern.shape is Shape.ABSENCE:
                model.wake(batch.now_ms, batch.level)
    return {name: model.fired for name, model in models.items()}


# The triggers ----------------------------------------------------------------------------------------------


def found(triggers, history, *, one_by_one):
    """What fires by name, every memory going through its bytes; each firing is concluded before the next batch."""
    compiled = compile_triggers(SimpleNamespace(triggers=triggers, dictionary={"level": LEVEL}, offers=()))
    fired, memory = {trigger.name: [] for trigger in triggers}, None
    for batch in history:
        steps = [event.step() for event in batch.events]
        for together in [[step] for step in steps] if one_by_one else [steps]:
            advanced = match(compiled, CUSTOMER, memory, together, batch.now_ms)
            memory = note(fired, compiled, advanced, batch.now_ms)
        if batch.wakes:
            advanced = wake(compiled, CUSTOMER, memory, batch.now_ms, lambda level=batch.level: standing(level))
            memory = note(fired, compiled, advanced, batch.now_ms)
    return fired


def note(fired, compiled, advanced, now_ms):
    assert advanced.dropped == 0
    assert [each.firing for each in pending(compiled, advanced.value)] == list(advanced.fired)
    for firing in advanced.fired:
        fired[firing.trigger].append((int(firing.cause.removeprefix("timer:"), 16), firing.at_ms))
    if not advanced.fired:
        return advanced.value
    ids = [firing.id for firing in advanced.fired]
    assert len(set(ids)) == len(ids)
    return conclude(compiled, advanced.value, {each: Contacted(decision_id=None) for each in ids}, now_ms).value


@settings(max_examples=150, deadline=None)
@given(
    history=histories(),
    cooldown=st.sampled_from((0, COOLDOWN)),
    before=st.booleans(),
    when=st.booleans(),
    one_by_one=st.booleans(),
)
def test_triggers_fire_as_a_recomputation_from_all_events_says(history, cooldown, before, when, one_by_one):
    triggers = tuple(make_trigger(name, cooldown=cooldown, before=before, when=when) for name in PATTERNS)
    assert found(triggers, history, one_by_one=one_by_one) == expected(triggers, history)


@settings(max_examples=40, deadline=None)
@given(history=histories(), cooldown=st.sampled_from((0, COOLDOWN)))
def test_no_cause_fires_twice_and_each_absence_at_most_once(history, cooldown):
    triggers = tuple(make_trigger(name, cooldown=cooldown, before=False, when=False) for name in PATTERNS)
    for fired in found(triggers, history, one_by_one=False).values():
        assert len({key for key, _ in fired}) == len(fired)


# Contacts --------------------------------------------------------------------------------------------------

DAY = 24 * 60 * MINUTE
AFTER, EXPIRES = (DAY, 3 * DAY), DAY
FOLLOWED_UP = Trigger(
    name="followed_up",
    title={},
    pattern=pattern(Shape.EVENT, "a"),
    contact=CONTACT,
    waves=tuple(Wave(after_ms=after, contact=CONTACT) for after in AFTER),
    cancelled_by=(EventPattern(source="stop"),),
    expires_ms=EXPIRES,
)


@dataclass
class Story:
    """One contact as its words tell it: what is out by wave, what waits, whether it is over."""

    cause: int
    at_ms: int
    wave: int = 0
    state: str = "pending"
    noted: bool = False
    sent: dict = field(default_factory=dict)

    def end(self, now_ms):
        void = {(self.cause, wave) for wave, expires in self.sent.items() if expires > now_ms}
        if self.state == "pending" and self.noted:
            void.add((self.cause, self.wave))
        self.state, self.sent = "over", {}
        return void

    def delivered(self, *, with_offers):
        if with_offers:
            self.sent[self.wave] = self.due_ms() + EXPIRES
        self.noted = False
        self.state = "planned" if self.wave < len(AFTER) else "over"
        self.wave = min(self.wave + 1, len(AFTER))

    def due_ms(self):
        return self.at_ms + (0, *AFTER)[self.wave]

    def look(self, now_ms):
        while self.state == "planned" and self.due_ms() <= now_ms:
            if self.due_ms() + EXPIRES > now_ms:
                self.state = "pending"
                return [(self.cause, self.wave)]
            if self.wave == len(AFTER):
                self.state = "over"
            self.wave = min(self.wave + 1, len(AFTER))
        return []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ("event", "event", "note", "deliver", "deliver", "deliver", "stop", "late stop", "answer", "look")
        ),
        st.sampled_from((0, MINUTE, DAY // 2, DAY, 2 * DAY)),
        st.integers(0, 5),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_contacts_are_delivered_followed_up_and_overtaken_as_told(steps):
    compiled = compile_triggers(SimpleNamespace(triggers=(FOLLOWED_UP,), dictionary={}, offers=()))
    stories, memory, now_ms, names = [], None, START, {}
    for number, (what, passed, pick, with_offers) in enumerate(steps):
        now_ms += passed
        waiting = [story for story in stories if story.state == "pending"]
        story = waiting[pick % len(waiting)] if waiting else None
        fires, void = [], set()
        advanced = None
        if what == "event":
            advanced = match(compiled, CUSTOMER, memory, [plain(number, "a", now_ms)], now_ms)
            stories.append(Story(number, now_ms))
            fires = [(number, 0)]
        elif what in ("stop", "late stop"):
            at_ms = now_ms - (DAY if what == "late stop" else 0)
            advanced = match(compiled, CUSTOMER, memory, [plain(number, "stop", at_ms)], now_ms)
            void = set().union(*(each.end(now_ms) for each in stories if each.at_ms <= at_ms))
        elif what == "answer" and stories:
            of = stories[pick % len(stories)]
            answer = plain(number, "nbo.response.recorded", now_ms, decision_id=f"{of.cause}", outcome="reject")
            advanced = match(compiled, CUSTOMER, memory, [answer], now_ms)
            void = of.end(now_ms) if of.sent else set()
        elif what == "note" and story:
            advanced = note_intent(compiled, memory, [names[story.cause, story.wave]], b"1")
            story.noted = True
        elif what == "deliver" and story:
            outcome = Contacted(decision_id=f"{story.cause}", offers=("fund",) if with_offers else ())
            advanced = conclude(compiled, memory, {names[story.cause, story.wave]: outcome}, now_ms)
            story.delivered(with_offers=with_offers)
        if advanced is None:
            advanced = wake(compiled, CUSTOMER, memory, now_ms, lambda: standing(0))
            fires = [fired for each in stories for fired in each.look(now_ms)]
        names |= {(int(each.cause, 16), each.wave): each.id for each in advanced.fired}
        assert [(int(each.cause, 16), each.wave) for each in advanced.fired] == fires
        assert {each.firing_id for each in advanced.overtaken} == {names[each] for each in void}
        memory = advanced.value
        left = [(int(each.firing.cause, 16), each.firing.wave, each.intent) for each in pending(compiled, memory)]
        assert left == [(s.cause, s.wave, b"1" if s.noted else None) for s in stories if s.state == "pending"]
        due = [0 if s.state == "pending" else s.due_ms() for s in stories if s.state in ("pending", "planned")]
        assert advanced.due_ms == min(due, default=None)


def plain(key, source, time_ms, **fields):
    update = Update(event_key=key, source=source, time_ms=time_ms, fields=fields)
    return Step(update=update, before=lambda: standing(0), after=lambda: standing(0))
