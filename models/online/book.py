"""The evidence of one partition of the log, kept up to date fact by fact: who was decided for, shown and convinced.

A book says which of its entries a batch has changed, so that whoever keeps it writes only those, together with how far
the log was taken. Facts may come in any order, and again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from decision_engine.online import OnlineLearning
from models.online.evidence import Cell, CellKey, weight
from models.online.impressions import Counted, Pending, accepted_step, changes, steps_passed
from models.online.pending_options import DueRows, PendingOptions

_DAY_MS = 86_400_000
_NEGLIGIBLE = 1e-6
"""Exposure that no estimate would miss."""


@dataclass(slots=True)
class Tally:
    """What a book has done since it was last asked."""

    impressions: int = 0
    acceptances: int = 0
    closed: int = 0
    shed: int = 0
    """Facts about options that there was no room for."""


@dataclass(slots=True)
class Book:
    """Cells and pending options; `touched_cells` and `touched_options` are those changed since they were last saved.

    While it is `full` options not known yet are passed over, whatever becomes of them: all that is counted is still of
    the same impressions, of which there are fewer."""

    terms: OnlineLearning
    cells: dict[CellKey, Cell] = field(default_factory=dict)
    stored: Iterable[tuple[str, Pending]] = ()
    """Options to begin with."""
    options: PendingOptions = field(init=False)
    full: bool = False
    touched_cells: set[CellKey] = field(default_factory=set)
    touched_options: set[str] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    _due: DueRows = field(default_factory=DueRows)
    _steps_ms: tuple[int, ...] = ()
    _half_life_ms: float = 0.0
    _cleaned_ms: int = 0

    def __post_init__(self) -> None:
        self._steps_ms = tuple(1000 * step for step in self.terms.steps)
        self._half_life_ms = 1000.0 * self.terms.half_life_seconds
        self.options = PendingOptions(self._accepted_step)
        for name, option in self.stored:
            row = self.options.add(name)
            self.options.put(row, option)
            self._due.add(row, self._due_ms(option))
        self.stored = ()

    def decided(self, tracking_id: str, cell: CellKey, exposure: float, at_ms: int) -> None:
        """An option was offered; `exposure` is what is expected of it per unit of the multiplier."""
        row, option = self._option(tracking_id, at_ms)
        if option is not None and option.cell is None:
            option.cell, option.exposure = cell, exposure
            self._note(tracking_id, row, option)

    def seen(self, tracking_id: str, at_ms: int) -> None:
        """It was seen; the first time counts."""
        row, option = self._option(tracking_id, at_ms)
        if option is not None and (option.seen_ms is None or at_ms < option.seen_ms):
            option.seen_ms = at_ms
            self._note(tracking_id, row, option)

    def accepted(self, tracking_id: str, at_ms: int) -> None:
        """It was accepted; the first time counts."""
        row, option = self._option(tracking_id, at_ms)
        if option is not None and (option.accepted_ms is None or at_ms < option.accepted_ms):
            option.accepted_ms = at_ms
            self._note(tracking_id, row, option)

    def advance(self, now_ms: int) -> None:
        """Counts what has come of age by now, and lets go of what is over."""
        later: dict[int, int] = {}
        for row in self._due.take(now_ms):
            if self.options.is_used(row):
                due_ms = self._look(row, now_ms)
                if due_ms is not None:
                    later[row] = due_ms
        for row, due_ms in later.items():
            if self.options.is_used(row):
                self._due.add(row, due_ms)
        if now_ms - self._cleaned_ms > _DAY_MS:
            self._clean(now_ms)

    def saved(self) -> None:
        """Everything touched is kept elsewhere now."""
        self.touched_cells.clear()
        self.touched_options.clear()

    def _look(self, row: int, now_ms: int) -> int | None:
        """Counts what has come of age of an option; says for when it is to be noted next, None when it is not."""
        option = self.options.at(row)
        due_ms = self._due_ms(option)
        if due_ms > now_ms:  # it stands where it is due, unless that was taken too
            return due_ms if self._due.is_taken(due_ms, now_ms) else None
        name = self.options.name(row)
        self._count(option, now_ms)
        self.touched_options.add(name)
        if self._is_over(option, now_ms):
            self.tally.closed += option.counted is not None
            del self.options[name]
            return None
        self.options.put(row, option)
        return self._due_ms(option)

    def _option(self, tracking_id: str, at_ms: int) -> tuple[int, Pending | None]:
        """The option and its row; None of one that there is no room for."""
        row = self.options.row(tracking_id)
        if row is not None:
            return row, self.options.at(row)
        if self.full:
            self.tally.shed += 1
            return -1, None
        option, row = Pending(noted_ms=at_ms), self.options.add(tracking_id)
        self._note(tracking_id, row, option)
        return row, option

    def _note(self, name: str, row: int, option: Pending) -> None:
        """It changed: what was counted of it may have been wrong, and it may be due sooner."""
        self.touched_options.add(name)
        if option.counted is not None:
            self._recount(option, option.counted.steps)
        self.options.put(row, option)
        self._due.add(row, self._due_ms(option))

    def _count(self, option: Pending, now_ms: int) -> None:
        if option.cell is None or option.seen_ms is None:
            return
        if option.counted is None:
            self.tally.impressions += 1
        self._recount(option, steps_passed(option.seen_ms, now_ms, self._steps_ms))

    def _recount(self, option: Pending, steps: int) -> None:
        cell, seen_ms = option.cell, option.seen_ms
        if cell is None or seen_ms is None:
            return
        before = option.counted
        after = Counted(seen_ms, steps, self._accepted_step(seen_ms, option.accepted_ms))
        for part in changes(before, after, option.exposure):
            sums = self.cells.get(cell)
            if sums is None:
                sums = self.cells[cell] = Cell.empty(part.seen_ms, len(self._steps_ms))
            factor = sums.factor(part.seen_ms, self._half_life_ms)
            sums.accepted[part.step] += factor * part.accepted
            sums.exposed[part.step] += factor * part.exposed
            self.tally.acceptances += int(part.accepted)
            self.touched_cells.add(cell)
        option.counted = after

    def _accepted_step(self, seen_ms: int, accepted_ms: int | None) -> int | None:
        return accepted_step(seen_ms, accepted_ms, self._steps_ms)

    def _due_ms(self, option: Pending) -> int:
        """When it is to be looked at next."""
        if option.cell is None or option.seen_ms is None:
            return option.noted_ms + self._steps_ms[-1] + _DAY_MS
        passed = 0 if option.counted is None else option.counted.steps
        return option.seen_ms + self._steps_ms[min(passed, len(self._steps_ms) - 1)]

    def _is_over(self, option: Pending, now_ms: int) -> bool:
        if option.cell is None or option.seen_ms is None:
            return True
        return steps_passed(option.seen_ms, now_ms, self._steps_ms) == len(self._steps_ms)

    def _clean(self, now_ms: int) -> None:
        """Forgets cells of which nothing is left, as of versions long gone."""
        self._cleaned_ms = now_ms
        for key, cell in list(self.cells.items()):
            left = weight(max(0, now_ms - cell.at_ms), self._half_life_ms)
            if left * max(map(abs, cell.exposed)) < _NEGLIGIBLE:
                del self.cells[key]
                self.touched_cells.add(key)


def pending_by_state(book: Book) -> Mapping[str, int]:
    """How many options wait: `seen` for their steps, `unseen` for an impression."""
    seen = book.options.seen_count()
    return {"seen": seen, "unseen": len(book.options) - seen}
