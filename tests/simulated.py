"""Simulated experiments: scores as ragas gives them (bounded, in steps, often tied), with a truth that is known.

A question has a difficulty that all trials share; each trial adds its own luck and its own quality.
"""

from collections.abc import Callable, Sequence

import numpy
from numpy.typing import NDArray
from scipy import stats

from dream.comparison.score_table import ScoreTable
from dream.records import (
    Answer,
    Evaluation,
    ExperimentResult,
    Failure,
    FailureKind,
    GoldenDataset,
    GoldenQuestion,
    Manifest,
    Score,
    Source,
    Trial,
    TrialResult,
    UsageRow,
)

Floats = NDArray[numpy.float64]
JUDGE_FAILED = Failure(FailureKind.UNREADABLE_JUDGEMENT, "the judge failed")
Shape = Callable[[numpy.random.Generator, int, Floats], Floats]


def ratios(random: numpy.random.Generator, n: int, quality: Floats) -> Floats:
    """Statements supported of 1 to 5, as faithfulness and context recall count them."""
    chance = stats.norm.cdf(
        0.6 + 0.8 * random.normal(size=(n, 1)) + 0.6 * random.normal(size=(n, len(quality))) + quality
    )
    statements = numpy.broadcast_to(random.integers(1, 6, size=(n, 1)), chance.shape)
    return random.binomial(statements, chance) / statements


def yes_or_no(random: numpy.random.Generator, n: int, quality: Floats) -> Floats:
    """0 or 1, as a strict judge gives."""
    return (0.8 + random.normal(size=(n, 1)) + random.normal(size=(n, len(quality))) + quality > 0).astype(float)


def mostly_tied(random: numpy.random.Generator, n: int, quality: Floats) -> Floats:
    """0 or 1, where trials agree on nine questions of ten."""
    same = 0.8 + random.normal(size=(n, 1))
    own = numpy.where(random.random((n, len(quality))) < 0.1, 1.5 * random.normal(size=(n, len(quality))), 0.0)
    return (same + own + quality > 0).astype(float)


def mixed(random: numpy.random.Generator, n: int, quality: Floats) -> Floats:
    """A weighted mean of a ratio and a similarity, as answer correctness is, cut off at 0 and 1."""
    similarity = 0.75 + 0.1 * random.normal(size=(n, 1)) + 0.08 * random.normal(size=(n, len(quality)))
    return numpy.clip(0.75 * ratios(random, n, quality) + 0.25 * similarity, 0, 1)


def with_zeros(random: numpy.random.Generator, n: int, quality: Floats) -> Floats:
    """A smooth score that is 0 for one question in six, as answer relevancy is for evasive answers."""
    score = 0.8 + 0.1 * random.normal(size=(n, 1)) + 0.1 * random.normal(size=(n, len(quality))) + 0.2 * quality
    return numpy.where(random.random((n, len(quality))) < 1 / 6, 0.0, numpy.clip(score, 0, 1))


SHAPES: dict[str, Shape] = {
    "ratios": ratios,
    "yes or no": yes_or_no,
    "mostly tied": mostly_tied,
    "mixed": mixed,
    "with zeros": with_zeros,
}


def true_means(shape: Shape, quality: Floats, n: int = 400_000) -> Floats:
    """The means over so many questions that they count as the truth (within about 0.001)."""
    return shape(numpy.random.default_rng(1), n, quality).mean(0)


def quality_for(shape: Shape, difference: float, n: int = 400_000) -> float:
    """The quality that lifts a trial's true mean by `difference`, by bisection."""
    low, high = 0.0, 3.0
    for _ in range(20):
        middle = (low + high) / 2
        base, lifted = true_means(shape, numpy.array([0.0, middle]), n)
        low, high = (middle, high) if lifted - base < difference else (low, middle)
    return (low + high) / 2


def grid(n_trials: int) -> list[Trial]:
    """So many trials as a grid of up to 4 RAG methods, 10 LLMs and 5 embedding models; 12 are 3 x 2 x 2."""
    methods, llms = (3, 2) if n_trials <= 12 else (4, 10)
    return [
        Trial(f"method_{i % methods}", f"llm-{i // methods % llms}", f"embed-{i // methods // llms}")
        for i in range(n_trials)
    ]


def table(values: Floats, clusters: Sequence[int] | None = None) -> ScoreTable:
    """A score table of simulated values, each question its own document unless `clusters` says otherwise."""
    n = len(values)
    numbers = numpy.arange(n) if clusters is None else numpy.asarray(clusters, numpy.int64)
    results = tuple(TrialResult(trial) for trial in grid(values.shape[1]))
    return ScoreTable("score", tuple(f"q{i}" for i in range(n)), results, values, numbers)


def experiment(
    scores: dict[str, Floats],
    trials: Sequence[Trial] | None = None,
    files: Sequence[str] | None = None,
    usd: Sequence[float | None] | None = None,
    name: str = "simulated",
) -> ExperimentResult:
    """A whole experiment of simulated values (NaN: the judge failed), with prices and latencies for each trial."""
    n, k = next(iter(scores.values())).shape
    questions = [
        GoldenQuestion(f"q{i}", f"question {i}", "truth", sources=(Source(files[i]),) if files else ())
        for i in range(n)
    ]
    results = []
    for place, trial in enumerate(trials or grid(k)):
        answers = tuple(Answer(one.id, f"answer {place}", latency_seconds=0.5 + 0.1 * (place % 7)) for one in questions)
        rows = tuple(
            Score(one.id, metric, None, failure=JUDGE_FAILED)
            if numpy.isnan(value)
            else Score(one.id, metric, float(value))
            for metric, values in scores.items()
            for one, value in zip(questions, values[:, place], strict=True)
        )
        price = None if usd is None else usd[place]
        meter = UsageRow(
            "openai",
            trial.llm_identifier,
            "answer",
            calls=n,
            prompt_tokens=900 * n,
            completion_tokens=(50 + place) * n,
            usd=None,
            usd_full=None if price is None else price * n,
        )
        results.append(TrialResult(trial, Evaluation(answers, rows), 1.0, 10, (meter,)))
    manifest = Manifest(
        name,
        GoldenDataset(tuple(questions)),
        tuple(scores),
        trials=tuple(result.trial for result in results),
        judge_llm="judge",
        judge_embed_model="embed",
    )
    return ExperimentResult(name, manifest, tuple(results))
