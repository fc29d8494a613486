"""Inverse-gap weighting: the further a candidate is behind the leader, the less often it is tried.

Of K candidates each but the leader is chosen with probability

    1 / (K + gamma x gap),   gap = (leader's priority - its priority) / |leader's priority|,

and the leader with the rest, which is at least 1 / K. A larger gamma explores less.

Source: N. Abe, P. M. Long, Associative reinforcement learning using linear probabilistic concepts, ICML 1999; as
SquareCB in D. Foster, A. Rakhlin, Beyond UCB: optimal and efficient contextual bandits with regression oracles,
ICML 2020. Gaps are relative to the leader here, so that gamma means the same for small and for large values.
"""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def inverse_gap_chances(priorities: Numbers, gamma: float) -> Numbers:
    """The chances of candidates of these priorities; the first is the leader. They sum to 1."""
    leader = float(priorities[0])
    if leader == 0.0:
        return np.asarray(np.eye(1, len(priorities))[0], np.float64)
    gaps = np.maximum((leader - priorities) / abs(leader), 0.0)
    chances = np.asarray(1.0 / (len(priorities) + gamma * gaps), np.float64)
    chances[0] = 0.0
    chances[0] = 1.0 - chances.sum()
    return chances
