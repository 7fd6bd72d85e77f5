"""Options shared by several commands, and the banner about offline models."""

from typing import Annotated

import typer

from dream import defaults
from dream.metrics import metric_names
from dream.settings import Settings

OFFLINE_BANNER = (
    "Offline models are in use: they show how DREAM works. Their scores say nothing about a real LLM.\n"
    "Set OPENAI_API_KEY, OPENAI_BASE_URL or DREAM_ENDPOINT_<NAME>_BASE_URL to use real ones.\n"
)


def _metrics() -> list[str]:
    return metric_names()


StudyFile = Annotated[
    str | None,
    typer.Argument(metavar="[STUDY]", help="a study file, such as study.yaml, in place of options"),
]
# The options of `dream plan` and `dream run` that describe the experiment.
Golden = Annotated[
    str | None,
    typer.Option(metavar="NAME", help=f"a golden dataset's name, or a file [default: {defaults.GOLDEN_DATASET}]"),
]
Documents = Annotated[
    str | None,
    typer.Option(metavar="URI", help="s3://bucket/prefix or a folder [default: DREAM_DOCUMENTS_URI]"),
]
QueryEngines = Annotated[
    list[str] | None,
    typer.Option(
        "--query-engine", metavar="ID", help="a RAG method, or module:function for one of your own; repeat for several"
    ),
]
Llms = Annotated[
    list[str] | None,
    typer.Option("--llm", metavar="ID", help="model, model@endpoint or offline/model; repeat for several"),
]
EmbedModels = Annotated[
    list[str] | None, typer.Option("--embed-model", metavar="ID", help="an embedding model; repeat for several")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE,...",
        help="values of a parameter to try: top_k=3,5 for every RAG method that has it, or "
        "chunks_with_overlap.chunk_size=256,512 for one; a list is one value if joined by '/', as in "
        "chunk_sizes=1024/512/128; a text may be in a file, as in prompt=@prompt.txt; repeat for several parameters",
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="a metric, such as faithfulness, recall@5, or module:name for one of your own; repeat for several "
        "[default: the six of ragas]",
        autocompletion=_metrics,
    ),
]
Strictness = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help=f"number of questions that answer_relevancy derives from an answer [default: {defaults.STRICTNESS}]",
    ),
]
JudgeRepeats = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="judge the answers to some questions N times, to measure the judge's noise; works with --resume on a "
        "finished experiment too",
    ),
]
JudgeRepeatQuestions = Annotated[
    int, typer.Option(metavar="N", help="number of questions judged repeatedly, the same for all trials")
]
Baselines = Annotated[
    bool,
    typer.Option(
        "--baselines",
        help="also run each LLM without context and with the reference contexts, to attribute lost score to retrieval "
        "and to generation; baselines are not ranked",
    ),
]
SearchBy = Annotated[
    str | None,
    typer.Option(
        "--search",
        metavar="NAME",
        help="grid (every combination), random (a sample of --trials combinations, drawn with --seed), optuna "
        "(--trials combinations in rounds, guided by earlier results), nsga2 (likewise, for quality, USD and seconds "
        "together) or models_first (all models with one system, then all systems with the best models) [default: grid]",
        autocompletion=lambda: ["grid", "random", "optuna", "nsga2", "models_first"],
    ),
]
SearchTrials = Annotated[
    int | None, typer.Option("--trials", metavar="N", min=1, help="the maximum number of trials of a search")
]
SearchSeed = Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="the seed of a search [default: 0]")]
SiftFlag = Annotated[
    bool,
    typer.Option(
        "--sift",
        help="first score retrieval alone, without LLM answers and judge, and skip the trials whose retrieval is "
        "significantly worse than the best",
    ),
]
SiftMetric = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="sift by this retrieval metric, such as ndcg or recall@5 [default: recall]; implies --sift"
    ),
]
RaceFlag = Annotated[
    bool,
    typer.Option(
        "--race",
        help="compare the scores every 20 questions, and stop trials that are significantly worse than another; a "
        "study file can set the interval",
    ),
]
HoldOutShare = Annotated[
    float | None,
    typer.Option(
        "--hold-out",
        metavar="SHARE",
        help="hold out this share of the questions, such as 0.25 (all questions of some documents); afterwards the "
        "recommended trial, the runner-up and the incumbent answer them, to confirm the choice",
    ),
]

EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="in_process (needs no cluster), ray (a local Ray, or the cluster of RAY_ADDRESS) or auto: ray with "
        "RAY_ADDRESS or many CPUs, else in_process [default: DREAM_ENGINE, else auto]",
        autocompletion=lambda: list(defaults.ENGINES),
    ),
]


def show_banner(settings: Settings) -> None:
    """Show the banner if offline models are in use."""
    if settings.offline:
        print(OFFLINE_BANNER)
