"""Windows as a strategy writes them: `7d`, `24h`, pairs of them, and the windows of contact limits."""

import re
from typing import TypeVar

from decision_engine.features.definitions import Window
from decision_engine.strategy import ContactWindow
from decision_engine.strategy_loading.document import ListNode, Node, ScalarNode
from decision_engine.strategy_loading.section import Section

_FEATURE_WINDOW = re.compile(r"([1-9][0-9]{0,4})(mo|[mhdw])")
_CONTACT_WINDOW = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_Windows = TypeVar("_Windows", Window, tuple[Window, Window])
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST_CONTACT_WINDOW = 400 * 86_400
"""A little over a year: what the contact ledger is kept for at the most."""


def feature_windows(section: Section) -> tuple[Window, ...]:
    """The windows of any feature but a ratio."""
    windows = [feature_window(section, "windows", item) for item in _items(section)]
    return _distinct(section, tuple(window for window in windows if window is not None))


def feature_window_pairs(section: Section) -> tuple[tuple[Window, Window], ...]:
    """The windows of a ratio: each a short one and a longer one of the same unit."""
    pairs: list[tuple[Window, Window]] = []
    for item in _items(section):
        both = (
            [feature_window(section, "windows", window) for window in item.items] if isinstance(item, ListNode) else []
        )
        if len(both) != 2:
            section.problems.add(item, section.path_of("windows"), "a ratio takes pairs of windows, such as [7d, 90d]")
            continue
        short, long = both
        if short is None or long is None:
            continue
        if short.unit != long.unit or short.length >= long.length:
            message = f"the first window must be the shorter one, both in the same unit: not {short}, {long}"
            section.problems.add(item, section.path_of("windows"), message)
            continue
        pairs.append((short, long))
    return _distinct(section, tuple(pairs))


def contact_window(section: Section) -> ContactWindow:
    """`7d` rolling, or `{calendar: day}`."""
    node = section.require("window")
    if node is None:
        return ContactWindow(calendar="day")
    if not isinstance(node, ScalarNode):
        calendar = Section(node, section.path_of("window"), section.problems)
        unit = calendar.choice("calendar", ("day", "week", "month"))
        calendar.finish()
        return ContactWindow(calendar=unit)
    seconds = _seconds(section, "window", "window; write 90s, 30m, 24h, 7d or {calendar: day}")
    return ContactWindow(calendar="day") if seconds is None else ContactWindow(rolling_seconds=seconds)


def minimum_distance(section: Section) -> ContactWindow:
    """`3d`: so long ago, to the millisecond, the last contact must be."""
    seconds = _seconds(section, "min_distance", "distance; write 90s, 30m, 24h or 7d")
    return ContactWindow(rolling_seconds=seconds or 1, open_start=True)


def duration_seconds(section: Section, key: str) -> int | None:
    """`90s`, `30m`, `24h` or `2d` in seconds; None after a fault."""
    return _seconds(section, key, "duration; write 90s, 30m, 24h or 2d")


def _seconds(section: Section, key: str, wanted: str) -> int | None:
    node = section.require(key)
    written = node.value if isinstance(node, ScalarNode) else None
    match = _CONTACT_WINDOW.fullmatch(str(written))
    if match is None:
        if node is not None:
            section.problem(f"{'a list or mapping' if written is None else repr(written)} is no {wanted}", key)
        return None
    seconds = int(match.group(1)) * _SECONDS[match.group(2)]
    if seconds > _LONGEST_CONTACT_WINDOW:
        section.problem(f"{written} is longer than the 400 days contacts are kept", key)
    return seconds


def _items(section: Section) -> tuple[Node, ...]:
    node = section.get("windows")
    if node is None:
        return ()
    if isinstance(node, ListNode) and node.items:
        return node.items
    section.problem("must be a list, such as [7d, 30d]; without it a feature spans the whole life", "windows")
    return ()


def feature_window(section: Section, key: str, node: Node) -> Window | None:
    """One window, such as `7d`; None after a fault."""
    text = str(node.value) if isinstance(node, ScalarNode) else ""
    match = _FEATURE_WINDOW.fullmatch(text)
    if match is None:
        written = f"{text!r}" if text else "a list or mapping"
        message = f"{written} is no window; write 15m, 24h, 7d, 4w or 12mo"
        section.problems.add(node, section.path_of(key), message)
        return None
    return Window(match.group(2), int(match.group(1)))


def _distinct(section: Section, windows: tuple[_Windows, ...]) -> tuple[_Windows, ...]:
    if len(set(windows)) < len(windows):
        section.problem("a window stands here twice", "windows")
    return tuple(dict.fromkeys(windows))
