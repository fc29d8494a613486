"""Reads `guard`: when a new version is taken back by itself."""

from decision_engine.guard_terms import GuardTerms, Tolerance
from decision_engine.strategy_loading.section import Section
from decision_engine.strategy_loading.windows import duration_seconds

_USUAL = GuardTerms()
_MOST_TIMES = 100.0
_MOST_CUSTOMERS = 1_000_000


def read_guard(root: Section) -> GuardTerms | None:
    """None unless declared; then the usual terms hold (`GuardTerms()`)."""
    section = root.section("guard")
    if section is None:
        return None
    window = _seconds(section, "window", _USUAL.window_seconds)
    terms = GuardTerms(
        enabled=section.flag("enabled", default=True),
        window_seconds=window,
        watch_seconds=_seconds(section, "watch", _USUAL.watch_seconds),
        answer_seconds=_seconds(section, "answers", min(_USUAL.answer_seconds, window // 3)),
        least=section.integer("least", _USUAL.least, least=20, most=_MOST_CUSTOMERS),
        degraded=_tolerance(section, "degraded", _USUAL.degraded),
        fallback=_tolerance(section, "fallback", _USUAL.fallback),
        acceptance=_tolerance(section, "acceptance", _USUAL.acceptance),
        false_alarms=section.number("false_alarms", _USUAL.false_alarms, least=1e-6, most=0.5),
    )
    if terms.answer_seconds >= terms.window_seconds:
        section.problem("must be shorter than the window: no answer would ever count", "answers")
    section.finish()
    return terms


def _seconds(section: Section, key: str, usual: int) -> int:
    return usual if section.get(key) is None else (duration_seconds(section, key) or usual)


def _tolerance(section: Section, key: str, usual: Tolerance) -> Tolerance:
    given = section.section(key)
    if given is None:
        return usual
    tolerance = Tolerance(
        by=given.number("by", usual.by, least=0.0, most=1.0),
        times=given.number("times", usual.times, least=1.0, most=_MOST_TIMES),
    )
    given.finish()
    return tolerance
