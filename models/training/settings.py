"""How a model is fitted: what a strategy declares for it, and the parameters of the trees."""

from dataclasses import dataclass

from decision_engine.model_training import Balance


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How to fit. `threads` bounds the processor use; the result depends on the seed, not on the threads. `tune` is
    how many sets of parameters are tried on the validation part (0: these here). `rising` and `falling` name columns
    the score may only follow; `calibrate_by` names text columns whose categories are calibrated each by itself. With
    `half_life_rows` (0: not) a row so many rows older counts half, `rounds` trees are grown on everything, and are not
    calibrated, by category or at all: for a log whose customs change faster than a validation part can be spared. With
    `regrow` no row is spared in what serves, once the same done with earlier rows was judged; `rehearse_from_ms` says
    from when on (epoch milliseconds) its rehearsal must not know the rows, if later than the held-out part begins."""

    seed: int = 7
    threads: int = 1
    rounds: int = 400
    patience: int = 40
    learning_rate: float = 0.05
    leaves: int = 15
    min_rows_in_leaf: int = 40
    feature_fraction: float = 0.5
    bagging_fraction: float = 0.8
    lambda_l2: float = 5.0
    least_rows: int = 500
    least_positives: int = 50
    tune: int = 0
    rising: tuple[str, ...] = ()
    falling: tuple[str, ...] = ()
    balance: Balance = Balance.NONE
    calibrate_by: tuple[str, ...] = ()
    half_life_rows: int = 0
    regrow: bool = False
    rehearse_from_ms: int = 0
