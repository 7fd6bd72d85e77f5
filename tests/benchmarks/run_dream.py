"""One experiment with DREAM's public call, in a process of its own that a benchmark measures."""

import argparse
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

MODELS = {
    "DREAM_LLMS": "llm-small@provider,llm-large@provider",
    "DREAM_EMBED_MODELS": "embed-small@provider,embed-large@provider",
    "DREAM_JUDGE_LLM": "judge@provider",
    "DREAM_JUDGE_EMBED_MODEL": "embed-large@provider",
}
# More trials of the same indexes, as somebody adds who tries out how much the LLM should read.
PARAMETERS: dict[int, dict[str, dict[str, Any]]] = {
    1: {},
    12: {},
    48: {
        "chunks_with_overlap": {"top_k": [2, 3, 4, 5]},
        "sentence_window": {"top_k": [6, 9, 12, 15]},
        "hierarchical_automerging": {"top_k": [8, 12, 16, 20]},
    },
}
PARAMETERS[192] = {
    method: {**choices, "context_tokens": [1024, 1536, 2048, 2560]} for method, choices in PARAMETERS[48].items()
}

# The chunks and passages of `original_procedure`; 4,096 tokens hold any three passages.
ORIGINAL_SIZES: dict[str, dict[str, Any]] = {
    "chunks_with_overlap": {"chunk_size": 1024, "chunk_overlap": 200, "top_k": 3, "context_tokens": 4096},
    "sentence_window": {"window_size": 3, "top_k": 3, "context_tokens": 4096},
    "hierarchical_automerging": {"chunk_sizes": (1024, 512, 256), "top_k": 3, "context_tokens": 4096},
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.run_dream", description=__doc__)
    parser.add_argument("--base-url", required=True, help="of the provider")
    parser.add_argument("--questions", type=Path, required=True, help="a CSV with columns question, ground_truth")
    parser.add_argument("--home", type=Path, required=True, help="DREAM_HOME")
    parser.add_argument("--documents", default="notebooks/sample_documents")
    parser.add_argument("--name", default="benchmark")
    parser.add_argument("--trials", type=int, choices=PARAMETERS, default=12)
    parser.add_argument("--original-sizes", action="store_true", help="with 12 trials: those of original_procedure")
    parser.add_argument("--chunk-size", type=int, help="with --trials 1: the size of the chunks, in tokens")
    parser.add_argument("--cpus", type=int, help="of the local Ray (default: the machine's)")
    parser.add_argument("--ray-address", help="of a running cluster, with --engine ray")
    parser.add_argument("--engine", default="in_process", help="in_process or ray (default: in_process)")
    options = parser.parse_args()
    started = time.monotonic()
    outcome = _run(options)
    evaluations = [result.evaluation for result in outcome.results if result.evaluation]
    scores = [score for evaluation in evaluations for score in evaluation.scores]
    answers = [answer for evaluation in evaluations for answer in evaluation.answers]
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - started,
                "failed": [result.error for result in outcome.results if result.error],
                "unscored": sum(score.value is None for score in scores),
                "why": sorted({score.error for score in scores if score.error})[:5],
                "metered": _metered(outcome.results),
                "nodes": max((result.n_nodes or 0 for result in outcome.results), default=0),
                "answer_seconds": sorted(answer.latency_seconds for answer in answers),
                "trial_seconds": [result.seconds for result in outcome.results],
            }
        )
    )


def _metered(results: Any) -> dict[str, float]:
    """What DREAM's own meter says of all trials, by the names it uses."""
    total: Counter[str] = Counter()
    for row in (row for result in results for row in result.usage):
        total.update({name: value for name, value in row.to_json().items() if isinstance(value, int | float)})
    return dict(total)


def _run(options: argparse.Namespace) -> Any:
    from dream import SearchSpace, Settings, run_experiment
    from dream.rag.search_space import DEFAULT_METHODS
    from dream.runtime.libraries import prepare_libraries

    token = os.environ.get("RAY_AUTH_TOKEN", "")
    settings = Settings.from_environment(
        {
            **MODELS,
            "DREAM_HOME": str(options.home),
            "DREAM_DOCUMENTS_URI": options.documents,
            "DREAM_ENDPOINT_PROVIDER_BASE_URL": options.base_url,
            "DREAM_ENDPOINT_PROVIDER_API_KEY": "any",
            "DREAM_ENDPOINT_PROVIDER_CONTEXT_WINDOW": "16384",
            **({"RAY_ADDRESS": options.ray_address, "RAY_AUTH_TOKEN": token} if options.ray_address else {}),
        }
    )
    if options.trials == 1:
        sizes = {"chunk_size": options.chunk_size, "chunk_overlap": 0} if options.chunk_size else {}
        space = SearchSpace(
            ["chunks_with_overlap"], settings.llms[1:], settings.embed_models[:1], {"chunks_with_overlap": sizes}
        )
    else:
        parameters = ORIGINAL_SIZES if options.original_sizes else PARAMETERS[options.trials]
        space = SearchSpace(DEFAULT_METHODS, settings.llms, settings.embed_models, parameters)
    if options.cpus:
        prepare_libraries()
        import ray

        ray.init(address="local", num_cpus=options.cpus, include_dashboard=False, log_to_driver=False)
    return run_experiment(
        space,
        name=options.name,
        golden_dataset=str(options.questions),
        settings=settings,
        show=None,
        engine=options.engine,
    )


if __name__ == "__main__":
    main()
