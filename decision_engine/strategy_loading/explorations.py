"""Reads how exploration is done, and the ramps of new offers."""

from decision_engine.offers import Ramp
from decision_engine.strategy import Exploration
from decision_engine.strategy_loading.moments import read_moment
from decision_engine.strategy_loading.section import Section

KINDS = ("off", "epsilon_greedy", "inverse_gap", "thompson")
DAY_MS = 86_400_000
_OWN_KEYS = {
    "epsilon_greedy": ("epsilon",),
    "inverse_gap": ("gamma", "contenders"),
    "thompson": ("prior_strength", "rounds", "contenders"),
}
"""The keys that mean something to some kinds only."""
_MOST_GAMMA = 1e6
_MOST_IMPRESSIONS = 1e9


def read_exploration(root: Section) -> Exploration:
    """`off` unless declared."""
    section = root.section("exploration")
    return Exploration() if section is None else read_scheme(section)


def read_scheme(section: Section) -> Exploration:
    """One exploration, wherever it stands."""
    kind = section.choice("kind", KINDS)
    plain = Exploration()
    scheme = Exploration(
        kind=kind,
        epsilon=section.number("epsilon", None if kind == "epsilon_greedy" else 0.0, least=0, most=1),
        gamma=section.number("gamma", None if kind == "inverse_gap" else 0.0, least=0, most=_MOST_GAMMA),
        prior_strength=section.number("prior_strength", plain.prior_strength, least=1, most=_MOST_IMPRESSIONS),
        rounds=section.integer("rounds", plain.rounds, least=10, most=10_000),
        contenders=section.integer("contenders", plain.contenders, least=1, most=200),
        share=section.number("share", plain.share, least=0, most=1),
        max_regret=_max_regret(section),
    )
    _report_idle_keys(section, kind)
    section.finish()
    return scheme


def read_ramp(section: Section, time_zone: str) -> Ramp | None:
    """The ramp of an offer: from a moment on for so many days; None when it has none."""
    ramp = section.section("ramp")
    if ramp is None:
        return None
    since = read_moment(ramp, "from", time_zone)
    if since is None and not ramp.given("from"):
        ramp.problem("is missing", "from")
    days = ramp.integer("days", least=1, most=366)
    share = ramp.number("share", least=0, most=0.5)
    ramp.finish()
    since = since or 0
    return Ramp(from_ms=since, until_ms=since + days * DAY_MS, share=share)


def _max_regret(section: Section) -> float | None:
    if section.get("max_regret") is None:
        return None
    return section.number("max_regret", least=0, most=100)


def _report_idle_keys(section: Section, kind: str) -> None:
    """A key of another kind is a mistake: it would be read and do nothing."""
    own = _OWN_KEYS.get(kind)
    for other, keys in _OWN_KEYS.items():
        for key in keys if own is not None else ():
            if key not in (own or ()) and section.given(key):
                section.problem(f"means nothing to {kind}, it belongs to {other}", key)
