"""`kairos simulate`: what policies are truly worth on the simulated bank, whose response model is known."""

import argparse
import os
import sys
from pathlib import Path

from models.decision_log.records import read_decisions
from services.adapters.file_strategy_source import load_strategy_file
from services.bootstrap import strategy_finder
from services.commands.day_simulation import add_day_arguments, simulate_strategy
from services.commands.scarcity_report import CUSTOMERS, DAYS, SEEDS, compare_scarcity, print_scarcity
from services.settings import read_settings
from services.simulation.archived_policies import ArchiveJudge
from services.simulation.closed_loop import LoopConfig, LoopResult, TrainedModel, run_closed_loop
from services.simulation.policy_value import BEST_SINGLE, ORACLE, RANDOM, PolicyComparison, compare_policies
from services.simulation.population import make_population
from services.simulation.served_decisions import BASE_RATE_POLICY, MODEL_POLICY

NAME = "simulate"
HELP = "a draft strategy over a recorded day; or policies by the known truth of the simulated bank"
EXAMPLE = "kairos simulate policies --customers 1000 --days 8 --seed 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which bank, which strategy, and whether to run the loop or to judge an archive."""
    parser.add_argument(
        "what", nargs="?", choices=("policies", "scarcity", "strategy"), default="policies",
        help="policies: the closed loop in one process (the default); with --decisions-archive the archive is judged. "
        "scarcity: sharing out scarce stock and budgets by dual prices, plain pacing and first come. "
        "strategy: a draft decides a recorded day again, beside the active strategy",
    )  # fmt: skip
    parser.add_argument("--decisions-archive", type=Path, help="judge the decisions of this archive instead")
    parser.add_argument("--strategy", type=Path, help="file or folder (default: KAIROS_STRATEGY_PATH)")
    parser.add_argument("--customers", type=int, help="customers of the bank (default 1000; scarcity: 4000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the bank, its truth and the fit (default 1)")
    parser.add_argument("--history-days", type=int, default=30, help="days before the first offer (default 30)")
    parser.add_argument("--exploration-days", type=int, default=20, help="days on base rates (default 20)")
    parser.add_argument("--days", type=int, help="days measured with the model (default 8; scarcity: 5)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="scarcity: banks compared, from --seed on (default 6)")
    parser.add_argument("--epsilon", type=float, help="share of explored decisions (default: the strategy's own)")
    add_day_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the table. Raises StrategyInvalid, NothingToCompare, SimulationRefused."""
    if args.what == "strategy":
        return simulate_strategy(args)
    if args.what == "scarcity":
        seeds = range(args.seed, args.seed + max(1, args.seeds))
        print_scarcity(compare_scarcity(args.customers or CUSTOMERS, args.days or DAYS, seeds, _progress))
        return 0
    args.customers, args.days = args.customers or 1000, args.days or 8
    path = args.strategy or read_settings(os.environ).strategy_path
    strategy = load_strategy_file(path)
    if args.decisions_archive is not None:
        judge = ArchiveJudge(strategy, make_population(args.customers, args.seed), args.seed)
        decisions = read_decisions(args.decisions_archive, strategy_of=strategy_finder(read_settings(os.environ)))
        print_comparison(compare_policies(judge.judge(decisions), args.seed))
        return 0
    config = LoopConfig(
        strategy=strategy,
        customers=args.customers,
        history_days=args.history_days,
        exploration_days=args.exploration_days,
        measured_days=args.days,
        seed=args.seed,
        exploration_epsilon=args.epsilon,
    )
    print_result(run_closed_loop(config, _progress))
    return 0


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def print_result(result: LoopResult) -> None:
    """The loop's outcome as text."""
    print(f"learnt from {result.learnt_from:,} decisions on base rates with {result.accepted:,} acceptances")
    print(f"{result.events_folded:,} events folded into the states that were read")
    for model in result.models:
        print(f"  model {model.name}: {_model(model)}")
    print_comparison(result.comparison)


def print_comparison(comparison: PolicyComparison) -> None:
    """Values with intervals, then the uplifts over the two simple policies."""
    print(
        f"\n{comparison.decisions:,} decisions of {comparison.customers:,} customers had a choice; true expected value"
    )
    print("per decision in minor units, 95 % interval by bootstrap over customers\n")
    print(f"{'policy':<28}{'value':>10}{'low':>10}{'high':>10}{'of oracle':>11}")
    for row in comparison.values:
        print(f"{row.policy:<28}{row.mean:>10.1f}{row.low:>10.1f}{row.high:>10.1f}{row.share_of_oracle:>10.1%}")
    print(f"\nbest single offer: {comparison.best_offer}\n")
    for uplift in comparison.uplifts:
        learnt = (uplift.policy, uplift.baseline) == (MODEL_POLICY, BASE_RATE_POLICY)
        simple = uplift.baseline in (RANDOM, BEST_SINGLE) and uplift.policy not in (RANDOM, BEST_SINGLE, ORACLE)
        if learnt or simple:
            interval = f"[{uplift.low:+.1%}, {uplift.high:+.1%}]"
            print(f"{uplift.policy} over {uplift.baseline}: {uplift.mean:+.1%} {interval}")


def _model(model: TrainedModel) -> str:
    if model.refused is not None:
        return f"stays on base rates: {model.refused}"
    return f"{model.rows:,} rows, {model.positives:,} positive, AUC {model.auc:.3f} on the held-out fifth"
