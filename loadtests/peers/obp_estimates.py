"""The Open Bandit Pipeline's own estimates, as JSON, for the log and the slates of an .npz file given by path.

Runs in the environment of `make setup-obp`: obp 0.4.1 without its dependencies. Its estimators mention torch only in
annotations and in type tests of a code path for tensors, so an empty stand-in with the one name they ask for is put in
its place; its packages are entered without their `__init__`, which would import its neural learners and plots.
"""

import importlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np

SEED, SIMULATIONS, CAMPAIGN, PLACES = 12345, 100_000, "all", 3
"""As in the published quick start."""
ESTIMATORS = {
    "IPS": "InverseProbabilityWeighting",
    "SNIPS": "SelfNormalizedInverseProbabilityWeighting",
    "DM": "DirectMethod",
    "DR": "DoublyRobust",
    "SN-DR": "SelfNormalizedDoublyRobust",
}


def load(name: str) -> ModuleType:
    """A module of obp without the `__init__` of its package."""
    package = name.rpartition(".")[0]
    if package not in sys.modules:
        spec = find_spec("obp")
        assert spec is not None and spec.submodule_search_locations is not None
        root = Path(next(iter(spec.submodule_search_locations)))
        shell = ModuleType(package)
        shell.__path__ = [str(root.joinpath(*package.split(".")[1:]))]
        sys.modules[package] = shell
    return importlib.import_module(name)


def stand_in_for_torch() -> None:
    """The one name that the estimators mention."""
    torch = ModuleType("torch")
    torch.Tensor = type("Tensor", (), {})
    sys.modules["torch"] = torch


def main() -> int:
    """Prints one JSON object: the Thompson policy's chances, and every estimate."""
    stand_in_for_torch()
    given = dict(np.load(sys.argv[1]))
    actions = int(given["actions"])
    policy = load("obp.policy.contextfree").BernoulliTS(
        n_actions=actions, len_list=PLACES, is_zozotown_prior=True, campaign=CAMPAIGN, random_state=SEED
    )
    chances = policy.compute_batch_action_dist(n_rounds=1, n_sim=SIMULATIONS)[0]
    module = load("obp.ope.estimators")
    weights = chances[given["action"], given["position"]] / given["pscore"]
    found = {}
    for title, clip in (("", None), ("clipped ", float(given["clip"]))):
        # Their weights are chance / pscore: a larger pscore where the weight is above the limit is the clipped weight.
        pscore = (
            given["pscore"]
            if clip is None
            else np.where(weights > clip, given["pscore"] * weights / clip, given["pscore"])
        )
        log = {
            "reward": given["reward"],
            "action": given["action"],
            "position": given["position"],
            "pscore": pscore,
            "action_dist": np.tile(chances, (len(weights), 1, 1)),
            "estimated_rewards_by_reg_model": given["predicted"],
        }
        for name, theirs in ESTIMATORS.items():
            found[title + name] = float(getattr(module, theirs)().estimate_policy_value(**log))
    unclipped = {**log, "pscore": given["pscore"]}
    found["switch-DR"] = float(module.SwitchDoublyRobust(tau=float(given["clip"])).estimate_policy_value(**unclipped))
    print(json.dumps({"chances": chances.tolist(), "estimates": found, "slates": slate_estimates(given)}))
    return 0


def slate_estimates(given: dict[str, np.ndarray]) -> dict[str, float]:
    """Their three slate estimators on the given slates; chances are joint for them where ours are conditional."""
    module = load("obp.ope.estimators_slate")
    rewards, logged, target = given["slate_rewards"], given["slate_logged"], given["slate_target"]
    count, width = rewards.shape
    log = {
        "slate_id": np.repeat(np.arange(count), width),
        "position": np.tile(np.arange(width), count),
        "reward": rewards.ravel(),
    }
    joint = [np.cumprod(grid, axis=1) for grid in (logged, target)]
    whole = [np.repeat(grid[:, -1:], width, axis=1).ravel() for grid in joint]
    item, cascade, standard = (
        module.SlateIndependentIPS(len_list=width),
        module.SlateRewardInteractionIPS(len_list=width),
        module.SlateStandardIPS(len_list=width),
    )
    return {
        "item_position": float(
            item.estimate_policy_value(
                **log,
                pscore_item_position=given["slate_logged_at"].ravel(),
                evaluation_policy_pscore_item_position=given["slate_target_at"].ravel(),
            )
        ),
        "cascade": float(
            cascade.estimate_policy_value(
                **log, pscore_cascade=joint[0].ravel(), evaluation_policy_pscore_cascade=joint[1].ravel()
            )
        ),
        "standard": float(standard.estimate_policy_value(**log, pscore=whole[0], evaluation_policy_pscore=whole[1])),
    }


if __name__ == "__main__":
    sys.exit(main())
