"""The file of webhook subscriptions: who gets which messages, where, signed with which secret.

```json
[{"name": "sms_gateway", "url": "https://sms.bank.example/kairos", "channels": ["sms"], "secret_file": "sms.secret"}]
```

Optional: `recipients` (a list), `timeout_seconds` (10), `tries` (10), `first_pause_seconds` (1),
`longest_pause_seconds` (300), `at_once` (8). A secret file is named relative to this one.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.ports import SettingsInvalid

MOST_SUBSCRIPTIONS = 50
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_REQUIRED = {"name", "url", "channels", "secret_file"}
_NUMBERS: Mapping[str, tuple[float, float, float]] = {
    "timeout_seconds": (10.0, 0.1, 60.0),
    "tries": (10, 1, 100),
    "first_pause_seconds": (1.0, 0.01, 600.0),
    "longest_pause_seconds": (300.0, 0.01, 3_600.0),
    "at_once": (8, 1, 64),
}
"""Optional numbers: default, least, most."""
_WHOLE = {"tries", "at_once"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEntry:
    """One subscription as written, checked."""

    name: str
    url: str
    channels: frozenset[str]
    recipients: frozenset[str] | None
    secret_file: Path
    timeout_s: float
    tries: int
    first_pause_s: float
    longest_pause_s: float
    at_once: int


def load_webhooks(path: Path) -> tuple[WebhookEntry, ...]:
    """The subscriptions of the file. Raises SettingsInvalid naming every fault by entry and field."""
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsInvalid(f"KAIROS_WEBHOOKS_FILE: {path} cannot be read as JSON: {type(error).__name__}") from error
    if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_SUBSCRIPTIONS:
        raise SettingsInvalid(f"KAIROS_WEBHOOKS_FILE: {path} must hold a list of 1 to {MOST_SUBSCRIPTIONS} entries")
    found, problems = [], []
    for number, entry in enumerate(entries):
        faults = _faults(entry)
        problems += [f"KAIROS_WEBHOOKS_FILE: entry {number}: {fault}" for fault in faults]
        if not faults:
            found.append(_entry(entry, path.parent))
    names = [entry.name for entry in found]
    problems += [
        f"KAIROS_WEBHOOKS_FILE: the name {name} stands twice" for name in sorted(set(names)) if names.count(name) > 1
    ]
    if problems:
        raise SettingsInvalid("\n".join(problems))
    return tuple(found)


def _faults(entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return ["must be an object"]
    known = _REQUIRED | {"recipients"} | set(_NUMBERS)
    faults = [f"{name}: unknown field" for name in sorted(map(str, entry.keys() - known))]
    faults += [f"{name}: is missing" for name in sorted(_REQUIRED - entry.keys())]
    if "name" in entry and not (isinstance(entry["name"], str) and _NAME.fullmatch(entry["name"])):
        faults.append("name: lower-case letters, digits and underscores, beginning with a letter, at most 40")
    if "url" in entry and not (isinstance(entry["url"], str) and _is_allowed_url(entry["url"])):
        faults.append("url: https, or http on a loopback address, without a user")
    if "secret_file" in entry and not (isinstance(entry["secret_file"], str) and entry["secret_file"]):
        faults.append("secret_file: must be a path")
    faults += [
        f"{name}: must be a list of names, at least one"
        for name in ("channels", "recipients")
        if name in entry and not _are_names(entry[name])
    ]
    return faults + [fault for name in _NUMBERS if name in entry for fault in _number_faults(name, entry[name])]


def _is_allowed_url(url: str) -> bool:
    """https anywhere, or http on this machine; no user in it."""
    try:
        parts = urlsplit(url)
        port_is_sound = parts.port is None or parts.port > 0
    except ValueError:
        return False
    if parts.username is not None or not parts.hostname or not port_is_sound:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))


def _are_names(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) and name for name in value)


def _number_faults(name: str, value: object) -> list[str]:
    _, least, most = _NUMBERS[name]
    kinds = int if name in _WHOLE else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        return [f"{name}: a {'whole ' if name in _WHOLE else ''}number from {least:g} to {most:g}"]
    return []


def _entry(entry: Mapping[str, Any], folder: Path) -> WebhookEntry:
    numbers = {name: entry.get(name, default) for name, (default, _, _) in _NUMBERS.items()}
    recipients = entry.get("recipients")
    return WebhookEntry(
        name=entry["name"],
        url=entry["url"],
        channels=frozenset(entry["channels"]),
        recipients=None if recipients is None else frozenset(recipients),
        secret_file=folder / entry["secret_file"],
        timeout_s=float(numbers["timeout_seconds"]),
        tries=int(numbers["tries"]),
        first_pause_s=float(numbers["first_pause_seconds"]),
        longest_pause_s=float(numbers["longest_pause_seconds"]),
        at_once=int(numbers["at_once"]),
    )
