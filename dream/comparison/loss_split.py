"""Loss split: the parts of a trial's loss (1 - score) that are due to retrieval and to generation.

The same questions are answered three times: without contexts (closed-book), from the reference contexts (oracle), and
from the retrieved contexts. The loss of the oracle, 1 - oracle, is due to generation; the additional loss of the trial,
oracle - retrieved, to retrieval. Both add up to the loss of the trial.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy

from dream.comparison.intervals import Interval, cluster_numbers, interval
from dream.comparison.score_table import ScoreTable, score_table
from dream.errors import DataError
from dream.records import CLOSED_BOOK, ORACLE, ExperimentResult


@dataclass(frozen=True)
class QuestionLoss:
    """The three scores of one question (0 to 1), and the two parts of its loss.

    `retrieval` is negative if the answer from the retrieved contexts is better than that from the reference contexts.
    """

    question_id: str
    closed_book: float
    oracle: float
    retrieved: float

    @property
    def generation(self) -> float:
        """The loss with the reference contexts: 1 - oracle."""
        return 1 - self.oracle

    @property
    def retrieval(self) -> float:
        """The additional loss with the retrieved contexts: oracle - retrieved."""
        return self.oracle - self.retrieved


@dataclass(frozen=True)
class LossSplit:
    """The loss split of one trial: means with 95 % confidence intervals over all questions with three scores;
    the questions of a document stay together.

    `gain` is the score with the retrieved contexts minus the closed-book score. `questions` are ordered by score, the
    lowest first. `left_out` is the number of questions with fewer than three scores.
    """

    generation: Interval
    retrieval: Interval
    gain: Interval
    questions: tuple[QuestionLoss, ...]
    left_out: int

    @property
    def retrieval_share(self) -> float | None:
        """Retrieval's share of the loss (0 to 1); None if there is no loss."""
        whole = self.generation.mean + self.retrieval.mean
        return min(max(self.retrieval.mean / whole, 0.0), 1.0) if whole > 1e-12 else None

    @property
    def text(self) -> str:
        """The split in one or two sentences."""
        parts = (
            f"lost to retrieval {_shown(self.retrieval)}, to generation {_shown(self.generation)}; gained by the "
            f"retrieved contexts over closed-book answers {_shown(self.gain)}."
        )
        share = (
            "" if self.retrieval_share is None else f" Retrieval accounts for {self.retrieval_share:.0%} of the loss."
        )
        left_out = f" ({self.left_out} left out)" if self.left_out else ""
        return f"On {len(self.questions)} questions{left_out}: {parts}{share}"


def losses_of(
    experiment: ExperimentResult, metric: str, weights: Mapping[str, float] | None = None
) -> tuple[dict[str, LossSplit], tuple[str, ...]]:
    """The loss split of each trial of an experiment with baselines (`run_experiment(baselines=True)`).

    Args:
        metric, weights: as in `compare`.

    Returns:
        The splits by trial id, and the reasons for trials without one.
    """
    everything = replace(experiment, results=(*experiment.results, *experiment.baselines))
    table = score_table(everything, metric, weights)
    columns = [_column(table, column) for column in range(len(table.results))]
    by_llm = {
        (result.trial.query_engine_identifier, result.trial.llm_identifier): column
        for result, column in zip(table.results, columns, strict=True)
        if result.trial.is_baseline
    }
    if not any(column for (name, _), column in by_llm.items() if name == CLOSED_BOOK):
        return {}, (_nothing_to_split(experiment, table.metric),)
    documents = dict(zip(table.question_ids, table.clusters.tolist(), strict=True))
    splits: dict[str, LossSplit] = {}
    reasons = []
    for result, column in zip(experiment.results, columns, strict=False):
        closed_book, oracle = (by_llm.get((name, result.trial.llm_identifier), {}) for name in (CLOSED_BOOK, ORACLE))
        try:
            splits[result.trial.id] = split_loss(closed_book, oracle, column, documents)
        except DataError as error:
            reasons.append(f"loss of {result.trial.name} on {table.metric}: {error}")
    return splits, tuple(reasons)


def _nothing_to_split(experiment: ExperimentResult, metric: str) -> str:
    errors = [result.error for result in experiment.baselines if result.failure]
    if not experiment.baselines:
        reason = f"{experiment.name!r} has no baselines: dream run --resume {experiment.name} --baselines"
    elif errors:
        reason = f"the baselines failed: {errors[0]}"
    else:
        reason = "answers without contexts have no score on it; use a metric such as answer_correctness"
    return f"no loss split on {metric}: {reason}"


def _column(table: ScoreTable, column: int) -> dict[str, float]:
    """The scores of one trial by question id, without missing ones."""
    values = zip(table.question_ids, table.values[:, column].tolist(), strict=True)
    return {question_id: value for question_id, value in values if not numpy.isnan(value)}


def split_loss(
    closed_book: Mapping[str, float],
    oracle: Mapping[str, float],
    retrieved: Mapping[str, float],
    documents: Mapping[str, int] | None = None,
) -> LossSplit:
    """Split the loss of one trial on one metric.

    Args:
        closed_book, oracle, retrieved: scores (0 to 1) by question id; `retrieved` are those of the trial itself.
        documents: the number of the source document by question id, whose questions stay together in the intervals;
            None: each question has its own document.

    Raises:
        DataError: if no question has all three scores.

    Example:
        >>> split = split_loss({"a": 0.1, "b": 0.5}, {"a": 0.9, "b": 0.9}, {"a": 0.3, "b": 0.9})
        >>> round(split.generation.mean, 3), round(split.retrieval.mean, 3), split.questions[0].question_id
        (0.1, 0.3, 'a')
    """
    everything = dict.fromkeys([*retrieved, *oracle, *closed_book])
    common = [name for name in everything if name in closed_book and name in oracle and name in retrieved]
    if not common:
        raise DataError(
            f"no question has all three scores (closed-book {len(closed_book)}, oracle {len(oracle)}, "
            f"retrieved {len(retrieved)}): run the baselines on the same golden dataset"
        )
    questions = [QuestionLoss(name, closed_book[name], oracle[name], retrieved[name]) for name in common]
    labels = [str(documents[name]) for name in common] if documents else [""] * len(common)
    clusters = cluster_numbers(labels)
    return LossSplit(
        generation=interval(numpy.array([loss.generation for loss in questions]), clusters),
        retrieval=interval(numpy.array([loss.retrieval for loss in questions]), clusters),
        gain=interval(numpy.array([loss.retrieved - loss.closed_book for loss in questions]), clusters),
        questions=tuple(sorted(questions, key=lambda loss: loss.retrieved)),
        left_out=len(everything) - len(common),
    )


def _shown(mean: Interval) -> str:
    return f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]"
