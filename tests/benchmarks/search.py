"""How near do searches come to the best of a grid, by the number of trials? Writes search.md beside this file.

    python tests/benchmarks/search.py [--seeds 30] [--home FOLDER]

Run by hand: some 10 minutes on one core for the grid, which stays in FOLDER, then as long for the searches. They
choose from stored results what `run_experiment` would have them choose, round by round; no trial is run again.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from tabulate import tabulate  # noqa: E402

from dream import SearchSpace, Settings, generate_golden_dataset, run_experiment  # noqa: E402
from dream.comparison.running_cost import running_cost  # noqa: E402
from dream.comparison.score_table import means_of  # noqa: E402
from dream.experiments.search_rounds import told_of  # noqa: E402
from dream.golden.dataset import load_golden_dataset  # noqa: E402
from dream.rag.search import next_round, started  # noqa: E402
from dream.records import (  # noqa: E402
    IN_ROUNDS,
    MODELS_FIRST,
    NSGA2,
    OPTUNA,
    RANDOM,
    ExperimentResult,
    Objective,
    Search,
    Trial,
    TrialResult,
)
from dream.storage import open_storage  # noqa: E402

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# How near do searches come to the best of a grid?

Written by `tests/benchmarks/search.py`: a grid of {n} combinations on {questions} questions of the sample documents,
answered and judged by the offline models, from which searches of {seeds} seeds choose. Each cell has the mean over
seeds with its Monte Carlo error (95 %); "random" is a sample of the same size.

The grid: {grid}.
"""
FACTORS = {"chunk_size": [64, 128, 256], "top_k": [1, 2, 4, 8]}
SPACE = SearchSpace(
    ["chunks_with_overlap", "hybrid", "bm25", "sentence_window"],
    ["offline/llm-small", "offline/llm-large"],
    ["offline/embed-small", "offline/embed-large"],
    {
        "chunks_with_overlap": {**FACTORS, "chunk_overlap": 16, "context_tokens": [384, 1536]},
        "hybrid": {**FACTORS, "chunk_overlap": 16, "fusion": ["reciprocal_rank", "relative_score"]},
        "bm25": {**FACTORS, "chunk_overlap": 16, "context_tokens": [384, 1536]},
        "sentence_window": {"top_k": [1, 2, 4, 8]},
    },
)
# USD for a million tokens of prompts and of replies, as of a small and a large LLM.
PRICES = {"offline/llm-small": (0.15, 0.6), "offline/llm-large": (2.5, 10.0)}
METRICS = ("answer_correctness", "token_f1")
SEARCHES, TRIALS = (RANDOM, OPTUNA, NSGA2, MODELS_FIRST), (10, 20, 40)


def grid(home: Path) -> ExperimentResult:
    """All combinations, answered and judged; kept in a folder."""
    home.mkdir(parents=True, exist_ok=True)
    settings = Settings.from_environment(
        {
            "DREAM_HOME": str(home),
            "DREAM_DOCUMENTS_URI": str(REPOSITORY / "notebooks/sample_documents"),
            "DREAM_ENGINE": "in_process",
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        }
    )
    stored = open_storage(settings.golden_datasets_uri, settings).exists("golden.csv")
    golden = load_golden_dataset("golden", settings) if stored else generate_golden_dataset(24, settings=settings)
    found = run_experiment(SPACE, resume="grid", golden_dataset=golden, metrics=METRICS, settings=settings)
    return replace(found, results=tuple(map(priced, found.results)))


def priced(result: TrialResult) -> TrialResult:
    """The result as if its LLM had the price of `PRICES`."""
    prompt, reply = PRICES[result.trial.llm_identifier]
    usage = [
        replace(row, usd_full=(row.prompt_tokens * prompt + row.completion_tokens * reply) / 1e6)
        if row.stage == "answer" else row
        for row in result.usage
    ]  # fmt: skip
    return replace(result, usage=tuple(usage))


@dataclass(frozen=True)
class Replay:
    """A grid's results, ranked by a metric, from which searches choose."""

    grid: ExperimentResult
    metric: str

    def tried(self, by: str, trials: int, seed: int) -> Sequence[Trial]:
        """The trials that a search chooses."""
        chosen, search = started(SPACE, Search(by, trials, seed))
        if by not in IN_ROUNDS:
            return chosen
        results = {result.trial.id: result for result in self.grid.results}
        objective, found = Objective(self.metric), tuple[Trial, ...]()
        while True:
            manifest = replace(self.grid.manifest, search=search, objective=objective, trials=found)
            so_far = replace(self.grid, manifest=manifest, results=tuple(results[trial.id] for trial in found))
            if not (new := next_round(search, told_of(so_far))):
                return found
            found, search = (*found, *new), search.with_round(len(new))

    def measured(self, by: str, seed: int) -> list[tuple[float, float]]:
        """For each of `TRIALS`, what the best of the chosen trials loses to the best of the grid, and the share of the
        grid's hypervolume of quality and USD that they have."""
        if by in (OPTUNA, MODELS_FIRST):  # a search of fewer trials has chosen the first of these
            trials = self.tried(by, TRIALS[-1], seed)
            return [self._measure(trials[:n]) for n in TRIALS]
        return [self._measure(self.tried(by, n, seed)) for n in TRIALS]

    def _measure(self, trials: Sequence[Trial]) -> tuple[float, float]:
        found, everything = [self.points[trial.id] for trial in trials], [*self.points.values()]
        dearest = max(usd for _, usd in everything)
        return max(everything)[0] - max(found)[0], hypervolume(found, dearest) / hypervolume(everything, dearest)

    @cached_property
    def points(self) -> dict[str, tuple[float, float]]:
        """Quality and USD a question of every trial."""
        return {
            result.trial.id: (means_of(result)[self.metric] or 0.0, running_cost(result).usd or 0.0)
            for result in self.grid.results
        }


def hypervolume(points: Sequence[tuple[float, float]], dearest: float) -> float:
    """The area of quality (from 0) and USD (to `dearest`) that points dominate.

    Example:
        >>> hypervolume([(0.5, 1.0), (0.8, 3.0), (0.4, 2.0)], 4.0)
        1.8
    """
    area, best = 0.0, 0.0
    for quality, usd in sorted(points, key=lambda point: (point[1], -point[0])):
        area += max(0.0, quality - best) * (dearest - usd)
        best = max(best, quality)
    return area


def tables(replay: Replay, seeds: int) -> str:
    """Regret and hypervolume, a row for each search."""
    regrets, volumes = [], []
    for by in SEARCHES:
        measured = [*zip(*(replay.measured(by, seed) for seed in range(seeds)), strict=True)]
        regrets.append([by, *(told([regret for regret, _ in each]) for each in measured)])
        volumes.append([by, *(told([volume for _, volume in each]) for each in measured)])
        print(regrets[-1], volumes[-1], flush=True)
    heads = ["search", *(f"{n} trials" for n in TRIALS)]
    means = sorted((quality for quality, _ in replay.points.values()), reverse=True)
    parts = [
        f"\n## {replay.metric}\n",
        f"The best combination has {means[0]:.3f}, the tenth {means[9]:.3f}, the median "
        f"{statistics.median(means):.3f}, the last {means[-1]:.3f}.\n",
        f"Loss of the best trial that was found against the best of the grid:\n\n{markdown(regrets, heads)}\n",
        "Share of the grid's hypervolume of quality and USD (1: every trade-off of the grid is found):\n\n"
        f"{markdown(volumes, heads)}\n",
    ]
    return "\n".join(parts)


def told(values: Sequence[float]) -> str:
    error = 1.96 * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.4f} ± {error:.4f}"


def markdown(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "dream-search-grid")
    given = parser.parse_args()
    results = grid(given.home)
    factors = "; ".join(
        f"{method} with {', '.join(f'{name} {value}' for name, value in parameters.items())}"
        for method, parameters in SPACE.parameters.items()
    )
    head = HEAD.format(n=len(results.results), questions=len(results.manifest.questions), seeds=given.seeds,
                       grid=f"{factors}; each with 2 LLMs and, but for bm25, 2 embedding models")  # fmt: skip
    PAGE.write_text(head + "".join(tables(Replay(results, metric), given.seeds) for metric in METRICS), "utf-8")


if __name__ == "__main__":
    main()
