"""A state kept in parts tells at every moment what the whole state tells."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.customer import UNKNOWN_CUSTOMER
from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    DerivedFeature,
    FeatureDeclarations,
    FeatureDefinition,
    ProfileAttribute,
    Sequel,
    Value,
    Window,
)
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate, Update
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.identifiers import key64
from event_schemas.topics import STATE_TOPICS, topic_for
from services.simulation.recorded_day.customer_events import ArchivedEvent, CustomerEvents
from services.simulation.recorded_day.feature_parts import Holds, holds_of, part_features
from services.simulation.recorded_day.parted_states import PartedStates

HOUR_MS = 3_600_000
START_MS = 1_790_000_000_000
MOVED, SEEN, RESPONDED = "bank.transaction.posted", "bank.channel.page_view", "nbo.response.recorded"


def feature(name: str, aggregate: Aggregate, source: str, **further: Any) -> FeatureDefinition:
    return FeatureDefinition(
        name=name, aggregate=aggregate, source=source, theme="t", description={"en": name}, **further
    )


def days(*lengths: int) -> tuple[Window, ...]:
    return tuple(Window("d", length) for length in lengths)


FEATURES = (
    feature("spent", Aggregate.SUM, MOVED, field="amount", windows=days(2, 30)),
    feature("largest", Aggregate.MAX, MOVED, field="amount", windows=days(3)),
    feature("moves", Aggregate.COUNT, MOVED),
    feature("pages", Aggregate.COUNT, SEEN, windows=(*days(1, 7), Window("h", 3))),
    feature("last_page", Aggregate.LAST, SEEN, field="page"),
    feature("kinds", Aggregate.DISTINCT, SEEN, field="page", windows=days(7)),
    feature("clicks", Aggregate.COUNT, RESPONDED, where='outcome == "click"', windows=days(7)),
    feature("held_before", Aggregate.HELD, "bank.product.opened", windows=days(1)),
)
DERIVED = (("share", "1.0 * clicks_7d / max(1, pages_7d)"), ("rich", "spent_30d * 1.0 + largest_3d"))


def declarations(*further: FeatureDefinition) -> FeatureDeclarations:
    return FeatureDeclarations(
        time_zone="Asia/Shanghai",
        profile=(ProfileAttribute(name="age", type=AttributeType.INT, theme="t", description={}),),
        features=(*FEATURES, *further),
        derived=tuple(
            DerivedFeature(name=name, expression=text, type=AttributeType.DOUBLE, theme="t", description={})
            for name, text in DERIVED
        ),
    )


FOLLOWED = feature(
    "bought_after", Aggregate.SEQUENCE, SEEN, windows=days(7), then=Sequel(source=MOVED, within_ms=5 * HOUR_MS)
)
EVENTS: list[tuple[str, dict[str, Value]]] = [
    (MOVED, {"amount": 700}),
    (MOVED, {"amount": -20}),
    (SEEN, {"page": "cards"}),
    (SEEN, {"page": "loans"}),
    (RESPONDED, {"outcome": "click"}),
    (RESPONDED, {"outcome": "impression"}),
    ("bank.channel.login", {}),
    ("bank.profile.updated", {"age": 40}),
    ("bank.consent.changed", {"purpose": "personalisation", "granted": True}),
    ("bank.consent.changed", {"purpose": "personalisation", "granted": False}),
    ("bank.product.opened", {"product": "card", "account_id": "1"}),
    ("bank.product.closed", {"product": "card", "account_id": "1"}),
    ("bank.customer.erased", {}),
]
happenings = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(EVENTS), st.integers(1, 40), st.integers(0, 5)), max_size=40
)
"""Hours since the one before, what happened, its number (equal ones are repetitions), hours it arrived late."""


def lined_up(found: list[tuple[int, tuple[str, dict[str, Value]], int, int]]) -> tuple[CustomerEvents, list[Update]]:
    now_ms, times, topics, updates = START_MS, list[int](), list[int](), list[Update]()
    for hours, (source, fields), number, late in found:
        now_ms += hours * HOUR_MS
        attributes = fields if source == "bank.profile.updated" else {}
        plain = {} if attributes else fields
        updates.append(Update(key64(f"{source}/{number}"), source, now_ms - late * HOUR_MS, plain, attributes))
        times.append(now_ms)
        topics.append(STATE_TOPICS.index(topic_for(source)))
    return CustomerEvents(times, topics, [ArchivedEvent(update) for update in updates]), updates


@settings(max_examples=60, deadline=None)
@given(
    found=happenings,
    asked=st.lists(st.integers(0, 900), min_size=1, max_size=12),
    joined=st.booleans(),
    ahead=st.booleans(),
)
def test_parts_tell_what_the_whole_state_tells(
    found: list[tuple[int, tuple[str, dict[str, Value]], int, int]], asked: list[int], joined: bool, ahead: bool
) -> None:
    whole = WHOLE[joined]
    events, updates = lined_up(found)
    other, _ = lined_up(found[1:])
    states = PartedStates(PARTED[joined], {"retail:1": events, "retail:2": other})
    states.warm("retail:1", START_MS)
    for hours in sorted(asked):
        now_ms = START_MS + hours * HOUR_MS + 17
        due = [n for n, at in enumerate(events.times) if at <= now_ms]
        state = fold(whole, None, [PositionedUpdate(events.topics[n], n, updates[n]) for n in due]).value
        wanted = read_snapshot(whole, state, now_ms) if due else UNKNOWN_CUSTOMER
        if ahead:
            states.read_ahead([("retail:2", now_ms), ("retail:1", now_ms), ("retail:3", now_ms)])
        shown = states.snapshot("retail:1", now_ms)
        assert (shown.known, shown.consents, shown.holdings) == (wanted.known, wanted.consents, wanted.holdings)
        assert {name: repr(value) for name, value in shown.attributes.items()} == {
            name: repr(value) for name, value in wanted.attributes.items()
        }


def test_every_part_forgets_the_erased() -> None:
    erased = lined_up([(1, EVENTS[n], number, 0) for number, n in enumerate((2, 4, 0, 12, 8, 3))])[0]
    shown = PartedStates(PARTED[False], {"retail:1": erased}).snapshot("retail:1", START_MS + 9 * HOUR_MS)
    told = {name: shown.attributes[name] for name in ("pages_7d", "last_page", "clicks_7d", "moves")}
    assert told == {"pages_7d": 1, "last_page": "loans", "clicks_7d": 0, "moves": 0}


def test_what_happens_around_a_visit_moves_a_part_of_its_own() -> None:
    record, *others = PARTED[False].parts
    assert [sorted(part.sources - record.sources) for part in others] == [[SEEN], [RESPONDED]]
    assert MOVED in record.sources


def test_events_of_a_sequence_stay_in_one_part() -> None:
    joined = PARTED[True]
    taking = [part for part in joined.parts if SEEN in part.sources]
    assert len(taking) == 1 and MOVED in taking[0].sources


def test_an_unread_customer_is_unknown_and_nothing_is_read_twice() -> None:
    events, _ = lined_up([(1, EVENTS[0], 1, 0), (40, EVENTS[2], 2, 0)])
    states = PartedStates(PARTED_BY_THE_DAY, {"retail:1": events})
    assert states.snapshot("retail:2", START_MS) is UNKNOWN_CUSTOMER
    first = states.snapshot("retail:1", START_MS + 2 * HOUR_MS)
    assert states.snapshot("retail:1", START_MS + 2 * HOUR_MS + 1) is first
    assert states.snapshot("retail:1", START_MS + 50 * HOUR_MS) is not first
    assert states.folded == 2


def test_a_reading_holds_as_long_as_its_windows_do() -> None:
    held = {each.name: holds_of(declarations_of(each)) for each in (*FEATURES, FOLLOWED)}
    assert held["spent"] is held["moves"] is held["clicks"] is Holds.DAY
    assert held["pages"] is Holds.HOUR
    assert held["held_before"] is held["bought_after"] is Holds.MOMENT
    by_now = DerivedFeature(
        name="late",
        expression="now > timestamp('2026-01-01T00:00:00Z')",
        type=AttributeType.BOOL,
        theme="t",
        description={},
    )
    assert holds_of(FeatureDeclarations(time_zone="UTC", derived=(by_now,))) is Holds.MOMENT


def declarations_of(one: FeatureDefinition) -> FeatureDeclarations:
    return FeatureDeclarations(time_zone="Asia/Shanghai", features=(one,))


WHOLE = {
    False: compile_features(declarations(), EVENT_FIELDS),
    True: compile_features(declarations(FOLLOWED), EVENT_FIELDS),
}
PARTED = {joined: part_features(whole) for joined, whole in WHOLE.items()}
PARTED_BY_THE_DAY = part_features(
    compile_features(FeatureDeclarations(time_zone="Asia/Shanghai", features=(FEATURES[0], FEATURES[4])), EVENT_FIELDS)
)
