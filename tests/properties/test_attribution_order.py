"""Whatever the order facts become known in: the same credits, shares that sum to one, revisions that only grow."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.attribution import (
    WHOLE,
    Attributed,
    AttributionTerms,
    Conversion,
    SharedModel,
    Touch,
    split_credit,
)
from decision_engine.attribution_memory import (
    Answered,
    AttributionMemory,
    Converted,
    Decided,
    DecidedOption,
    Erased,
    Fact,
    remember,
)
from decision_engine.attribution_values import from_plain, to_plain
from decision_engine.outcomes import Outcome

HOUR = 3_600_000
BASE = 500 * 24 * HOUR
OFFERS = ("gold_card", "cash_loan")
moments = st.integers(0, 40).map(lambda hours: BASE + hours * HOUR)


def terms_of(model: SharedModel) -> AttributionTerms:
    return AttributionTerms(
        window_ms=12 * HOUR,
        click_window_ms=24 * HOUR,
        offered=("manager",),
        conversions=(),
        shared=model,
        half_life_ms=5 * HOUR,
        once_ms=6 * HOUR,
        late_ms=1_000 * HOUR,
    )


def option(number: int) -> DecidedOption:
    offer = OFFERS[number % 2]
    return DecidedOption(tracking_id=f"D{number}.0", offer=offer, treatment=f"{offer}.x.main", placement="p")


def decided(number: int, at_ms: int) -> Fact:
    channel = "manager" if number % 3 == 0 else "mobile"
    arm = ("full", "no_levers")[number % 2]
    return Decided(
        decision_id=f"D{number}", at_ms=at_ms, channel=channel, arm=arm, experiments={}, options=(option(number),)
    )


def answered(number: int, outcome: Outcome, at_ms: int, unique: int) -> Fact:
    conversion = None
    if outcome is Outcome.CONVERT:
        conversion = Conversion(
            id=f"r{unique}", at_ms=at_ms, offers=(OFFERS[number % 2],), cause_type="r", cause_id=f"r{unique}"
        )
    channel = "manager" if number % 3 == 0 else "mobile"
    # A channel may name the option less well than the decision did.
    told = replace(option(number), treatment=f"{OFFERS[number % 2]}.told.main")
    return Answered(option=told, channel=channel, outcome=outcome, at_ms=at_ms, conversion=conversion)


def opened(at_ms: int, offers: tuple[str, ...], unique: int) -> Fact:
    return Converted(
        conversion=Conversion(id=f"e{unique}", at_ms=at_ms, offers=offers, cause_type="e", cause_id=f"e{unique}")
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Fact]:
    count = draw(st.integers(1, 6))
    # A decision is made once: two of one id would be two accounts of one thing.
    facts = [decided(number, draw(moments)) for number in range(count) if draw(st.booleans())]
    facts += [
        answered(draw(st.integers(0, count)), draw(st.sampled_from(Outcome)), draw(moments), unique)
        for unique in range(draw(st.integers(0, 8)))
    ]
    facts += [
        opened(draw(moments), draw(st.sampled_from([OFFERS, OFFERS[:1], OFFERS[1:]])), unique)
        for unique in range(draw(st.integers(0, 3)))
    ]
    return facts


def final(facts: Sequence[Fact], batch: int, terms: AttributionTerms) -> dict[str, Attributed]:
    """What readers end with: of each conversion the highest revision ever published."""
    memory, known = AttributionMemory(), {}
    for begin in range(0, len(facts), batch):
        memory = from_plain(to_plain(memory))
        for found in remember(memory, facts[begin : begin + batch], terms):
            before = known.get(found.conversion.id)
            assert before is None or found.revision > before.revision
            known[found.conversion.id] = found
    return known


def said(known: dict[str, Attributed]) -> dict[str, object]:
    """Content without revisions; what is no conversion of its own is as good as never published."""
    return {
        name: [(shown(c.touch), c.kind, c.at_ms, c.last_touch, c.shared) for c in found.credits]
        for name, found in known.items()
        if found.credits
    }


def shown(touch: Touch) -> tuple[str | None, ...]:
    return touch.tracking_id, touch.offer, touch.treatment, touch.channel, touch.placement, touch.arm


@given(histories(), st.randoms(use_true_random=False), st.integers(1, 5), st.sampled_from(SharedModel))
@settings(max_examples=150)
def test_the_order_of_facts_does_not_matter(facts: list[Fact], random: object, batch: int, model: SharedModel) -> None:
    terms = terms_of(model)
    shuffled = list(facts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert said(final(shuffled, batch, terms)) == said(final(facts, len(facts) or 1, terms))


@given(histories(), st.randoms(use_true_random=False), st.integers(1, 5))
@settings(max_examples=100)
def test_once_all_facts_are_known_revisions_agree_so_that_a_replay_repeats_what_was_said(
    facts: list[Fact], random: object, batch: int
) -> None:
    """A second run over the same log, in another order, may never outbid the first with something else."""
    terms = terms_of(SharedModel.LINEAR)
    shuffled = list(facts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = final(facts, 1, terms), final(shuffled, batch, terms)
    for name in first.keys() & second.keys():
        if first[name].revision == second[name].revision:
            assert said({name: first[name]}) == said({name: second[name]})


@given(
    st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=20),
    st.sampled_from(SharedModel),
)
@settings(max_examples=150)
def test_the_credits_of_a_conversion_sum_to_one_under_every_model(
    ages: list[tuple[int, bool]], model: SharedModel
) -> None:
    at_ms = BASE + 60 * HOUR
    touches = [
        Touch(
            tracking_id=f"D{number}.0", offer="o", treatment="o.x.main", channel="c", placement="p",
            seen_ms=at_ms - age * HOUR, engaged_ms=at_ms - age * HOUR if engaged else None,
        )
        for number, (age, engaged) in enumerate(ages)
    ]  # fmt: skip
    found = split_credit(at_ms, touches, terms_of(model))
    inside = [age <= (24 if engaged else 12) for age, engaged in ages]
    assert len(found) == sum(inside)
    if found:
        assert sum(credit.last_touch for credit in found) == WHOLE
        assert sum(credit.shared for credit in found) == WHOLE
        assert all(credit.shared >= 0 for credit in found)
        assert found[-1].last_touch == WHOLE
        assert found[-1].at_ms == max(credit.at_ms for credit in found)


@given(histories(), moments)
@settings(max_examples=60)
def test_nothing_of_an_erased_customer_up_to_that_moment_is_left(facts: list[Fact], erased_ms: int) -> None:
    memory, terms = AttributionMemory(), terms_of(SharedModel.LINEAR)
    remember(memory, [*facts, Erased(at_ms=erased_ms)], terms)
    remember(memory, facts, terms)
    assert all(touch.newest_ms > erased_ms for touch in memory.touches.values())
    assert all(one.at_ms > erased_ms for one in memory.conversions.values())
    assert all(one.at_ms > erased_ms for one in memory.unseen.values())
    assert memory.published.keys() <= memory.conversions.keys()
