"""Work that goes on in the background while something else is done, and that is missed when it ends in an error."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

_log = logging.getLogger(__name__)


@asynccontextmanager
async def running_beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """The work runs as a task of this name while the context lasts, and is cancelled and waited for on leaving.

    If it fails before, whatever the context holds is cancelled at once, and what the work failed with is raised:
    nothing goes on as if what should run beside it still did. Work that simply ends is missed by nobody.
    """
    holder = asyncio.current_task()
    task = asyncio.create_task(work, name=name)
    interrupted = False

    def ended(_: "asyncio.Task[None]") -> None:
        nonlocal interrupted
        if task.cancelled() or (error := task.exception()) is None:
            return
        _log.error("%s failed: %r", name, error, extra={"action": "what it ran beside is ended"})
        interrupted = holder is not None and holder.cancel()

    task.add_done_callback(ended)
    try:
        yield
    except asyncio.CancelledError:
        if not interrupted or holder is None:
            raise
        interrupted = False
        if holder.uncancel() > 0:  # cancelled by others as well; only our own interruption turns into the error below
            raise
    finally:
        task.remove_done_callback(ended)
        if interrupted and holder is not None:
            holder.uncancel()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
