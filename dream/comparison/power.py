"""Statistical power: the minimum detectable difference of a number of questions, and the sample size for a difference.

For two trials it is the power of the paired t-test, from the noncentral t distribution (Cohen 1988, "Statistical Power
Analysis for the Behavioral Sciences", chapter 2). For more trials it is the probability that a trial that is worse than
all others, which are equal, is left out of the set of the best, with the studentised range in place of the sign flips
(Tukey 1953, "The Problem of Multiple Comparisons"). The degrees of freedom are those of the documents.

`spread` is the standard error of a difference times the root of the number of questions: the standard deviation of the
per-question differences of two trials if every question has its own document, and more if the questions of a document
are alike. It holds for as many questions per document as the pilot has. `level` is the two-sided significance level per
pair of two trials.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil
from typing import Any

import numpy
from numpy.typing import NDArray
from scipy import optimize, stats

from dream.comparison.bounded import CONSTANT
from dream.comparison.intervals import CONFIDENCE, Floats, columns
from dream.comparison.ranking import Standing
from dream.comparison.score_table import ScoreTable
from dream.errors import ConfigurationError

POWER = 0.8
DIFFERENCES = (0.02, 0.05, 0.10)
FEWEST_FOR_POWER = 5
_MOST_QUESTIONS = 10_000_000
_POOLED = 2  # trials share much of their noise, so their degrees of freedom add up only partly (by simulation)
_LARGE, _DRAWS = 100, 10_000


@dataclass(frozen=True)
class Power:
    """The minimum detectable difference of `n_questions` at 80 % power, and the sample size for some differences.

    Attributes:
        smallest: None if even the largest possible difference, 1, has less power.
        needed: the number of questions by difference; `documents` the number of documents, with as many questions per
            document as in the pilot.
        n_documents: None if every question counts as its own document.
        level: the two-sided error level at which a t-test of one pair is as strict as the set of the best.
        more_questions: the minimum detectable difference with twice the questions on the same documents; None if
            unknown. `more_documents`: with twice the documents and twice the questions.
    """

    spread: float
    n_questions: int
    level: float
    smallest: float | None
    needed: Mapping[float, int]
    n_documents: int | None = None
    n_trials: int = 2
    documents: Mapping[float, int] = field(default_factory=dict)
    more_questions: float | None = None
    more_documents: float | None = None

    @property
    def text(self) -> str:
        """Two or three sentences about the minimum detectable difference, the sample sizes, and the gain of more
        questions."""
        shows = "no difference" if self.smallest is None else f"a difference of {self.smallest:.3f} or more"
        needs = ", ".join(f"{self._needs(difference)} for {difference:.2f}" for difference in self.needed)
        asked = f"{self.n_questions} questions{f' from {self.n_documents} documents' if self.n_documents else ''}"
        gains = ""
        if self.more_questions is not None and self.more_documents is not None:
            gains = (
                f" Twice the questions on the same documents could detect {self.more_questions:.3f}, twice the "
                f"documents with twice the questions {self.more_documents:.3f}."
            )
        return f"{asked} can detect {shows} (80 % power). Questions needed: {needs}.{gains}"

    def _needs(self, difference: float) -> str:
        documents = f" from {self.documents[difference]:,} documents" if self.documents else ""
        return f"{self.needed[difference]:,}{documents}"

    def needed_for(self, difference: float) -> int:
        """The number of questions that detect a difference, with as many questions per document as here."""
        return questions_needed(
            difference, self.spread, self.level, per_document=self._per_document, n_trials=self.n_trials
        )

    def planned(self, n_questions: int) -> "Power":
        """The power of another number of questions, with as many questions per document as here."""
        n_documents = self.n_documents and max(round(n_questions / self._per_document), 1)
        return plan_power(self.spread, n_questions, self.level, n_documents=n_documents, n_trials=self.n_trials)

    @property
    def _per_document(self) -> float:
        return self.n_questions / self.n_documents if self.n_documents else 1.0


def plan_power(
    spread: float,
    n_questions: int,
    level: float = 0.05,
    *,
    n_documents: int | None = None,
    n_trials: int = 2,
    between: float | None = None,
) -> Power:
    """The power of an experiment with `n_questions`.

    Args:
        spread: see the module.
        level: of one pair, if `n_trials` is 2.
        n_documents: the number of source documents; None: every question has its own.
        between: the part (0 to 1) of the variance of the mean difference that remains with more questions on the same
            documents; None if unknown.

    Example:
        >>> plan_power(spread=0.25, n_questions=200).needed
        {0.02: 1229, 0.05: 199, 0.1: 52}
    """
    per_document = n_questions / n_documents if n_documents else 1.0
    needed = {
        difference: questions_needed(difference, spread, level, per_document=per_document, n_trials=n_trials)
        for difference in DIFFERENCES
    }
    smallest = smallest_difference(spread, n_questions, level, n_documents=n_documents, n_trials=n_trials)
    documents = {difference: ceil(n / per_document) for difference, n in needed.items()} if n_documents else {}
    more_questions = more_documents = None
    if n_documents and between is not None and smallest is not None:
        more_questions = smallest * ((1 + between) / 2) ** 0.5
        more_documents = smallest_difference(
            spread, 2 * n_questions, level, n_documents=2 * n_documents, n_trials=n_trials
        )
    return Power(
        spread, n_questions, level, smallest, needed, n_documents, n_trials, documents, more_questions, more_documents
    )


def power_of(ordered: Sequence[Standing], ranked: ScoreTable, level: float) -> Power | None:
    """The power of a comparison of these trials, for a pair of median spread.

    Args:
        ordered: the standings, the best first.
        ranked: the scores of the ranked trials, in the same order.
        level: of a pair (`dream.comparison.ranking.standings`).

    Returns:
        None if no two trials have different scores, with fewer than 5 questions, or if all differences are almost
            constant: their spread then ignores rare losses, which betting intervals allow for
            (`dream.comparison.bounded`).
    """
    varying = [standing for standing in ordered if CONSTANT not in standing.interval_by]
    differences = [standing.difference for standing in varying if standing.difference]
    spreads = [each.error * each.n**0.5 for each in differences if each.error]
    n_questions = ordered[0].n_questions
    if not spreads or n_questions < FEWEST_FOR_POWER:
        return None
    n_documents = len(set(ranked.clusters.tolist()))
    return plan_power(
        float(numpy.median(spreads)),
        n_questions,
        level,
        n_documents=n_documents if n_documents < n_questions else None,
        n_trials=len(ranked.results),
        between=between_share(ranked.values[:, 1:] - ranked.values[:, :1], ranked.clusters),
    )


def between_share(differences: Floats, clusters: NDArray[numpy.int64]) -> float | None:
    """The part (0 to 1) of the variance of a mean difference that remains with more questions on the same documents,
    the median over the pairs: 1 - the variance within documents / questions / the squared standard error (analysis of
    variance; Fisher 1925, "Statistical Methods for Research Workers", chapter 7).

    Args:
        differences: questions x pairs of trials, NaN if missing.

    Returns:
        None if no document has several questions, or nothing differs.
    """
    block, seen = columns(differences, clusters), ~numpy.isnan(differences)
    values, error = numpy.nan_to_num(differences), block.error
    with numpy.errstate(invalid="ignore", divide="ignore"):
        of_document = numpy.nan_to_num(block.sums / block.counts)[clusters]
        within = (numpy.where(seen, values - of_document, 0.0) ** 2).sum(0) / (seen.sum(0) - block.n_clusters)
        shares = 1 - within / seen.sum(0) / error**2
    shares = shares[numpy.isfinite(shares)]
    return float(numpy.clip(numpy.median(shares), 0, 1)) if len(shares) else None


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


def power(
    difference: float, spread: float, n_questions: int, level: float = 0.05, n_documents: int | None = None
) -> float:
    """The probability that a two-sided paired t-test detects a true `difference` in the right direction.

    0 with fewer than two documents (questions, if `n_documents` is None).

    Example:
        >>> round(power(0.5, 1.0, 34), 3)  # Cohen's effect size d = 0.5
        0.808
    """
    _check(spread, n_questions, level, n_documents)
    degrees = (n_documents or n_questions) - 1
    if degrees < 1:
        return 0.0
    if spread == 0:
        return float(difference != 0)
    shift = abs(difference) / spread * n_questions**0.5
    edge = stats.t.isf(level / 2, degrees)
    if shift > edge + 40:  # certain, and beyond the range in which the noncentral distribution can be computed
        return 1.0
    return float(stats.nct.sf(edge, degrees, shift))


def smallest_difference(
    spread: float,
    n_questions: int,
    level: float = 0.05,
    chance: float = POWER,
    *,
    n_documents: int | None = None,
    n_trials: int = 2,
) -> float | None:
    """The smallest true difference that is detected with probability `chance`; None if not even 1 is.

    Example:
        >>> round(smallest_difference(spread=0.3, n_questions=50), 3)
        0.121
    """
    _check(spread, n_questions, level, n_documents)
    if spread == 0 and (n_documents or n_questions) > 1:
        return 0.0
    errors = _errors_needed(n_trials, n_documents or n_questions, level, chance)
    size = errors * spread / n_questions**0.5
    return size if size <= 1.0 else None


def questions_needed(
    difference: float,
    spread: float,
    level: float = 0.05,
    chance: float = POWER,
    *,
    per_document: float = 1.0,
    n_trials: int = 2,
) -> int:
    """The smallest number of questions that detect a true `difference` with probability `chance`, at most 10 million.

    Args:
        per_document: the number of questions per document, 1 or more.

    Raises:
        ConfigurationError: for a difference that is not above 0.

    Example:
        >>> questions_needed(0.5, 1.0)
        34
    """
    if not difference > 0:
        raise ConfigurationError(f"difference={difference}: give a number above 0, such as 0.05")

    def enough(n: int) -> bool:
        documents = ceil(n / per_document - 1e-9)
        _check(spread, n, level, documents)
        if spread == 0 or documents < 2:
            return documents > 1
        return _errors_needed(n_trials, documents, level, chance) * spread / n**0.5 <= difference

    low, high = 1, 2
    while not enough(high) and high < _MOST_QUESTIONS:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _errors_needed(n_trials: int, n_documents: int, level: float, chance: float) -> float:
    """The difference, in standard errors of a difference, that is detected with probability `chance`."""
    if n_documents < 2:
        return numpy.inf
    if n_trials > 2:
        return _errors_of_range(n_trials, min(n_documents, _LARGE), chance)
    degrees = n_documents - 1
    if degrees == 1 and stats.t.isf(level / 2, 1) > 1000:
        return numpy.inf
    edge = float(stats.t.isf(level / 2, degrees))
    root: Any = optimize.brentq(lambda shift: _detects(shift, edge, degrees) - chance, 0, 10 * edge + 20)
    return float(root)


def _detects(shift: float, edge: float, degrees: int) -> float:
    return 1.0 if shift > edge + 40 else float(stats.nct.sf(edge, degrees, shift))


@lru_cache(maxsize=256)
def _errors_of_range(n_trials: int, n_documents: int, chance: float) -> float:
    """The same for the range of many trials, as the largest of the equal means is further away than a given one.

    From random draws with a fixed seed, to about 1 %.
    """
    spans, leads, uniform = _draws(n_trials)
    degrees = (n_documents - 1) * min(n_trials - 1, _POOLED)
    scale = numpy.sqrt(stats.chi2.isf(uniform, degrees) / degrees)
    edge = numpy.quantile(spans / scale, CONFIDENCE)
    return float(numpy.quantile(edge * scale - leads, chance))


@lru_cache(maxsize=8)
def _draws(n_trials: int) -> tuple[Floats, Floats, Floats]:
    """Random draws for equal trials: the range of the means, the lead of the largest of all but one over that one, and
    random levels."""
    random = numpy.random.default_rng(0)
    means = random.normal(size=(_DRAWS, n_trials)) / 2**0.5
    return numpy.ptp(means, axis=1), means[:, 1:].max(1) - means[:, 0], random.uniform(size=_DRAWS)


def _check(spread: float, n_questions: int, level: float, n_documents: int | None) -> None:
    if not 0 <= spread < numpy.inf or n_questions < 1 or not 0 < level < 1 or (n_documents or 1) < 1:
        raise ConfigurationError(
            f"spread={spread}, n_questions={n_questions}, level={level}, n_documents={n_documents}: give a spread of "
            "at least 0, at least one question and document, and a level between 0 and 1"
        )
