"""A line of the log as one JSON object, for machines to search: when, how bad, who says what, and of which ids.

`event` is the sentence with its gaps left open: the same for every line of its kind, so that lines can be counted by
it. What a line is given besides (`extra`) stands beside it under its own name.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from services.use_cases.log_ids import LOG_IDS

_GIVEN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
"""What every record has; whatever else one has was given as `extra`."""
TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class JsonLines(logging.Formatter):
    """One object a line; an error's trace is a text in it, so that a line stays a line. `common` stands in each."""

    def __init__(self, common: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._common = dict(common or {})

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "event": str(record.msg),
            **self._common,
            **(LOG_IDS.get() or {}),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _GIVEN}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str, separators=(", ", ": "))


def formatter_of(log_format: str, common: Mapping[str, str] | None = None) -> logging.Formatter:
    """`json` for machines, `text` for people."""
    return JsonLines(common) if log_format == "json" else logging.Formatter(TEXT)
