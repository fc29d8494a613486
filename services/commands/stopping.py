"""How a role is told to stop."""

import asyncio
import signal


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM or Ctrl-C sets; to be called inside the running loop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
