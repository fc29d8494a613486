"""Waits until an address answers 200, for `make up`: `python3 deploy/until_ready.py URL [SECONDS]`. Python alone."""

import sys
import time
import urllib.error
import urllib.request


def main(url: str, within_s: float = 300.0) -> int:
    """Status 0 once it answers, 1 when it does not within the time, saying what it answered last."""
    deadline, last = time.monotonic() + within_s, "nothing"
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2.0) as answer:  # noqa: S310 - the address of our own API
                if answer.status == 200:
                    return 0
                last = str(answer.status)
        except urllib.error.HTTPError as error:
            last = f"{error.code} {error.read(500).decode(errors='replace')}"
        except OSError as error:
            last = str(error)
        time.sleep(1.0)
    print(f"{url} is not ready after {within_s:.0f} s; last answer: {last}", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(float, sys.argv[2:3])))
