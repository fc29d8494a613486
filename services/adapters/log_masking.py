"""The last thing a line of the log goes through: no customer's id, and no value that an error happens to repeat."""

import logging
import traceback
from types import TracebackType

from services.ports import ShellError
from services.use_cases.log_pseudonyms import LogPseudonyms

_TOLD = (ShellError, OSError)
"""Errors whose words are about addresses and files. Those of others may repeat what somebody sent."""
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class MaskedFormatter(logging.Formatter):
    """Formats as another does, then replaces every customer's id by its pseudonym. Of an error it tells where it came
    from and what kind it is; its words only where they are our own or the system's."""

    def __init__(self, inner: logging.Formatter, pseudonyms: LogPseudonyms) -> None:
        super().__init__()
        self._inner = inner
        self._pseudonyms = pseudonyms
        inner.formatException = self.formatException  # type: ignore[method-assign]  # the line is the inner one's to build

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return self._pseudonyms.masked(self._inner.format(record))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - the library's name
        """Where, and what kind."""
        error = ei[1]
        return "" if error is None else "".join(_told(error)).rstrip("\n")


def mask_logs(pseudonyms: LogPseudonyms) -> None:
    """Has every handler of the root logger mask its lines."""
    for handler in logging.getLogger().handlers:
        if not isinstance(handler.formatter, MaskedFormatter):
            handler.setFormatter(MaskedFormatter(handler.formatter or logging.Formatter(), pseudonyms))


def _told(error: BaseException) -> list[str]:
    """A trace, the cause's first."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = [] if before is None else [*_told(before), "\nwhich led to:\n"]
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    words = f": {error}" if isinstance(error, _TOLD) else ""
    return [*lines, *traceback.format_tb(error.__traceback__), f"{name}{words}\n"]
