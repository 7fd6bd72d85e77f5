"""Statistical power: the minimum detectable difference for a number of questions, and the sample size for a difference.

The power of the paired t-test, from the noncentral t distribution (Cohen 1988, "Statistical Power Analysis for the
Behavioral Sciences", chapter 2). `spread` is the standard deviation of the per-question differences of two trials,
estimated from a pilot or an earlier experiment. `level` is the two-sided significance level per pair, below 0.05 if
many trials are compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy
from scipy import optimize, stats

from dream.comparison.intervals import Floats
from dream.errors import ConfigurationError

POWER = 0.8
DIFFERENCES = (0.02, 0.05, 0.10)
_MOST_QUESTIONS = 10_000_000


@dataclass(frozen=True)
class Power:
    """The minimum detectable difference of `n_questions` at 80 % power, and the sample size for some differences.

    `smallest` is None if even the largest possible difference, 1, has less power. `needed` is the number of questions
    by difference.
    """

    spread: float
    n_questions: int
    level: float
    smallest: float | None
    needed: Mapping[float, int]

    @property
    def text(self) -> str:
        """The minimum detectable difference and the sample sizes in two sentences."""
        shows = "no difference" if self.smallest is None else f"a difference of {self.smallest:.3f} or more"
        needs = ", ".join(f"{n:,} for {difference:.2f}" for difference, n in self.needed.items())
        return f"{self.n_questions} questions can detect {shows} (80 % power). Questions needed: {needs}."


def plan_power(spread: float, n_questions: int, level: float = 0.05) -> Power:
    """The power of an experiment with `n_questions`, given the standard deviation of per-question differences.

    Example:
        >>> plan_power(spread=0.25, n_questions=200).needed
        {0.02: 1229, 0.05: 199, 0.1: 52}
    """
    needed = {difference: questions_needed(difference, spread, level) for difference in DIFFERENCES}
    return Power(spread, n_questions, level, smallest_difference(spread, n_questions, level), needed)


def spread_of(differences: Floats) -> float:
    """The sample standard deviation of per-question differences, without missing values (NaN).

    Raises:
        ConfigurationError: with fewer than two differences.
    """
    values = numpy.asarray(differences, float)
    values = values[~numpy.isnan(values)]
    if len(values) < 2:
        raise ConfigurationError(f"{len(values)} difference(s): a spread needs a pilot of at least two questions")
    return float(values.std(ddof=1))


def power(difference: float, spread: float, n_questions: int, level: float = 0.05) -> float:
    """The probability that a two-sided paired t-test detects a true `difference` in the right direction.

    0 with fewer than two questions.

    Example:
        >>> round(power(0.5, 1.0, 34), 3)  # Cohen's effect size d = 0.5
        0.808
    """
    _check(spread, n_questions, level)
    if n_questions < 2:
        return 0.0
    if spread == 0:
        return float(difference != 0)
    degrees, shift = n_questions - 1, abs(difference) / spread * n_questions**0.5
    edge = stats.t.isf(level / 2, degrees)
    if shift > edge + 40:  # far beyond what the noncentral distribution can be computed for, and certain
        return 1.0
    return float(stats.nct.sf(edge, degrees, shift))


def smallest_difference(spread: float, n_questions: int, level: float = 0.05, chance: float = POWER) -> float | None:
    """The smallest true difference that is detected with probability `chance`; None if not even 1 is.

    Example:
        >>> round(smallest_difference(spread=0.3, n_questions=50), 3)
        0.121
    """
    if power(1.0, spread, n_questions, level) < chance:
        return None
    if spread == 0:
        return 0.0
    root: Any = optimize.brentq(lambda size: power(size, spread, n_questions, level) - chance, 1e-9, 1.0)
    return float(root)


def questions_needed(difference: float, spread: float, level: float = 0.05, chance: float = POWER) -> int:
    """The smallest number of questions that detect a true `difference` with probability `chance`, at most 10 million.

    Raises:
        ConfigurationError: for a difference that is not above 0.

    Example:
        >>> questions_needed(0.5, 1.0)
        34
    """
    if not difference > 0:
        raise ConfigurationError(f"difference={difference}: give a number above 0, such as 0.05")
    low, high = 1, 2
    while power(difference, spread, high, level) < chance and high < _MOST_QUESTIONS:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(difference, spread, middle, level) >= chance else (middle, high)
    return high


def _check(spread: float, n_questions: int, level: float) -> None:
    if not 0 <= spread < numpy.inf or n_questions < 1 or not 0 < level < 1:
        raise ConfigurationError(
            f"spread={spread}, n_questions={n_questions}, level={level}: "
            "give a spread of at least 0, at least one question, and a level between 0 and 1"
        )
