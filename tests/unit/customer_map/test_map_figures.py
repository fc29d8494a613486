"""The map's figures against counting by hand, one customer after another."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.features.definitions import AttributeType, Value
from decision_engine.tags import Segment
from services.api.screens.map_charts import combination_picture, flow_picture, shade
from services.use_cases.customer_map.figures import GONE, NEW, NONE, flows, map_figures
from services.use_cases.customer_map.lists import Part, csv_lines, listed
from services.use_cases.customer_map.segmented import Question, SegmentConditions, Segmented, _ordered, segmented

TYPES = {
    "aum": AttributeType.INT,
    "age": AttributeType.INT,
    "churn": AttributeType.INT,
    "segment_rich": AttributeType.BOOL,
}
SEGMENTS = tuple(
    Segment(name=name, title={"en": name}, when=when)
    for name, when in (("old_rich", "segment_rich && age >= 60"), ("rich", "aum >= 100"), ("young", "age < 30"))
)
CONDITIONS = SegmentConditions(
    segments=SEGMENTS,
    questions=_ordered({segment.name: Question.of(segment.when, TYPES) for segment in SEGMENTS}),
    left=Question.of("aum < 10", TYPES),
    score="churn",
)


@dataclass
class Person:
    aum: int | None
    age: int | None
    churn: int | None
    allowed: bool = True

    @property
    def belongs(self) -> set[str]:
        """By the plain meaning of the conditions; what is not known is not so."""
        rich = self.aum is not None and self.aum >= 100
        found = {"rich"} if rich else set()
        found |= {"old_rich"} if rich and self.age is not None and self.age >= 60 else set()
        return found | ({"young"} if self.age is not None and self.age < 30 else set())

    @property
    def left(self) -> bool:
        return self.aum is not None and self.aum < 10

    @property
    def first(self) -> str:
        return next((segment.name for segment in SEGMENTS if segment.name in self.belongs), NONE)


@dataclass
class Known:
    """A snapshot of people by name."""

    people: dict[str, Person]
    day: date = date(2026, 10, 31)
    at_ms: int = 0
    columns: dict[str, list[Value | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.columns:
            for name in ("aum", "age", "churn"):
                self.columns[name] = [getattr(person, name) for person in self.people.values()]

    @property
    def customers(self) -> tuple[str, ...]:
        return tuple(self.people)

    @property
    def holdings(self) -> list[frozenset[str]]:
        return [frozenset()] * len(self.people)

    @property
    def personalised(self) -> list[bool]:
        return [person.allowed for person in self.people.values()]


def asked(people: dict[str, Person]) -> Segmented:
    return segmented(Known(people), CONDITIONS, "aum")


number = st.one_of(st.none(), st.integers(0, 200))
person = st.builds(
    Person, aum=number, age=st.one_of(st.none(), st.integers(0, 90)), churn=number, allowed=st.booleans()
)
crowd = st.dictionaries(st.integers(0, 30).map("retail:{}".format), person, max_size=20)


@settings(max_examples=60, deadline=None)
@given(crowd, crowd)
def test_sizes_overlaps_values_and_leavers_are_as_counted_by_hand(
    was: dict[str, Person], now: dict[str, Person]
) -> None:
    figures = map_figures(asked(now), asked(was))
    here = {name: each for name, each in now.items() if each.allowed}
    then = {name: each for name, each in was.items() if each.allowed}
    assert (figures.customers, figures.unprofiled) == (len(here), len(now) - len(here))
    assert figures.none == sum(not each.belongs for each in here.values())
    for row, segment in enumerate(SEGMENTS):
        inside = {name: each for name, each in here.items() if segment.name in each.belongs}
        found = figures.segments[row]
        assert (found.name, found.size) == (segment.name, len(inside))
        assert found.before == sum(segment.name in each.belongs for each in then.values())
        worths = [each.aum for each in inside.values() if each.aum is not None]
        assert found.value == pytest.approx(sum(worths) / len(worths) if worths else None)
        stayed = [n for n, each in then.items() if segment.name in each.belongs and not each.left and n in here]
        gone = [name for name in stayed if here[name].left]
        assert found.left == pytest.approx(len(gone) / len(stayed) if stayed else None)
        for column, other in enumerate(SEGMENTS):
            both = sum({segment.name, other.name} <= each.belongs for each in here.values())
            assert figures.overlaps[row][column] == both
    exact = Counter(frozenset(each.belongs) for each in here.values() if each.belongs)
    assert {frozenset(each.names): each.size for each in figures.combinations} == exact


@settings(max_examples=60, deadline=None)
@given(crowd, crowd)
def test_flows_count_everybody_once_and_lead_to_those_they_count(
    was: dict[str, Person], now: dict[str, Person]
) -> None:
    before, after = asked(was), asked(now)
    here = {name: each.first for name, each in now.items() if each.allowed}
    then = {name: each.first for name, each in was.items() if each.allowed}
    by_hand = Counter((then.get(name, NEW), here.get(name, GONE)) for name in here.keys() | then.keys())
    found = flows(before, after)
    assert {(flow.source, flow.target): flow.size for flow in found} == by_hand
    for flow in found:
        rows = listed(Part(source=flow.source, target=flow.target), after, before)
        assert {row.customer_id for row in rows} == {
            name
            for name in here.keys() | then.keys()
            if (then.get(name, NEW), here.get(name, GONE)) == (flow.source, flow.target)
        }
    picture = flow_picture(found, [segment.name for segment in SEGMENTS])
    assert len(picture.ribbons) == len(found)
    assert all(node.y >= 0 and node.y + node.height <= picture.height for node in (*picture.sources, *picture.targets))


@settings(max_examples=40, deadline=None)
@given(crowd)
def test_every_number_of_the_picture_leads_to_as_many_customers(now: dict[str, Person]) -> None:
    after = asked(now)
    figures = map_figures(after, None)
    for segment in figures.segments:
        assert len(listed(Part(inside=(segment.name,)), after, None)) == segment.size
    for each in figures.combinations:
        assert len(listed(Part(inside=each.names, exactly=True), after, None)) == each.size
    picture = combination_picture(figures)
    assert [bar.size for bar in picture.bars] == [each.size for each in figures.combinations]
    assert len(listed(Part(), after, None)) == figures.customers


def test_lists_begin_with_the_most_valuable() -> None:
    after = asked({"a": Person(5, 20, 1), "b": Person(50, 20, 1), "c": Person(None, 20, 1)})
    assert [row.customer_id for row in listed(Part(inside=("young",)), after, None)] == ["b", "a", "c"]
    with pytest.raises(KeyError):
        listed(Part(inside=("nobody",)), after, None)


def test_attributes_the_snapshot_lacks_are_named_and_nobody_is_guessed_to_belong() -> None:
    snapshot = Known({"a": Person(500, 70, 1)}, columns={"age": [70]})
    found = segmented(snapshot, CONDITIONS, None)
    assert found.missing == ("aum", "churn")
    assert found.masks == (0,)


def test_the_file_has_what_was_asked_for_and_nothing_a_spreadsheet_would_run() -> None:
    after = asked({"retail:1": Person(500, 70, 1), "retail:2": Person(200, 20, None)})
    known: dict[str, dict[str, Value]] = {"retail:1": {"city": "=HYPERLINK(1)", "aum": -500, "vip": True}}
    text = b"".join(csv_lines(listed(Part(), after, None), ["city", "aum", "vip"], known)).decode("utf-8-sig")
    assert text.splitlines() == [
        "customer_id,segments,city,aum,vip",
        "retail:1,old_rich rich,'=HYPERLINK(1),-500,true",
        "retail:2,rich young,,,",
    ]


def test_any_overlap_at_all_is_shaded() -> None:
    assert [shade(part, 1000) for part in (0, 1, 500, 1000)] == [0, 1, 4, 9]
    assert shade(0, 0) == 0
