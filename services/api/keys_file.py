"""The file of API keys: who holds which key, for which channels, to do what. It holds hashes, never keys.

```json
[{"client": "mobile-app", "sha256": "<64 hex digits>", "channels": ["mobile"], "scopes": ["decide", "respond"]}]
```

`recipient` may say under which name leads are addressed to a person; without it that is the client's own name.
`customers` may bound whom the client sees (`["retail:", "owner_manager=M012"]`), `limit` how much of a node it uses
(`{"per_second": 50, "burst": 100, "at_once": 8}`), `priority` the best class of its requests (`agent`, `interactive`,
`batch`; without it that of their channels), and `reason_needed` has a person say why they open a customer.
"""

import json
from pathlib import Path

from services.api.authentication import ApiKey, ApiKeys, ApiScope, Client
from services.api.customer_scope import CustomerScope
from services.api.priorities import Priority
from services.api.rate_limits import RateLimit
from services.api.revocations import Revocations
from services.ports import SettingsInvalid
from services.use_cases.decide_firing import CLIENT

_FIELDS = {"client", "sha256", "channels", "scopes"}
_FURTHER = {"recipient", "customers", "limit", "priority", "reason_needed"}


def load_api_keys(path: Path, revocations: Revocations | None = None) -> ApiKeys:
    """The keys of the file, but for clients that are revoked. Raises SettingsInvalid naming every faulty entry; values
    are never shown."""
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsInvalid(f"KAIROS_API_KEYS_FILE: {path} cannot be read as JSON: {type(error).__name__}") from error
    if not isinstance(entries, list) or not entries:
        raise SettingsInvalid(f"KAIROS_API_KEYS_FILE: {path} must hold a list of keys")
    keys, problems = [], []
    for number, entry in enumerate(entries):
        try:
            keys.append(_key(entry))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            problems.append(f"KAIROS_API_KEYS_FILE: entry {number}: {error}")
    if problems:
        raise SettingsInvalid("\n".join(problems))
    return ApiKeys(keys, revocations)


def _key(entry: object) -> ApiKey:
    if not isinstance(entry, dict) or set(entry) - _FURTHER != _FIELDS:
        raise ValueError(
            f"must be an object with exactly {', '.join(sorted(_FIELDS))}, and maybe {', '.join(sorted(_FURTHER))}"
        )
    digest = bytes.fromhex(entry["sha256"])
    if len(digest) != 32:
        raise ValueError("sha256 must have 64 hex digits")
    if entry["client"] == CLIENT:  # request ids are told apart by client: a firing's answer must be its own
        raise ValueError(f"client must not be {CLIENT}: decisions of triggers are made under that name")
    channels = None if entry["channels"] is None else frozenset(map(str, entry["channels"]))
    scopes = frozenset(ApiScope(scope) for scope in entry["scopes"])
    recipient = None if entry.get("recipient") is None else str(entry["recipient"])
    reason_needed = entry.get("reason_needed", False)
    if not isinstance(reason_needed, bool):
        raise ValueError("reason_needed must be true or false")
    client = Client(
        name=str(entry["client"]),
        channels=channels,
        scopes=scopes,
        recipient=recipient,
        customers=None if entry.get("customers") is None else CustomerScope.of(entry["customers"]),
        limit=None if entry.get("limit") is None else RateLimit.of(entry["limit"]),
        priority=None if entry.get("priority") is None else Priority.of(entry["priority"]),
        reason_needed=reason_needed,
    )
    return ApiKey(sha256=digest, client=client)
