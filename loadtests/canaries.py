"""What no log, metric, trace, refusal or reason may repeat: names, numbers, ids seeded wherever a value may stand."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from services.adapters.log_masking import mask_logs
from services.bootstrap import LIBRARY_LEVELS
from services.use_cases.log_pseudonyms import LogPseudonyms

CANARIES = ("13800138000", "zhang-canary", "6222020200112233445", "canary@example.com", "王金丝雀")
CUSTOMERS = ("retail:13800138000", "corp:zhang-canary")


def seeded_in(text: str) -> list[str]:
    """What of the seeded stands in the text, with some of its surroundings."""
    places = [text.index(each) for each in (*CANARIES, *CUSTOMERS) if each in text]
    return [text[max(0, place - 80) : place + 80] for place in places]


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Everything that the program logs meanwhile, as it would write it."""
    text = io.StringIO()
    root, handler = logging.getLogger(), logging.StreamHandler(text)
    libraries = {logging.getLogger(name): level for name, level in LIBRARY_LEVELS.items()}
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s %(action)s", defaults={"action": ""}))
    levels = {logger: logger.level for logger in (root, *libraries)}
    formatters = [(other, other.formatter) for other in root.handlers]
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for logger, level in libraries.items():
        logger.setLevel(level)
    mask_logs(LogPseudonyms("key"))
    try:
        yield text
    finally:
        root.removeHandler(handler)
        for logger, level in levels.items():
            logger.setLevel(level)
        for other, formatter in formatters:
            other.setFormatter(formatter)
