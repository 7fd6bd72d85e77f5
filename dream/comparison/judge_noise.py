"""Judge noise: the variance of scores, split into components of question, answer and judge.

Model for answers that are judged repeatedly: score = trial mean + question + answer (trial x question) + judge. The
variance components of this two-way layout are estimated by equating mean squares to their expectations (Searle, Casella
and McCulloch 1992, "Variance Components", chapter 4; unequal numbers of repeats by their harmonic mean). The interval
of the judge's share is that of the F distribution (chapter 3), with degrees of freedom matched to the spread over the
questions (Satterthwaite 1946, "An Approximate Distribution of Estimates of Variance Components").

Equal answers of several trials are judged only once, because the cache answers the repeated request. They count once,
and their differences, which are always 0, are ignored.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from scipy import stats

from dream.comparison.intervals import CONFIDENCE, Floats
from dream.errors import DataError
from dream.metrics import is_judged
from dream.records import ExperimentResult, TrialResult, digest


@dataclass(frozen=True)
class Judgement:
    """One judgement of one answer on one metric. `repeat` counts from 0; `value` is None if the judge failed.

    `answer` is equal for answers to a question that the judge cannot distinguish; if empty, the answer is unique.
    """

    question_id: str
    trial_id: str
    metric: str
    repeat: int
    value: float | None
    answer: str = ""


@dataclass(frozen=True)
class JudgeNoise:
    """Variance components of one metric, each at least 0, from `n_questions` x `n_trials` answers judged repeatedly.

    `question` is the variance between questions that all trials share, which pairing removes. `answer` is the variance
    of the interaction of trial and question. `judge` is the variance between repeated judgements of the same answer.
    `repeats` is the harmonic mean of the number of judgements per answer. `between` is the 95 % confidence interval of
    `judge_share`.
    """

    metric: str
    question: float
    answer: float
    judge: float
    n_questions: int
    n_trials: int
    repeats: float
    between: tuple[float, float] = (0.0, 1.0)

    @property
    def judge_share(self) -> float:
        """The judge's share of the variance of a paired difference when each answer is judged once (0 to 1)."""
        scatter = self.answer + self.judge
        return self.judge / scatter if scatter else 0.0

    def error(self, n_questions: int, repeats: int = 1) -> float:
        """The standard error of a paired difference of two trials on `n_questions`, each judged `repeats` times."""
        return (2 * (self.answer + self.judge / repeats) / n_questions) ** 0.5

    def judge_error(self, n_questions: int, repeats: int = 1) -> float:
        """The part of `error` that comes from the judge, that is, over repeated judgements of the same answers."""
        return (2 * self.judge / repeats / n_questions) ** 0.5

    @property
    def text(self) -> str:
        """One sentence about the judge's share, and the gain of three judgements per answer."""
        gain = 1 - self.error(1, 3) / self.error(1) if self.error(1) else 0.0
        return (
            f"{self.metric}: the judge accounts for {self.judge_share:.0%} of the variance of a paired difference "
            f"(95 % interval {self.between[0]:.0%} to {self.between[1]:.0%}; "
            f"{self.n_questions} questions x {self.n_trials} trials, judged {self.repeats:.3g} times); three "
            f"judgements per answer would narrow intervals by {gain:.0%}."
        )


def noise_of(
    experiment: ExperimentResult, metrics: Sequence[str] | None = None
) -> tuple[tuple[JudgeNoise, ...], tuple[str, ...]]:
    """The judge's noise on each metric of an experiment with repeated judgements (`run_experiment(judge_repeats=3)`).

    Args:
        metrics: None for all metrics of the experiment.

    Returns:
        The variance components of each metric for which they can be estimated, and the reasons for the others.
    """
    noises, reasons = [], []
    judgements = [judgement for result in experiment.results for judgement in _judgements(result)]
    for metric in experiment.manifest.metrics if metrics is None else metrics:
        if not is_judged(metric, experiment.manifest.own_metrics):
            reasons.append(f"judge noise of {metric!r}: none, because it is computed without a judge")
            continue
        try:
            noises.append(judge_noise(judgements, metric))
        except DataError as error:
            reasons.append(str(error))
    return tuple(noises), tuple(reasons)


def _judgements(result: TrialResult) -> list[Judgement]:
    """All judgements, including the first ones, of the answers that were judged repeatedly."""
    if result.evaluation is None:
        return []
    texts = {each.question_id: digest([each.text, *(part.text for part in each.contexts)]) for each in result.answers}
    again = {(score.question_id, score.metric) for score in result.evaluation.repeats}
    first = [score for score in result.evaluation.scores if (score.question_id, score.metric) in again]
    return [
        Judgement(
            score.question_id,
            result.trial.id,
            score.metric,
            score.repeat,
            score.value,
            texts.get(score.question_id, ""),
        )
        for score in (*first, *result.evaluation.repeats)
    ]


def judge_noise(judgements: Sequence[Judgement], metric: str) -> JudgeNoise:
    """Estimate the variance components of one metric from repeated judgements.

    Args:
        judgements: of any metrics; only questions with a judgement for every trial are used.

    Raises:
        DataError: without at least two questions and two trials, or without an answer judged twice.

    Example:
        >>> rows = [Judgement(q, t, "m", r, v)
        ...         for q, t, r, v in [("a", "x", 0, 0.0), ("a", "x", 1, 0.2), ("a", "y", 0, 0.5), ("a", "y", 1, 0.5),
        ...                            ("b", "x", 0, 1.0), ("b", "x", 1, 1.0), ("b", "y", 0, 0.8), ("b", "y", 1, 1.0)]]
        >>> round(judge_noise(rows, "m").judge, 3)  # pooled variance of the repeats: (0.02 + 0 + 0 + 0.02) / 4
        0.01
    """
    cells, trials, questions = _cells(judgements, metric)
    values = [[cells[question, trial] for trial in trials] for question in questions]
    n_repeats = numpy.array([[len(cell) for cell in row] for row in values])
    spare = int((n_repeats - 1).sum()) if n_repeats.size else 0
    if len(questions) < 2 or len(trials) < 2 or spare < 1:
        raise DataError(
            f"judge noise of {metric!r}: {len(questions)} question(s) judged for all of {len(trials)} trial(s), "
            f"{spare} repeat(s): it needs two questions, two trials and an answer judged twice (--judge-repeats)"
        )
    answers = _answers(judgements, metric, questions, trials)
    first = _first_of_each(answers)
    squares = numpy.array([[float(numpy.var(cell) * len(cell)) for cell in row] for row in values])
    spares = ((n_repeats - 1) * first).sum(1)
    if not spares.sum():
        first, spares = numpy.ones_like(first), (n_repeats - 1).sum(1)
    judge = float((squares * first).sum() / spares.sum())
    harmonic = float(n_repeats.size / (1 / n_repeats).sum())
    means = numpy.array([[sum(cell) / len(cell) for cell in row] for row in values], float)
    scatter, scatters, degrees = _scatter(means, answers)
    within = _matched((squares * first).sum(1), float(spares.sum()))
    between = _share_interval(scatter, judge, harmonic, _matched(scatters, degrees), within)
    question = max((_question_square(means) - scatter) / len(trials), 0.0)
    answer = max(scatter - judge / harmonic, 0.0)
    return JudgeNoise(metric, question, answer, judge, len(questions), len(trials), harmonic, between)


def _answers(
    judgements: Sequence[Judgement], metric: str, questions: Sequence[str], trials: Sequence[str]
) -> list[list[str]]:
    """Names of the answers, questions x trials, equal for equal answers to a question."""
    names = {
        (each.question_id, each.trial_id): each.answer or f"of {each.trial_id}"
        for each in judgements
        if each.metric == metric
    }
    return [[names[question, trial] for trial in trials] for question in questions]


def _first_of_each(answers: Sequence[Sequence[str]]) -> Floats:
    """1 for the first of equal answers to a question, 0 for the others."""
    return numpy.array([[float(row.index(name) == place) for place, name in enumerate(row)] for row in answers])


def _scatter(means: Floats, answers: Sequence[Sequence[str]]) -> tuple[float, Floats, float]:
    """The mean square of the interaction of trial and question, from the pairs of trials with different answers.

    If no answers are equal, it is that of the two-way layout.

    Returns:
        The mean square; the sum of squares of each question; its degrees of freedom.
    """
    names, n_trials = numpy.array(answers), means.shape[1]
    sums, squares, spare = numpy.zeros(len(means)), 0.0, 0
    for first, second in itertools.combinations(range(n_trials), 2):
        differ = names[:, first] != names[:, second]
        if differ.sum() < 2:
            continue
        apart = (means[:, first] - means[:, second])[differ]
        sums[differ] += (apart - apart.mean()) ** 2
        squares, spare = squares + float(((apart - apart.mean()) ** 2).sum()), spare + int(differ.sum()) - 1
    pairs = n_trials * (n_trials - 1) / 2
    return (squares / 2 / spare if spare else 0.0), sums, max(spare / pairs * (n_trials - 1), 1.0)


def _question_square(means: Floats) -> float:
    by_question = means.mean(1)
    return means.shape[1] * float(((by_question - means.mean()) ** 2).sum()) / (len(means) - 1)


def _matched(sums: Floats, degrees: float) -> float:
    """The degrees of freedom of a sum over questions, estimated from its spread, at most those of normal scores."""
    variance = len(sums) * float(sums.var(ddof=1))
    return min(max(2 * float(sums.sum()) ** 2 / variance, 1.0), degrees) if variance > 0 else degrees


def _share_interval(
    scatter: float, judge: float, repeats: float, of_scatter: float, of_judge: float
) -> tuple[float, float]:
    if judge <= 0 or scatter <= 0:
        return (0.0, 1.0) if scatter <= 0 < judge else (0.0, 0.0)
    ratio, tail = repeats * scatter / judge, (1 - CONFIDENCE) / 2
    answers = [
        max(ratio / float(stats.f.isf(level, of_scatter, of_judge)) - 1, 0.0) / repeats for level in (1 - tail, tail)
    ]
    return 1 / (1 + answers[0]), 1 / (1 + answers[1])


def _cells(
    judgements: Sequence[Judgement], metric: str
) -> tuple[dict[tuple[str, str], list[float]], list[str], list[str]]:
    """The values by question and trial, the trial ids, and the ids of the questions judged for every trial."""
    cells: dict[tuple[str, str], list[float]] = {}
    for judgement in judgements:
        if judgement.metric == metric and judgement.value is not None:
            cells.setdefault((judgement.question_id, judgement.trial_id), []).append(judgement.value)
    trials = list(dict.fromkeys(trial for _, trial in cells))
    questions = list(dict.fromkeys(question for question, _ in cells))
    return cells, trials, [name for name in questions if all((name, trial) in cells for trial in trials)]
