"""Reads `online_learning`: how a strategy learns between two fits of its models."""

from collections.abc import Sequence

from decision_engine.online import OnlineLearning
from decision_engine.strategy_loading.section import Section, suggestion
from decision_engine.strategy_loading.windows import duration_seconds

MINUTE, HOUR, DAY = 60, 3_600, 86_400
STEPS = (MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY)
"""Ages at which an outcome begins to count, those below the window and the window itself."""
_MOST_SEGMENTS = 20
_MOST_STRENGTH = 1e6


def read_online(root: Section, segments: Sequence[str]) -> OnlineLearning | None:
    """None unless declared; `segments` are those of the strategy."""
    section = root.section("online_learning")
    if section is None:
        return None
    window = duration_seconds(section, "window") or DAY
    learning = OnlineLearning(
        half_life_seconds=duration_seconds(section, "half_life") or DAY,
        window_seconds=window,
        steps=(*(step for step in STEPS if step < window), window),
        segments=_segments(section, segments),
        prior_strength=section.number("prior_strength", 10.0, least=1, most=_MOST_STRENGTH),
    )
    section.finish()
    return learning


def _segments(section: Section, known: Sequence[str]) -> tuple[str, ...]:
    names = section.texts("segments")
    for name in names:
        if name not in known:
            section.problem(f"{name!r} is no segment of the strategy{suggestion(name, known)}", "segments")
    if len(set(names)) < len(names):
        section.problem("names a segment twice", "segments")
    if len(names) > _MOST_SEGMENTS:
        section.problem(f"at most {_MOST_SEGMENTS} segments, each learns by itself", "segments")
    return names if set(names) <= set(known) else ()
