"""The mean of a trial's scores so far, with an interval that holds however often one looks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy

# There is no interval for fewer questions or documents, or while it is wider than this share of the possible scores.
FEWEST_QUESTIONS, FEWEST_DOCUMENTS, WIDEST_SHARE = 10, 5, 0.75
# Chosen by simulation (tests/experiments/test_mean_so_far.py): also for scores near a bound, few questions and few
# documents, the intervals at all looks cover the mean in at least 95 % of experiments.
_LEVEL, _WEIGHT_OF_BOUNDS = 0.03, 1.5
# The number of documents at which the interval is narrowest for its level.
_NARROWEST_AT = 50


@dataclass(frozen=True)
class MeanSoFar:
    """A mean over `n` scores with its confidence limits, which are None while they would be too wide to be useful."""

    mean: float
    n: int
    low: float | None = None
    high: float | None = None


def mean_so_far(
    scores: Mapping[str, float], documents: Mapping[str, str], bounds: tuple[float, float] = (0.0, 1.0)
) -> MeanSoFar | None:
    """The mean of the scores of one trial; None without scores.

    The interval is a confidence sequence for the mean over further questions like those that are scored: all intervals
    of a trial, from the first look to the last, are valid together with 95 % confidence (Waudby-Smith, Arbour, Sinha,
    Kennedy and Ramdas 2024, "Time-uniform central limit theory and asymptotic confidence sequences"). It says nothing
    about the difference of two trials; `compare` does, by pairing their questions. Its standard error is robust to
    correlated questions of a document. Two additional documents count as scored with the bounds, because equal scores
    so far say little about the next one.

    Args:
        scores: by question id.
        documents: the document of each question, by question id; a question without one counts as its own document.
            With fewer than 5 documents, every question does, and the interval is for further questions on these
            documents.
        bounds: the least and the greatest possible score.
    """
    if not scores:
        return None
    values = list(scores.values())
    n, mean = len(values), math.fsum(values) / len(values)
    by_document = len(set(documents.values())) >= FEWEST_DOCUMENTS
    names = [(by_document and documents.get(question)) or ("", question) for question in scores]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    if n < FEWEST_QUESTIONS or len(numbers) < FEWEST_DOCUMENTS or not all(map(math.isfinite, bounds)):
        return MeanSoFar(mean, n)
    places = [numbers[name] for name in names]
    half = _half_width(numpy.bincount(places, values), numpy.bincount(places), bounds)
    low, high = max(mean - half, bounds[0]), min(mean + half, bounds[1])
    is_telling = high - low <= WIDEST_SHARE * (bounds[1] - bounds[0])
    return MeanSoFar(mean, n, low, high) if is_telling else MeanSoFar(mean, n)


def _half_width(sums: numpy.ndarray, counts: numpy.ndarray, bounds: tuple[float, float]) -> float:
    """Half of the interval, from the sum and the number of the scores of each document."""
    n_documents, a_document = len(sums), float(counts.mean())
    limits = numpy.array(bounds)
    middle = (sums.sum() + _WEIGHT_OF_BOUNDS * a_document * limits.sum()) / (
        counts.sum() + 2 * _WEIGHT_OF_BOUNDS * a_document
    )
    spread = ((sums - middle * counts) ** 2).sum() + _WEIGHT_OF_BOUNDS * ((a_document * (limits - middle)) ** 2).sum()
    error = math.sqrt(spread / (n_documents + 2 * _WEIGHT_OF_BOUNDS - 1) / n_documents) / a_document
    doubt = -2 * math.log(_LEVEL)
    mixed = n_documents * (doubt + math.log(doubt) + 1) / _NARROWEST_AT
    return error * math.sqrt(2 * (mixed + 1) / mixed * math.log(math.sqrt(mixed + 1) / _LEVEL))
