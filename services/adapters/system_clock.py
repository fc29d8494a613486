"""The wall clock as epoch milliseconds."""

import time


class SystemClock:
    """Implements `ports.Clock` with the operating system's time (UTC)."""

    def now_ms(self) -> int:
        """Epoch milliseconds now."""
        return time.time_ns() // 1_000_000
