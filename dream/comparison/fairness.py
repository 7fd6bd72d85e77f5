"""Fairness: warnings about confounders, such as context size, and about factors that change no answer."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dream.comparison.factor_effects import factor_values
from dream.records import Answer, ExperimentResult, FailureKind, Trial, TrialResult, full_name, telling_parameters

TOLERANCE = 0.2
_MEASURES = {
    "context_tokens": "context tokens per question",
    "passages": "passages per question",
}


@dataclass(frozen=True)
class Reading:
    """The contexts that a trial's LLM received.

    `context_tokens`, `passages` and `duplicates` (passages that repeat the text of an earlier one) are means per
    question with contexts. `empty_share` is the share of questions for which nothing was retrieved (0 to 1).
    """

    trial: Trial
    n_answers: int
    context_tokens: float
    passages: float
    duplicates: float
    empty_share: float


@dataclass(frozen=True)
class Fairness:
    """The contexts of each trial in grid order, without trials that have no answer, and warnings as sentences."""

    readings: tuple[Reading, ...]
    warnings: tuple[str, ...]


def check_fairness(experiment: ExperimentResult, tolerance: float = TOLERANCE) -> Fairness:
    """Measure the contexts of each trial, and warn about differences that distort the comparison.

    Trials with the same token budget (the parameter `context_tokens`) should have contexts of about the same size, and
    trials with the same RAG method and parameters as many passages, whatever the models.

    Args:
        tolerance: the largest accepted relative difference within such a group; 0.2 is 20 %.
    """
    results = [result for result in experiment.results if result.answers]
    readings = [_reading(result) for result in results]
    warnings = [
        *_uneven(readings, "context_tokens", _by_budget(readings), tolerance),
        *_uneven(readings, "passages", _by_method(readings), tolerance),
        *_wasted(readings),
        *_cut(results),
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
            more = f"{high / low - 1:.0%} more" if low else "against none"
            yield (
                f"{name} differ in {_MEASURES[measure]}, which was not meant to vary: {high:.0f} in {most.trial.name} "
                f"and {low:.0f} in {least.trial.name} ({more})"
            )


def _wasted(readings: Sequence[Reading]) -> Iterator[str]:
    """Warnings about repeated passages, and about questions for which nothing was retrieved."""
    twice = sorted((reading for reading in readings if reading.duplicates), key=lambda reading: -reading.duplicates)
    if twice:
        most = twice[0]
        yield (
            f"{len(twice)} trial(s) have repeated passages, up to {most.duplicates:.1f} per question in "
            f"{most.trial.name}"
        )
    empty = sorted((reading for reading in readings if reading.empty_share), key=lambda reading: -reading.empty_share)
    if empty:
        most = empty[0]
        yield (
            f"{len(empty)} trial(s) retrieved nothing for some questions, up to {most.empty_share:.0%} of them in "
            f"{most.trial.name}"
        )


def _cut(results: Sequence[TrialResult]) -> Iterator[str]:
    """A warning about answers that reached the token limit."""
    counts = [(sum(answer.is_cut for answer in result.answers), result) for result in results]
    cut = sorted((pair for pair in counts if pair[0]), key=lambda pair: -pair[0])
    if cut:
        most, result = cut[0]
        yield (
            f"{sum(n for n, _ in cut)} answer(s) of {len(cut)} trial(s) were cut at the token limit "
            f"(DREAM_MAX_ANSWER_TOKENS), up to {most} of {len(result.answers)} in {result.trial.name}"
        )


def _same_output(results: Sequence[TrialResult]) -> Iterator[str]:
    """Warnings about pairs of trials with identical answers, and about factors that never change an answer."""
    outputs = [_output(result) for result in results]
    pairs = itertools.combinations(range(len(results)), 2)
    parameters = telling_parameters(result.trial for result in results)
    names = [full_name(result.trial, parameters[result.trial.id]) for result in results]
    same = [(first, second) for first, second in pairs if outputs[first] == outputs[second]]
    for first, second in same[:10]:
        yield f"identical answers to every question: {names[first]} and {names[second]}"
    if len(same) > 10:
        yield f"identical answers to every question: {len(same) - 10} more pairs of trials"
    for factor, alike in _pairs_by_factor([result.trial for result in results]).items():
        if alike and set(alike) <= set(same):
            yield f"{factor} has no effect: trials that differ only in it give identical answers to every question"


def _output(result: TrialResult) -> dict[str, str | None]:
    return {answer.question_id: answer.text for answer in result.answers}


def _pairs_by_factor(trials: Sequence[Trial]) -> dict[str, list[tuple[int, int]]]:
    """For each factor with several levels: the pairs of trials that differ in this factor alone."""
    if not trials:
        return {}
    factors = factor_values(trials)
    pairs: dict[str, list[tuple[int, int]]] = {factor: [] for factor in factors}
    for first, second in itertools.combinations(range(len(trials)), 2):
        differing = [factor for factor, choices in factors.items() if choices[first] != choices[second]]
        if len(differing) == 1:
            pairs[differing[0]].append((first, second))
    return pairs
