"""The test behind the guard: whether one rate is more than so many times another, beyond doubt.

Of the customers of two versions some count as bad. If the new version were bad at most `times` as often as the old one,
then, given how many are bad in all, the number among them that are the new version's would be at most binomial with
the chance n_new x times / (n_new x times + n_old). The p-value is the tail of that distribution: the exact conditional
test of the ratio of two rates (Przyborowski and Wilenski, 1940). It is exact where the bad are rare, and errs on the
side of caution where they are not, for shares vary less than counts.

The guard looks again and again. Its chance of a false alarm within one window is shared evenly among all its looks and
measures (Bonferroni): whatever the looks have in common only makes it smaller.
"""

from typing import NamedTuple

from scipy.special import betainc

LOOKS = 60
"""Looks within one window."""
MEASURES = 3


class Count(NamedTuple):
    """Customers, and those of them that count as bad."""

    customers: int
    bad: int

    @property
    def share(self) -> float:
        """Of bad ones; 0 of nobody."""
        return self.bad / self.customers if self.customers else 0.0


def excess_p_value(new: Count, old: Count, times: float) -> float:
    """How likely so many bad ones or more are among the new version's, were it bad at most `times` as often."""
    if not new.bad or not old.customers:
        return 1.0
    weight = new.customers * times
    tail: float = betainc(new.bad, old.bad + 1, weight / (weight + old.customers))
    return tail


def doubt_allowed(false_alarms: float) -> float:
    """The p-value one look at one measure has to fall below."""
    return false_alarms / (LOOKS * MEASURES)
