"""Every candidate's fate in a few kilobytes: columns over the candidates in the order the strategy gives them.

The strategy that decided names the candidates, so they need no names here. Gates judge offers, so one small number an
offer says which of the decision's distinct outcomes befell all its candidates; only those of offers that passed have
numbers of their own, by placement. A rejection by a rule of an offer's own is told by its stage and its place among
the offer's rules of that stage, so that a thousand offers with rules of their own need a handful of outcomes. Factors
stand once an offer, rounded to six digits; the value is the strategy's, the lever too unless an experiment changed it,
and the priority is left out while it is the product of the others.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, count, pairwise

import numpy as np
from numpy.typing import NDArray

from decision_engine.candidate_records import CandidateRecords, PlacementColumns
from decision_engine.decision import Candidate
from decision_engine.errors import DecisionEngineError
from decision_engine.identifiers import PlacementId
from decision_engine.offers import Offer
from decision_engine.outcomes import Fate, Stage
from decision_engine.prepared import PreparedStrategy
from decision_engine.rejected_candidates import RejectionTable
from decision_engine.rejections import PASSED, Indexes, Rejection
from decision_engine.small_integers import Integers, code_column, code_flags, decode_column, decode_flags

DIGITS = 6
"""Significant digits of a factor."""
_OFFERED, _RANKED_LOWER, _FIRST_REJECTION = 0, 1, 2
_LAYERS = (Stage.ELIGIBILITY, Stage.APPLICABILITY, Stage.SUITABILITY)
_ZERO_IF_ABSENT = ("context_weight", "resource_cost")
_MOST_PLACES = 22
"""Powers of ten up to this one are exact as floats."""
_POWERS = [float(f"1e{exponent}") for exponent in range(_MOST_PLACES + 1)]
_UP = np.array([*_POWERS, *[1.0] * _MOST_PLACES])
_DOWN = np.array([*[1.0] * (_MOST_PLACES + 1), *_POWERS[:0:-1]])
"""By the places to round to, negative ones from the end: what to multiply and to divide by."""
_BYTE = 256
"""So many different outcomes have numbers of one byte."""
_AGREES = 1e-5
"""How far, relatively, a product of rounded factors may be from the priority."""

Numbers = NDArray[np.float64]
Document = Mapping[str, object]


class CodedCandidatesUnreadable(DecisionEngineError):
    """The coded candidates are malformed, or belong to another strategy."""


@dataclass(frozen=True, slots=True)
class CandidateCoder:
    """Codes the candidates of one strategy's decisions. `keys` gives, offer by offer and number by number of a gate's
    rejection, the key of the outcome, in an offer's last column that of an offer that passed; keys of shared rejections
    are `_FIRST_REJECTION` plus their number. `row_starts` are the places of the offers in it: `PASSED` finds the last
    column of the row before, which is as good. `outcomes` remembers what stands for a key."""

    rejections: RejectionTable
    offers: tuple[Offer, ...]
    values: Numbers
    levers: Numbers
    worths: Numbers
    keys: Integers
    width: int
    row_starts: Indexes
    outcomes: MutableMapping[int, Document]

    @classmethod
    def of(cls, records: CandidateRecords) -> "CandidateCoder":
        """Lines up the outcomes, once a strategy."""
        table = records.rejections
        width = max(1, table.columns)
        first = _FIRST_REJECTION + len(table)
        keys = np.full((len(table.rules), table.gates + 1), _RANKED_LOWER, np.intp)
        keys[:, : len(table.fixed)] = _FIRST_REJECTION + np.arange(len(table.fixed))
        for offer, rules in enumerate(table.rules):
            places = {stage: count() for stage in _LAYERS}
            for number, rule in enumerate(rules, len(table.fixed)):
                if rule is not None:
                    keys[offer, number] = first + _LAYERS.index(rule.stage) * width + next(places[rule.stage])
        offers = tuple(records.scored.offers)
        starts = np.arange(len(offers)) * (table.gates + 1)
        values, levers = _declared(offers)
        return cls(table, offers, values, levers, values * (1.0 + levers / 100.0), keys.ravel(), width, starts, {})

    def code(self, records: CandidateRecords) -> dict[str, object]:
        """The columns as plain values for the record."""
        scored, gates = self._gates(records)
        fates = [_fates(columns) for columns in records.placements]
        used = np.zeros(_FIRST_REJECTION + len(self.rejections) + len(_LAYERS) * self.width, np.bool_)
        for keys in (gates, *fates):
            used[keys] = True
        kept = used.nonzero()[0].tolist()
        number_of = used.cumsum(dtype=np.uint8 if len(kept) <= _BYTE else np.intp)
        number_of -= 1
        offers = scored.nonzero()[0]
        chances = _Column.of([columns.chances for columns in records.placements])
        factors, levels = self._factors(records, offers, chances.levels)
        values, chance_of = chances.placed(levels)
        return {
            "outcomes": [self._outcome(key) for key in kept],
            "chances": values,
            "offers": code_column(number_of.take(gates)),
            "placements": [
                {
                    "placement": columns.plan.placement.id,
                    "fates": code_column(number_of.take(keys)),
                    "chances": code_column(chance),
                }
                for columns, keys, chance in zip(records.placements, fates, chance_of, strict=True)
            ],
            "factors": {"offers": code_flags(scored), **factors},
        }

    def _gates(self, records: CandidateRecords) -> tuple[NDArray[np.bool_], Integers]:
        """Per offer whether it passed every gate, and the key of the gate that stopped it; an offer that passed, or was
        not asked for, has the key of the ranked lower."""
        falls = records.falls
        passed: NDArray[np.bool_] = falls == PASSED
        gates = self.keys.take(falls + self.row_starts)
        present = [columns.plan.present for columns in records.placements]
        if not any(columns.plan.is_everywhere for columns in records.placements):
            in_play = np.logical_or.reduce(present) if present else np.zeros(len(self.offers), np.bool_)
            gates[~in_play] = _RANKED_LOWER
            passed &= in_play
        return passed, gates

    def _outcome(self, key: int) -> Document:
        known = self.outcomes.get(key)
        if known is None:
            known = self.outcomes[key] = self._new_outcome(key)
        return known

    def _new_outcome(self, key: int) -> Document:
        if key < _FIRST_REJECTION:
            return {"outcome": Fate.OFFERED if key == _OFFERED else Fate.RANKED_LOWER}
        number = key - _FIRST_REJECTION
        if number < len(self.rejections):
            shared = self.rejections[0, number]
            return {"outcome": Fate.REJECTED, "stage": shared.stage, "rule": shared.rule, "reason": shared.code}
        layer, place = divmod(number - len(self.rejections), self.width)
        return {"outcome": Fate.REJECTED, "stage": _LAYERS[layer], "own_rule": place}

    def _factors(
        self, records: CandidateRecords, offers: Indexes, others: Numbers
    ) -> tuple[dict[str, object], list[float]]:
        """The columns of these offers, and the other numbers rounded."""
        scored = records.scored
        ranking = scored.ranking
        columns = {
            "propensity": scored.propensity.take(offers),
            "context_weight": ranking.context_weights.take(offers),
            "resource_cost": ranking.resource_costs.take(offers),
        }
        # Counting tells whether anything is there in a fifth of the time of `any`.
        for name in _ZERO_IF_ABSENT:
            if not np.count_nonzero(columns[name]):
                del columns[name]
        levers, priorities = self.levers.take(offers), ranking.priorities.take(offers)
        changed = ranking.levers.take(offers)
        if np.count_nonzero(levers != changed):  # an experiment's arm changes them
            columns["lever"] = changed
        plain = len(columns) == 1 and not np.count_nonzero(
            columns["propensity"] * self.worths.take(offers) != priorities
        )
        if plain:  # what is told by the strategy and the propensity need not be worked out
            rounded = _round(np.concatenate([columns["propensity"], others]))
            return {"propensity": rounded[: len(offers)].tolist()}, rounded[len(offers) :].tolist()
        # Rounded together: for so few numbers it is the calls that take time.
        rounded = _round(np.concatenate([*columns.values(), priorities, others]))
        end = (len(columns) + 1) * len(offers)
        rows = rounded[:end].reshape(len(columns) + 1, len(offers))
        factors = dict(zip(columns, rows, strict=False))
        if not _agree(_product(factors, self.values.take(offers), levers), priorities):
            factors["priority"] = rows[-1]
        stated = {name: column.tolist() for name, column in factors.items()}
        return stated, rounded[end:].tolist()


@dataclass(frozen=True, slots=True)
class _Column:
    """Numbers of which neighbours are mostly alike: the `levels`, one for each stretch of equal ones, and the stretch
    that each number belongs to. `ends` are where one after the other the columns end that were put together."""

    levels: Numbers
    level_of: Indexes
    ends: tuple[int, ...]

    @classmethod
    def of(cls, columns: Sequence[Numbers]) -> "_Column":
        numbers = columns[0] if len(columns) == 1 else np.concatenate(columns or (np.zeros(0),))
        begins = np.ones(len(numbers), np.bool_)
        np.not_equal(numbers[1:], numbers[:-1], out=begins[1:])
        return cls(numbers[begins], begins.cumsum() - 1, tuple(accumulate(map(len, columns))))

    def placed(self, levels: Sequence[float]) -> tuple[list[float], list[Integers]]:
        """The distinct values of the levels, ascending, and each column as places among them."""
        values = sorted(set(levels))
        place_of = {value: place for place, value in enumerate(values)}
        places = np.array([place_of[level] for level in levels], np.intp).take(self.level_of)
        return values, [places[end - size : end] for end, size in self._spans()]

    def _spans(self) -> list[tuple[int, int]]:
        return [(end, end - begin) for begin, end in pairwise((0, *self.ends))]


class CandidateCoding:
    """Codes decisions; remembers the last strategy's coder, as strategies change rarely."""

    def __init__(self) -> None:
        self._coder: CandidateCoder | None = None

    def code(self, candidates: Sequence[Candidate]) -> dict[str, object]:
        """The columns as plain values. Raises TypeError for candidates that a settlement did not make."""
        if not isinstance(candidates, CandidateRecords):
            raise TypeError(f"{type(candidates).__name__} has no columns to code")
        if self._coder is None or self._coder.rejections is not candidates.rejections:
            self._coder = CandidateCoder.of(candidates)
        return self._coder.code(candidates)


def decode_candidates(coded: Document, prepared: PreparedStrategy) -> list[Candidate]:
    """Every candidate, placement by placement as asked. `prepared` is the strategy that decided.

    Raises CodedCandidatesUnreadable.
    """
    try:
        return list(_Decoder(coded, prepared).candidates())
    except (DecisionEngineError, KeyError, TypeError, ValueError, IndexError) as error:
        raise CodedCandidatesUnreadable(f"the candidates do not fit strategy {prepared.strategy.version}") from error


class _Decoder:
    """Reads one decision's columns."""

    def __init__(self, coded: Document, prepared: PreparedStrategy) -> None:
        self._prepared = prepared
        self._outcomes = [_mapping(outcome) for outcome in _sequence(coded["outcomes"])]
        self._chances = _numbers(coded["chances"])
        self._placements = [_mapping(placement) for placement in _sequence(coded["placements"])]
        self._gates = decode_column(str(coded["offers"]), len(prepared.offers)).tolist()
        self._factors = self._read_factors(_mapping(coded["factors"]))

    def candidates(self) -> Iterator[Candidate]:
        """In the order of the record."""
        for placement in self._placements:
            plan = self._prepared.placements[PlacementId(str(placement["placement"]))]
            offers = plan.offer_of.tolist()
            scored = sum(offer in self._factors for offer in offers)
            fates = iter(decode_column(str(placement["fates"]), scored).tolist())
            chances = iter(decode_column(str(placement["chances"]), scored).tolist())
            for treatment, offer in zip(plan.treatments, offers, strict=True):
                outcome = self._outcomes[next(fates) if offer in self._factors else self._gates[offer]]
                rejection = self._rejection(offer, outcome)
                factors = self._factors.get(offer)
                yield Candidate(
                    placement=plan.placement.id,
                    offer=self._prepared.offers[offer].name,
                    treatment=treatment.name,
                    fate=Fate(str(outcome["outcome"])),
                    stage=None if rejection is None else rejection.stage,
                    rule=None if rejection is None else rejection.rule,
                    code=None if rejection is None else rejection.code,
                    propensity=None if factors is None else factors["propensity"],
                    context_weight=None if factors is None else factors["context_weight"],
                    value=None if factors is None else self._prepared.offers[offer].value,
                    lever=None if factors is None else factors["lever"],
                    resource_cost=None if factors is None else factors["resource_cost"],
                    priority=None if factors is None else factors["priority"],
                    selection_probability=None if factors is None else self._chances[next(chances)],
                )

    def _rejection(self, offer: int, outcome: Document) -> Rejection | None:
        if "stage" not in outcome:
            return None
        stage = Stage(str(outcome["stage"]))
        if "own_rule" not in outcome:
            return Rejection(stage, str(outcome["rule"]), str(outcome["reason"]))
        rules = self._prepared.rejections.rules[offer]
        of_stage = [rule for rule in rules if rule is not None and rule.stage is stage]
        return of_stage[int(str(outcome["own_rule"]))]

    def _read_factors(self, coded: Document) -> dict[int, dict[str, float]]:
        """The factors by offer; a column that is not stated is zero, or the product of the others."""
        offers = np.flatnonzero(decode_flags(str(coded["offers"]), len(self._prepared.offers))).tolist()
        declared = [self._prepared.offers[offer] for offer in offers]
        absent = {name: [0.0] * len(offers) for name in _ZERO_IF_ABSENT}
        absent["lever"] = [offer.lever for offer in declared]
        columns = {"propensity": _numbers(coded["propensity"])}
        columns |= {name: _numbers(coded[name]) if name in coded else column for name, column in absent.items()}
        product = _product(columns, *_declared(declared))
        columns["priority"] = _numbers(coded["priority"]) if "priority" in coded else _round(product).tolist()
        rows = zip(*columns.values(), strict=True)
        return {offer: dict(zip(columns, row, strict=True)) for offer, row in zip(offers, rows, strict=True)}


def _fates(columns: PlacementColumns) -> Integers:
    """Per scored candidate the key of what became of it; `PASSED` and that is the key of the ranked lower."""
    keys: Integers = columns.rejections.take(columns.scored) + np.intp(_FIRST_REJECTION)
    keys[columns.scored.searchsorted(columns.offered)] = _OFFERED
    return keys


def _declared(offers: Sequence[Offer]) -> tuple[Numbers, Numbers]:
    """Values and levers."""
    values = np.array([offer.value for offer in offers], np.float64)
    return values, np.array([offer.lever for offer in offers], np.float64)


def _product(factors: Mapping[str, Sequence[float] | Numbers], values: Numbers, levers: Numbers) -> Numbers:
    """P x (1 + C/100) x V x (1 + L/100) - resource cost, of rounded factors."""
    lever = np.asarray(factors["lever"], np.float64) if "lever" in factors else levers
    weights, costs = (np.asarray(factors.get(name, 0.0)) for name in _ZERO_IF_ABSENT)
    product: Numbers = np.asarray(factors["propensity"]) * (1.0 + weights / 100.0) * values * (1.0 + lever / 100.0)
    product -= costs
    return product


def _agree(product: Numbers, priorities: Numbers) -> bool:
    """Whether all are as near as rounding leaves them."""
    with np.errstate(invalid="ignore"):
        near = np.abs(product - priorities) <= _AGREES + _AGREES * np.abs(priorities)
    return bool((near | (product == priorities)).all())


def _round(numbers: Numbers) -> Numbers:
    """To `DIGITS` significant digits, and none beyond the 22nd decimal place."""
    sizes = np.abs(numbers)
    magnitudes = np.floor(np.log10(sizes, out=np.zeros(len(sizes)), where=sizes > 0))
    places = np.minimum(np.maximum((DIGITS - 1) - magnitudes, -_MOST_PLACES), _MOST_PLACES).astype(np.intp)
    up, down = _UP.take(places), _DOWN.take(places)
    # Whole numbers and powers of ten are exact here, so the quotient is the nearest to the decimal and prints as it.
    rounded: Numbers = np.rint(numbers * up / down) / up * down
    return rounded


def _mapping(found: object) -> Document:
    if not isinstance(found, Mapping):
        raise CodedCandidatesUnreadable("an object is missing")
    return found


def _sequence(found: object) -> Sequence[object]:
    if not isinstance(found, list | tuple):
        raise CodedCandidatesUnreadable("a list is missing")
    return found


def _numbers(found: object) -> list[float]:
    numbers = [number for number in _sequence(found) if isinstance(number, int | float)]
    if len(numbers) != len(_sequence(found)):
        raise CodedCandidatesUnreadable("a list holds more than numbers")
    return [float(number) for number in numbers]
