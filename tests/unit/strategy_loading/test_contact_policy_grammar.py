"""The contact policy and service before sales as a strategy writes them: what is read, what is refused at its line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from decision_engine.contact_ledger import ContactClock, Direction, Scope
from decision_engine.errors import StrategyInvalid
from decision_engine.outcomes import ContactStatus
from decision_engine.strategy import AppliesTo, ContactWindow, RelatedContacts, Strategy
from services.adapters.file_strategy_source import load_strategy_file

GOLDEN = Path(__file__).parents[2] / "golden" / "contact_policy" / "strategy.yaml"
ANSWERS = ContactStatus.ANY_RESPONSE & ~ContactStatus.IMPRESSION
Load = Callable[[str, str], Strategy]


@pytest.fixture(scope="module")
def golden() -> Strategy:
    return load_strategy_file(GOLDEN)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the golden strategy with one line in place of another."""

    def loading(line: str, other: str) -> Strategy:
        text = GOLDEN.read_text("utf-8")
        assert text.count(line) == 1, line
        path = tmp_path / "strategy.yaml"
        path.write_text(text.replace(line, other), encoding="utf-8")
        return load_strategy_file(path)

    return loading


def test_a_minimum_distance_is_one_contact_in_a_window_with_an_open_start(golden: Strategy) -> None:
    spaced = next(limit for limit in golden.contact_limits if limit.id == "three_days_apart")
    assert (spaced.limit, spaced.window) == (1, ContactWindow(rolling_seconds=3 * 86_400, open_start=True))
    assert spaced.clock is ContactClock.CONTACT


def test_shown_without_response_counts_impressions_nothing_came_of(golden: Strategy) -> None:
    vain = next(limit for limit in golden.contact_limits if limit.id == "shown_in_vain")
    assert (vain.statuses, vain.without, vain.clock) == (ContactStatus.IMPRESSION, ANSWERS, ContactClock.CONTACT)


def test_a_related_limit_says_what_is_counted_and_what_is_held_back(golden: Strategy) -> None:
    related = next(limit for limit in golden.contact_limits if limit.id == "card_taken_no_loan")
    assert (related.scope, related.of) == (Scope.GROUP, "loans")
    assert related.related == RelatedContacts(scope=Scope.OFFER, name="gold_card")


def test_directions_exemptions_and_outbound_channels_are_read(golden: Strategy) -> None:
    by_id = {limit.id: limit for limit in golden.contact_limits}
    assert by_id["outbound_once_in_7d"].direction is Direction.OUTBOUND
    assert by_id["offer_twice_in_7d"].direction is Direction.ANY
    assert by_id["marketing_once"].applies_to is AppliesTo.MARKETING
    assert by_id["offer_twice_in_7d"].applies_to is AppliesTo.OPTIONAL
    assert golden.outbound_channels == ("sms",)


def test_quiet_hours_and_holidays_are_read(golden: Strategy) -> None:
    by_id = {time.id: time for time in golden.quiet_times}
    night, lunch, christmas = by_id["sms_night"], by_id["phone_lunch"], by_id["christmas"]
    assert (night.from_minute, night.until_minute, night.weekdays) == (1260, 480, (0, 1, 2, 3, 4, 5, 6))
    assert lunch.weekdays == (0, 1, 2, 3, 4)
    assert (christmas.from_minute, christmas.until_minute) == (0, 1440)
    assert christmas.dates == ("2026-12-25", "2026-12-26")


def test_the_engine_has_words_for_quiet_in_every_locale(golden: Strategy) -> None:
    assert set(golden.texts["QUIET_HOURS"]) == set(golden.texts["HOLIDAY"]) == {"en"}


def test_service_first_guards_sales_offers_of_its_issues_and_no_others(golden: Strategy) -> None:
    guarded = {o.name for o in golden.offers if any(rule.id == "complaint_open" for rule in o.eligibility)}
    assert guarded == {"gold_card", "travel_card", "mortgage", "growth_fund", "bond_fund"}
    card = next(offer for offer in golden.offers if offer.name == "gold_card")
    assert (card.eligibility[0].id, card.eligibility[0].when) == ("complaint_open", "!(complaints > 0)")
    assert "COMPLAINT" in golden.texts


def test_service_first_without_issues_guards_every_sales_offer(load: Load) -> None:
    strategy = load("issues: [acquire, grow], code: COMPLAINT", "code: COMPLAINT")
    guarded = {o.name for o in strategy.offers if any(rule.id == "complaint_open" for rule in o.eligibility)}
    assert guarded == {o.name for o in strategy.offers if o.purpose == "marketing"}


FAULTS = [
    ("scope: offer, min_distance: 3d", "scope: offer, min_distance: 3d, window: 7d", "leave `window` out"),
    ("scope: offer, min_distance: 3d", "scope: offer, min_distance: soon", "no distance"),
    ("scope: offer, min_distance: 3d", "scope: offer, min_distance: 401d", "longer than the 400 days"),
    ("without_response: true, limit: 3", "without_response: true, on: [click], limit: 3", "leave `on` out"),
    ("limit: 3, window: 14d", "limit: 201, window: 14d", "from 1 to 200"),
    ("scope: group, of: loans, related: {offer: gold_card}", "scope: group, related: {offer: gold_card}", "`of`"),
    ("related: {offer: mortgage}", "related: {offer: mortgag}", "unknown offer mortgag"),
    ("related: {offer: mortgage}", "related: {offer: mortgage, group: loans}", "{offer: …} or {group: …}"),
    ("related: {offer: mortgage}", "related: {issue: acquire}", "{offer: …} or {group: …}"),
    ("direction: outbound", "direction: outwards", "none of inbound, outbound"),
    ("applies_to: marketing, limit: 1", "applies_to: sales, limit: 1", "none of marketing, optional, all"),
    ("outbound: [sms]", "outbound: [smss]", "unknown channel smss"),
    ("channels: [sms], from: 21:00, to: 08:00}", "channels: [], from: 21:00, to: 08:00}", "at least one channel"),
    ("channels: [sms], from: 21:00, to: 08:00}", "channels: [sms], from: 25:00, to: 08:00}", "no time of day"),
    ("channels: [sms], from: 21:00, to: 08:00}", "channels: [sms], from: 21:00, to: 21:00}", "never end"),
    ("weekdays: [sun]", "weekdays: [sunday]", "none of mon, tue"),
    ("dates: [2026-03-29]", "dates: [2026-02-29]", "no date"),
    ("dates: [2026-03-29]", "dates: []", "at least one date"),
    ("id: spring_day", "id: sms_night", "sms_night stands already"),
    ("issues: [acquire, grow]", "issues: [acquire, growth]", "unknown issue growth"),
    ("when: 'complaints > 0'", "when: 'complaint > 0'", "complaint"),
    ("id: complaint_open", "id: all_eligibility_rule", "applies here twice"),
]


@pytest.mark.parametrize(("line", "other", "message"), FAULTS, ids=[other for _, other, _ in FAULTS])
def test_faults_are_told_at_their_line(load: Load, line: str, other: str, message: str) -> None:
    number = GOLDEN.read_text("utf-8").partition(line)[0].count("\n") + 1
    with pytest.raises(StrategyInvalid) as caught:
        load(line, other)
    found = [(problem.line, problem.message) for problem in caught.value.problems]
    assert any(message in text for _, text in found), found
    assert number in {at for at, _ in found} or "twice" in message
