"""The mean of a trial's scores so far, with an interval that holds however often one looks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy

# With fewer questions or documents there is no interval, nor while it is a larger share of the possible scores.
FEWEST_QUESTIONS, FEWEST_DOCUMENTS, WIDEST_SHARE = 10, 5, 0.75
# Chosen by simulation (tests/experiments/test_mean_so_far.py), so that means of scores near a bound, of few questions
# and of few documents are inside at all looks together in 95 % of experiments or more.
_LEVEL, _WEIGHT_OF_BOUNDS = 0.03, 1.5
# The number of documents at which the interval is as narrow as it can be for its level.
_NARROWEST_AT = 50


@dataclass(frozen=True)
class MeanSoFar:
    """A mean over `n` scores; `low` and `high` are its limits, None where they say hardly anything yet."""

    mean: float
    n: int
    low: float | None = None
    high: float | None = None


def mean_so_far(
    scores: Mapping[str, float], documents: Mapping[str, str], bounds: tuple[float, float] = (0.0, 1.0)
) -> MeanSoFar | None:
    """The mean of the scores of one trial, None without any.

    The interval is a confidence sequence for the mean over further questions like those that are scored: with 95 %
    confidence all intervals of a trial hold, from the first look to the last (Waudby-Smith, Arbour, Sinha, Kennedy and
    Ramdas 2024, "Time-uniform central limit theory and asymptotic confidence sequences"). It is for the trial alone;
    whether two trials differ is for `compare`, which pairs their questions. Its standard error is robust to equal
    questions of a document, and two further documents count as scored with the bounds, as scores so far that are all
    alike say little of the next one.

    Args:
        scores: by question id.
        documents: the document of each question, by question id; a question without one stands for itself. With fewer
            than 5 in all, every question does, and the interval is for further questions on these documents.
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
