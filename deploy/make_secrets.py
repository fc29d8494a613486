"""Makes the secrets of `make up`, once, under deploy/secrets: nothing that is there already is changed.

Needs Python and nothing else. A bank keeps its secrets in its own store; what each is for stands beside it here.
"""

import hashlib
import json
import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).with_name("secrets")
CHANNELS = None  # the demonstration's one client speaks for every channel
SCOPES = ("decide", "respond", "publish", "read", "operate", "serve", "author", "stop", "audit")
APPROVER_SCOPES = ("read", "serve", "approve", "audit")
"""A second person approves: whoever authors may not."""


def main(folder: Path = FOLDER) -> int:
    """Writes what is missing and says where."""
    folder.mkdir(exist_ok=True)
    made = [name for name in ("redis_password", "grafana_password") if _keep(folder / name, secrets.token_urlsafe(24))]
    made += _keep_api_keys(folder)
    password = (folder / "redis_password").read_text()
    if _keep(folder / "redis.env", f"KAIROS_REDIS_URL=redis://:{password}@valkey:6379/0\n"):
        made.append("redis.env")
    if _keep(folder / "valkey.conf", f"requirepass {password}\n"):
        made.append("valkey.conf")
    print(f"secrets in {folder}: {', '.join(made) if made else 'all there'}")  # noqa: T201
    return 0


def _keep_api_keys(folder: Path) -> list[str]:
    """Two keys, kept in the clear for the demonstration's callers, and the file of hashes that the API reads."""
    made = [name for name in ("api_key", "approver_key") if _keep(folder / name, secrets.token_urlsafe(32))]
    entries = [
        {
            "client": client,
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "channels": CHANNELS,
            "scopes": list(scopes),
        }
        for client, name, scopes in (("demo", "api_key", SCOPES), ("approver", "approver_key", APPROVER_SCOPES))
    ]
    if _keep(folder / "api_keys.json", json.dumps(entries, indent=1)):
        made.append("api_keys.json")
    return made


def _keep(path: Path, text: str) -> bool:
    """Whether it was written now. Containers run as another user, so files are readable and the folder is not open."""
    if path.exists():
        return False
    path.write_text(text)
    path.chmod(0o644)
    return True


if __name__ == "__main__":
    sys.exit(main())
