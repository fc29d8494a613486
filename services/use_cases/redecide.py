"""Another strategy put to the recorded questions: with which chance it would have put each treatment first.

The customer, the contacts, the volumes and the models are those of the record, so this is a strategy deciding each
recorded moment anew, not one that had decided all the time. A record keeps only the attributes that its own strategy
could read; a strategy that reads others cannot be decided again from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from decision_engine.decision import Decision
from decision_engine.engine import decide, settle
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Scorer
from services.ports import ShellError
from services.use_cases.decision_record import models_used, record_data
from services.use_cases.decision_replay import LoadScorers, recorded_question


class NotRecorded(ShellError):
    """The strategy reads attributes that the records do not keep."""


class Redecider:
    """Puts recorded questions to one strategy. `strategy_of` gives the strategy of a record, None when it is not kept;
    `load` the scorers of model versions; `instead` replaces the model versions of the record by name."""

    def __init__(
        self,
        prepared: PreparedStrategy,
        strategy_of: Callable[[str], PreparedStrategy | None],
        load: LoadScorers,
        instead: Mapping[str, Scorer] | None = None,
    ) -> None:
        self._prepared = prepared
        self._strategy_of = strategy_of
        self._load = load
        self._instead = dict(instead or {})
        self._loaded: dict[tuple[str, str], Scorer] = {}
        self._checked: set[str] = set()

    def first_chances(self, record: bytes) -> dict[str, float]:
        """The chance of every treatment to stand first, what is missing to 1 being that of no offer at all.

        Only for questions about a single placement: where there are more, the chances of one depend on what was drawn
        for those before it. Raises RecordUnreadable, ReplayImpossible, NotRecorded.
        """
        self._require_recorded(record)
        scorers = {name: self._scorer(name, version) for name, version in models_used(record).items()}
        question = recorded_question(record, scorers)
        only = replace(question.request, placements=(replace(question.request.placements[0], count=1),))
        live = {**question.scorers, **self._instead}
        draft = decide(self._prepared, only, question.snapshot, question.ledger, live, question.volumes)
        decision = settle(self._prepared, draft, [0 if place else None for place in draft.reservation.positions])
        return _chances(decision)

    def _scorer(self, name: str, version: str) -> Scorer:
        if (name, version) not in self._loaded:
            self._loaded[name, version] = self._load({name: version})[name]
        return self._loaded[name, version]

    def _require_recorded(self, record: bytes) -> None:
        version = str(record_data(record).get("strategy_version"))
        if version in self._checked:
            return
        recorded = self._strategy_of(version)
        if recorded is None:
            raise NotRecorded(f"strategy {version}, which made the recorded decisions, is not kept in the archive")
        missing = sorted(set(self._prepared.attributes) - set(recorded.attributes))
        if missing:
            raise NotRecorded(
                f"the strategy reads {', '.join(missing)}, which strategy {version} did not read: "
                "its records do not say what they were"
            )
        self._checked.add(version)


def _chances(decision: Decision) -> dict[str, float]:
    """One option was asked for, so the recorded chance of every candidate is that of standing first."""
    return {
        str(candidate.treatment): candidate.selection_probability
        for candidate in decision.candidates
        if candidate.selection_probability
    }
