"""Fairness: warnings about trials that differ in something not meant to vary, and about factors without any effect."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dream.comparison.factor_effects import factor_values
from dream.records import Answer, ExperimentResult, FailureKind, Trial, TrialResult

TOLERANCE = 0.2
_MEASURES = {
    "context_tokens": "context tokens a question",
    "passages": "passages a question",
}


@dataclass(frozen=True)
class Reading:
    """The contexts that a trial's LLM was given: means per question with contexts, and the share of questions without.

    `duplicates` is the mean number of passages per question that repeat the text of an earlier passage.
    """

    trial: Trial
    n_answers: int
    context_tokens: float
    passages: float
    duplicates: float
    empty_share: float


@dataclass(frozen=True)
class Fairness:
    """The readings in grid order, trials without any answer left out, and warnings in sentences."""

    readings: tuple[Reading, ...]
    warnings: tuple[str, ...]


def check_fairness(experiment: ExperimentResult, tolerance: float = TOLERANCE) -> Fairness:
    """Measure what each trial's LLM read, and warn about differences that distort the comparison.

    Trials with the same budget (`context_tokens`) should read about as much; trials with the same RAG method and
    parameters should read as many passages whatever the models. `tolerance` is the accepted difference, 0.2 for 20 %.
    """
    results = [result for result in experiment.results if result.answers]
    readings = [_reading(result) for result in results]
    warnings = [
        *_uneven(readings, "context_tokens", _by_budget(readings), tolerance),
        *_uneven(readings, "passages", _by_method(readings), tolerance),
        *_wasted(readings),
        *_same_output(results),
    ]
    return Fairness(tuple(readings), tuple(warnings))


def _reading(result: TrialResult) -> Reading:
    answers = result.answers
    read = [answer for answer in answers if answer.contexts]
    n = max(len(read), 1)
    return Reading(
        trial=result.trial,
        n_answers=len(answers),
        context_tokens=sum(passage.tokens for answer in read for passage in answer.contexts) / n,
        passages=sum(len(answer.contexts) for answer in read) / n,
        duplicates=sum(len(answer.contexts) - len({passage.text for passage in answer.contexts}) for answer in read)
        / n,
        empty_share=sum(_empty(answer) for answer in answers) / len(answers),
    )


def _empty(answer: Answer) -> bool:
    """True if nothing was retrieved; questions that failed for another reason do not count."""
    failure = answer.failure
    return not answer.contexts and (failure is None or failure.kind == FailureKind.NOTHING_RETRIEVED)


def _by_budget(readings: Sequence[Reading]) -> dict[str, list[Reading]]:
    groups: dict[str, list[Reading]] = {}
    for reading in readings:
        budget = reading.trial.parameters.get("context_tokens")
        groups.setdefault("all trials" if budget is None else f"trials with context_tokens={budget}", []).append(
            reading
        )
    return groups


def _by_method(readings: Sequence[Reading]) -> dict[str, list[Reading]]:
    groups: dict[str, list[Reading]] = {}
    for reading in readings:
        parameters = ", ".join(f"{name}={value}" for name, value in sorted(reading.trial.parameters.items()))
        groups.setdefault(f"{reading.trial.query_engine_identifier} ({parameters})", []).append(reading)
    return groups


def _uneven(
    readings: Sequence[Reading], measure: str, groups: Mapping[str, Sequence[Reading]], tolerance: float
) -> Iterator[str]:
    for name, group in groups.items():
        group = [reading for reading in group if reading.passages]
        if len(group) < 2:
            continue
        least = min(group, key=lambda reading: getattr(reading, measure))
        most = max(group, key=lambda reading: getattr(reading, measure))
        low, high = getattr(least, measure), getattr(most, measure)
        if high > (1 + tolerance) * low:
            more = f"{high / low - 1:.0%} more" if low else "some against none"
            yield (
                f"{name} differ in {_MEASURES[measure]}, which was not meant to vary: {high:.0f} in {most.trial.name} "
                f"and {low:.0f} in {least.trial.name} ({more})"
            )


def _wasted(readings: Sequence[Reading]) -> Iterator[str]:
    """Passages that the LLM read twice, and questions for which it read nothing."""
    twice = sorted((reading for reading in readings if reading.duplicates), key=lambda reading: -reading.duplicates)
    if twice:
        most = twice[0]
        yield f"{len(twice)} trial(s) read passages twice, up to {most.duplicates:.1f} a question in {most.trial.name}"
    empty = sorted((reading for reading in readings if reading.empty_share), key=lambda reading: -reading.empty_share)
    if empty:
        most = empty[0]
        yield (
            f"{len(empty)} trial(s) retrieved nothing for some questions, up to {most.empty_share:.0%} of them in "
            f"{most.trial.name}"
        )


def _same_output(results: Sequence[TrialResult]) -> Iterator[str]:
    """Trials with identical answers everywhere, and factors whose choices never change an answer."""
    outputs = [_output(result) for result in results]
    pairs = itertools.combinations(range(len(results)), 2)
    same = [(first, second) for first, second in pairs if outputs[first] == outputs[second]]
    for first, second in same[:10]:
        yield f"identical answers to every question: {results[first].trial.name} and {results[second].trial.name}"
    if len(same) > 10:
        yield f"identical answers to every question: {len(same) - 10} more pairs of trials"
    for factor, alike in _pairs_by_factor([result.trial for result in results]).items():
        if alike and set(alike) <= set(same):
            yield f"{factor} has no effect: trials that differ in nothing else give identical answers to every question"


def _output(result: TrialResult) -> dict[str, str | None]:
    return {answer.question_id: answer.text for answer in result.answers}


def _pairs_by_factor(trials: Sequence[Trial]) -> dict[str, list[tuple[int, int]]]:
    """For each factor that varies: the pairs of trials that differ in this factor alone."""
    if not trials:
        return {}
    factors = factor_values(trials)
    pairs: dict[str, list[tuple[int, int]]] = {factor: [] for factor in factors}
    for first, second in itertools.combinations(range(len(trials)), 2):
        differing = [factor for factor, choices in factors.items() if choices[first] != choices[second]]
        if len(differing) == 1:
            pairs[differing[0]].append((first, second))
    return pairs
