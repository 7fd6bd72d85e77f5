"""Fair arms: do trials differ in what was not meant to vary, and does each knob do anything at all?"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dream.comparison.factor_effects import knob_values
from dream.records import Answer, ExperimentResult, Trial, TrialResult

TOLERANCE = 0.2
_MEASURES = {
    "context_tokens": "context tokens a question",
    "passages": "passages a question",
}


@dataclass(frozen=True)
class Arm:
    """What a trial's LLM was given to read: means per answered question, and the share of questions with nothing.

    `duplicates` is how many of a question's passages repeat the text of an earlier one.
    """

    trial: Trial
    n_answers: int
    context_tokens: float
    passages: float
    duplicates: float
    empty_share: float


@dataclass(frozen=True)
class Arms:
    """All arms in grid order, trials without any answer left out, and warnings in sentences."""

    arms: tuple[Arm, ...]
    warnings: tuple[str, ...]


def fair_arms(experiment: ExperimentResult, tolerance: float = TOLERANCE) -> Arms:
    """Measure what each trial read, and warn where the comparison is not the one that was meant.

    Trials with the same budget (`context_tokens`) should read about as much; trials with the same RAG method and
    parameters should read as many passages whatever the models. `tolerance` is the accepted difference, 0.2 for 20 %.
    """
    results = [result for result in experiment.results if result.evaluation and result.evaluation.answers]
    arms = [_arm(result, result.evaluation.answers) for result in results if result.evaluation]
    warnings = [
        *_uneven(arms, "context_tokens", _by_budget(arms), tolerance),
        *_uneven(arms, "passages", _by_method(arms), tolerance),
        *_wasted(arms),
        *_same_output(results),
    ]
    return Arms(tuple(arms), tuple(warnings))


def _arm(result: TrialResult, answers: Sequence[Answer]) -> Arm:
    read = [answer for answer in answers if answer.contexts]
    n = max(len(read), 1)
    return Arm(
        trial=result.trial,
        n_answers=len(answers),
        context_tokens=sum(passage.tokens for answer in read for passage in answer.contexts) / n,
        passages=sum(len(answer.contexts) for answer in read) / n,
        duplicates=sum(len(answer.contexts) - len({passage.text for passage in answer.contexts}) for answer in read)
        / n,
        empty_share=sum(_empty(answer) for answer in answers) / len(answers),
    )


def _empty(answer: Answer) -> bool:
    """Nothing retrieved; a question that failed for another reason says nothing about retrieval."""
    return not answer.contexts and answer.error in (None, "nothing was retrieved")


def _by_budget(arms: Sequence[Arm]) -> dict[str, list[Arm]]:
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        budget = arm.trial.parameters.get("context_tokens")
        groups.setdefault("all trials" if budget is None else f"trials with context_tokens={budget}", []).append(arm)
    return groups


def _by_method(arms: Sequence[Arm]) -> dict[str, list[Arm]]:
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        parameters = ", ".join(f"{name}={value}" for name, value in sorted(arm.trial.parameters.items()))
        groups.setdefault(f"{arm.trial.query_engine_identifier} ({parameters})", []).append(arm)
    return groups


def _uneven(arms: Sequence[Arm], measure: str, groups: Mapping[str, Sequence[Arm]], tolerance: float) -> Iterator[str]:
    for name, group in groups.items():
        group = [arm for arm in group if arm.passages]
        if len(group) < 2:
            continue
        least = min(group, key=lambda arm: getattr(arm, measure))
        most = max(group, key=lambda arm: getattr(arm, measure))
        low, high = getattr(least, measure), getattr(most, measure)
        if high > (1 + tolerance) * low:
            more = f"{high / low - 1:.0%} more" if low else "some against none"
            yield (
                f"{name} differ in {_MEASURES[measure]}, which was not meant to vary: {high:.0f} in {most.trial.name} "
                f"and {low:.0f} in {least.trial.name} ({more})"
            )


def _wasted(arms: Sequence[Arm]) -> Iterator[str]:
    """Passages that the LLM read twice, and questions for which it read nothing."""
    double = sorted((arm for arm in arms if arm.duplicates), key=lambda arm: -arm.duplicates)
    if double:
        most = double[0]
        yield f"{len(double)} trial(s) read passages twice, up to {most.duplicates:.1f} a question in {most.trial.name}"
    empty = sorted((arm for arm in arms if arm.empty_share), key=lambda arm: -arm.empty_share)
    if empty:
        most = empty[0]
        yield (
            f"{len(empty)} trial(s) retrieved nothing for some questions, up to {most.empty_share:.0%} of them in "
            f"{most.trial.name}"
        )


def _same_output(results: Sequence[TrialResult]) -> Iterator[str]:
    """Trials with identical answers everywhere, and knobs whose choices never change an answer."""
    outputs = [_output(result) for result in results]
    same = [
        (one, other) for one, other in itertools.combinations(range(len(results)), 2) if outputs[one] == outputs[other]
    ]
    for first, second in same[:10]:
        yield f"identical answers to every question: {results[first].trial.name} and {results[second].trial.name}"
    if len(same) > 10:
        yield f"identical answers to every question: {len(same) - 10} more pairs of trials"
    for knob, pairs in _pairs_by_knob([result.trial for result in results]).items():
        if pairs and set(pairs) <= set(same):
            yield f"{knob} has no effect: trials that differ in nothing else give identical answers to every question"


def _output(result: TrialResult) -> dict[str, str | None]:
    return {answer.question_id: answer.text for answer in result.evaluation.answers} if result.evaluation else {}


def _pairs_by_knob(trials: Sequence[Trial]) -> dict[str, list[tuple[int, int]]]:
    """For each knob that varies: the pairs of trials that differ in this knob alone."""
    if not trials:
        return {}
    knobs = knob_values(trials)
    pairs: dict[str, list[tuple[int, int]]] = {knob: [] for knob in knobs}
    for one, other in itertools.combinations(range(len(trials)), 2):
        differing = [knob for knob, choices in knobs.items() if choices[one] != choices[other]]
        if len(differing) == 1:
            pairs[differing[0]].append((one, other))
    return pairs
