"""The agent's portrait of a customer: what is known at a glance, in words and small charts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.features.definitions import Value
from decision_engine.strategy import Strategy
from services.api.screens.formats import localized
from services.use_cases.view_courses import Course
from services.use_cases.view_customer import AttributeView, ContactView, CustomerView, LabelView
from services.use_cases.wire_time import rfc3339

OLD_DATA_MS = 3 * 86_400_000
"""A newest event of the bank's systems older than this is pointed out: what the balance says may have moved on."""
MOST_CONTACTS = 8
WIDTH, HEIGHT = 200, 48
"""Of a chart, in its own coordinates."""
_GAP = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One attribute: what it is called, and its value or None where it is not known."""

    title: str
    value: Value | None
    word: str | None = None
    """What a text value is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One value of a chart that has been laid out."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A course laid out: bars for what adds up, a line for a level. `latest`, `least` and `most` are its values."""

    title: str
    money: bool
    latest: float | None
    least: float
    most: float
    bars: tuple[Bar, ...] = ()
    line: str = ""
    area: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """Everything of the customer that the page shows beside the offers."""

    customer: CustomerView
    facts: tuple[Fact, ...]
    amounts: tuple[Fact, ...]
    charts: tuple[Chart, ...]
    holdings: tuple[str, ...]
    tags: tuple[tuple[str, tuple[LabelView, ...]], ...]
    """Classes that have any, with them."""
    contacts: tuple[ContactView, ...]
    old: bool
    """Whether the bank's newest event is so old that balances may not be relied on; what the customer answered since
    moves no balance."""
    withheld: tuple[str, ...]
    """Consents the customer has refused or withdrawn, by name."""
    unreadable: bool = False
    """Whether what is known could not be read just now."""


def portrait_of(customer: CustomerView, strategy: Strategy, courses: Sequence[Course], locale: str) -> Portrait:
    """The portrait in the agent's language."""
    chosen = strategy.portrait
    words = {} if chosen is None else chosen.words
    values = {view.name: view for views in customer.attributes.values() for view in views}
    age = customer.bank_event_age_ms
    return Portrait(
        customer=customer,
        facts=_facts(() if chosen is None else chosen.facts, values, words, locale),
        amounts=_facts(() if chosen is None else chosen.amounts, values, words, locale),
        charts=tuple(_chart(course, locale) for course in courses),
        holdings=_holdings(customer.holdings, strategy, words, locale),
        tags=tuple((name, tags) for name, tags in customer.tags.items() if tags),
        contacts=customer.contacts[:MOST_CONTACTS],
        old=age is not None and age > OLD_DATA_MS,
        withheld=tuple(name for name, granted in customer.consents.items() if customer.known and not granted),
    )


def unreadable_portrait(customer_id: str, strategy: Strategy, now_ms: int) -> Portrait:
    """Of a customer whose state cannot be read just now: nothing, which is not the same as not being known."""
    nothing = CustomerView(
        customer_id=customer_id,
        time=rfc3339(now_ms),
        known=False,
        newest_event_at=None,
        feature_age_ms=None,
        bank_event_at=None,
        bank_event_within=None,
        bank_event_age_ms=None,
        response_age_ms=None,
        state_writes=0,
        strategy_version=strategy.version,
        segments=(),
        tags={},
        attributes={},
        holdings=(),
        consents={},
        contacts=(),
        responses=(),
    )
    return Portrait(
        customer=nothing,
        facts=(),
        amounts=(),
        charts=(),
        holdings=(),
        tags=(),
        contacts=(),
        old=False,
        withheld=(),
        unreadable=True,
    )


def _facts(
    names: Sequence[str], values: Mapping[str, AttributeView], words: Mapping[str, Mapping[str, str]], locale: str
) -> tuple[Fact, ...]:
    """Those that are known."""
    found = []
    for name in names:
        view = values.get(name)
        if view is None or view.sensitive:
            continue
        word = None
        if isinstance(view.value, str):
            word = localized(words.get(view.value), locale, view.value.replace("_", " "))
        found.append(Fact(title=_short(localized(view.description, locale, name)), value=view.value, word=word))
    return tuple(found)


def _short(description: str) -> str:
    """Without what descriptions add for authors: `Risk tolerance, 1 to 5 (C1-C5)` is the risk tolerance."""
    for mark in (",", "(", "（", "，"):
        description = description.partition(mark)[0]
    return description.strip()


def _holdings(
    products: Sequence[str], strategy: Strategy, words: Mapping[str, Mapping[str, str]], locale: str
) -> tuple[str, ...]:
    """What products are called: by the portrait, else by the offer of them."""
    offered = {offer.product: offer.title for offer in strategy.offers if offer.product}
    return tuple(
        localized(words.get(product) or offered.get(product), locale, product.replace("_", " ")) for product in products
    )


def _chart(course: Course, locale: str) -> Chart:
    known = [value for value in course.values if value is not None]
    least, most = (0.0 if course.additive else min(known, default=0.0)), max(known, default=0.0)
    floor = least if course.additive else least - 0.15 * ((most - least) or abs(most) or 1.0)
    scale = (HEIGHT - 4) / ((most - floor) or 1.0)
    heights = [None if value is None else max(0.0, (value - floor) * scale) for value in course.values]
    title = localized(course.series.title, locale, course.series.attribute)
    latest = course.values[-1] if course.values else None
    money = course.series.unit == "money"
    if course.additive:
        bars = _bars(heights)
        return Chart(title=title, money=money, latest=latest, least=least, most=most, bars=bars)
    line, area = _line(heights)
    return Chart(title=title, money=money, latest=latest, least=least, most=most, line=line, area=area)


def _bars(heights: Sequence[float | None]) -> tuple[Bar, ...]:
    step = WIDTH / max(1, len(heights))
    return tuple(
        Bar(
            x=round(i * step + step * _GAP / 2, 2),
            y=round(HEIGHT - max(height or 0.0, 1.0), 2),
            width=round(step * (1 - _GAP), 2),
            height=round(max(height or 0.0, 1.0), 2),
        )
        for i, height in enumerate(heights)
    )


def _line(heights: Sequence[float | None]) -> tuple[str, str]:
    """The path through the known values, and the area under it."""
    step = WIDTH / max(1, len(heights) - 1)
    points = [(round(i * step, 2), round(HEIGHT - h, 2)) for i, h in enumerate(heights) if h is not None]
    if not points:
        return "", ""
    if len(points) == 1:
        points = [(0, points[0][1]), points[0]]
    line = "M" + "L".join(f"{x} {y}" for x, y in points)
    return line, f"{line}L{points[-1][0]} {HEIGHT}L{points[0][0]} {HEIGHT}Z"
