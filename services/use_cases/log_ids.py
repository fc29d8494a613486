"""Which decision, request and trace the work at hand belongs to, for whoever writes a line of the log."""

from collections.abc import Mapping
from contextvars import ContextVar

LOG_IDS: ContextVar[Mapping[str, str] | None] = ContextVar("kairos_log_ids", default=None)
"""Ids by name (`decision_id`, `request_id`, `trace_id`), never attributes; None outside of any request."""
