"""Whether a fitted version may serve: it must tell customers apart, and say more than the base rates do."""

from models.manifest import Manifest


def promotion_problems(manifest: Manifest) -> list[str]:
    """Why the version must not be promoted; empty when it may. Both checks use the 95 % interval's lower end."""
    problems = []
    ranking, gain = manifest.metrics.get("auc"), manifest.metrics.get("log_loss_gain")
    if ranking is None or ranking.low is None or ranking.low <= 0.5:
        shown = "unknown" if ranking is None else f"{ranking.value:.3f} from {ranking.low}"
        problems.append(f"AUC is not above 0.5 beyond doubt ({shown})")
    if gain is None or gain.low is None or gain.low <= 0.0:
        shown = "unknown" if gain is None else f"gain {gain.value:.5f} from {gain.low}"
        problems.append(f"log loss is not below that of the base rates beyond doubt ({shown})")
    return problems
