"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

PLAIN_SECONDS = 5.0


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes the number done so far. Writes to standard error."""
    if sys.stderr.isatty():
        with _bar(title, total, done) as update:
            yield update
        return
    update_plainly = _PlainLines(title, total, done)
    yield update_plainly
    update_plainly.finish()


class _PlainLines:
    def __init__(self, title: str, total: int, done: int) -> None:
        self._title, self._total = title, total
        self._done, self._before = done, done
        self._said_at = self._started = monotonic()

    def __call__(self, done: int) -> None:
        self._done = done
        if monotonic() - self._said_at >= PLAIN_SECONDS:
            self._say()

    def finish(self) -> None:
        self._say()

    def _say(self) -> None:
        self._said_at = monotonic()
        elapsed = self._said_at - self._started
        rate = (self._done - self._before) / elapsed if elapsed > 0 else 0.0
        share = 100 * self._done / self._total if self._total else 100.0
        left = f", {(self._total - self._done) / rate:,.0f} s left" if rate and self._done < self._total else ""
        sys.stderr.write(
            f"{self._title}: {self._done:,} of {self._total:,} ({share:.0f} %) after {elapsed:.1f} s, "
            f"{rate:,.0f} a second{left}\n"
        )
        sys.stderr.flush()


@contextmanager
def _bar(title: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """How many a second."""

        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.0f}/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, completed=done)
        yield lambda count: bar.update(task, completed=count)
