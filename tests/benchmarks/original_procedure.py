"""The procedure of the article of May 2024, on today's libraries: what DREAM is measured against.

    python -m tests.benchmarks.original_procedure --base-url http://127.0.0.1:8899/v1 --questions golden.csv

Twelve trials (3 RAG methods x 2 LLMs x 2 embedding models), four at a time, each a process of its own that reads the
PDFs again, builds its own index in LlamaIndex's default store, asks its questions one after another, and then calls
ragas' `evaluate`. The sizes are the article's: chunks of 1,024 tokens, windows of three sentences either side, and the
hierarchy in ascending order with every level embedded; three passages a question. Its sleeps are left out, and so is
MLflow. Nothing of DREAM is used.
"""

import argparse
import csv
import itertools
import json
import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

METHODS = ("chunks_with_overlap", "sentence_window", "hierarchical_automerging")
LLMS = ("llm-small", "llm-large")
EMBED_MODELS = ("embed-small", "embed-large")
JUDGE_LLM = "judge"
JUDGE_EMBED_MODEL = "embed-large"
TRIALS_AT_A_TIME = 4
TOP_K = 3
KEY = "any"


@dataclass(frozen=True)
class Trial:
    """All that a trial's process is told."""

    method: str
    llm: str
    embed_model: str
    base_url: str
    documents: str
    questions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Outcome:
    """How long the parts of a trial took, what it scored, and how many scores are missing."""

    name: str
    build_seconds: float
    ask_seconds: float
    evaluate_seconds: float
    scores: dict[str, float | None]
    unscored: int


def run_trial(trial: Trial) -> Outcome:
    """One trial, in a process that has imported nothing yet."""
    started = time.monotonic()
    query_engine = build_query_engine(trial)
    built = time.monotonic()
    responses = [query_engine.query(question) for question, _ in trial.questions]
    asked = time.monotonic()
    scores, unscored = evaluate(trial, responses)
    name = f"{trial.method} + {trial.llm} + {trial.embed_model}"
    return Outcome(name, built - started, asked - built, time.monotonic() - asked, scores, unscored)


def build_query_engine(trial: Trial) -> Any:
    import llama_index.readers.file  # noqa: F401 - without it, SimpleDirectoryReader reads the bytes of a PDF as text
    from llama_index.core import SimpleDirectoryReader, StorageContext, VectorStoreIndex
    from llama_index.core.node_parser import HierarchicalNodeParser, SentenceSplitter, SentenceWindowNodeParser
    from llama_index.core.postprocessor import MetadataReplacementPostProcessor
    from llama_index.core.query_engine import RetrieverQueryEngine
    from llama_index.core.retrievers import AutoMergingRetriever

    documents = SimpleDirectoryReader(trial.documents).load_data()
    llm, embed_model = _llm(trial.llm, trial.base_url), _embed_model(trial.embed_model, trial.base_url)
    if trial.method == "chunks_with_overlap":
        nodes = SentenceSplitter(chunk_size=1024, chunk_overlap=200).get_nodes_from_documents(documents)
        return VectorStoreIndex(nodes, embed_model=embed_model).as_query_engine(llm=llm, similarity_top_k=TOP_K)
    if trial.method == "sentence_window":
        nodes = SentenceWindowNodeParser.from_defaults(window_size=3).get_nodes_from_documents(documents)
        windows = MetadataReplacementPostProcessor(target_metadata_key="window")
        index = VectorStoreIndex(nodes, embed_model=embed_model)
        return index.as_query_engine(llm=llm, similarity_top_k=TOP_K, node_postprocessors=[windows])
    nodes = HierarchicalNodeParser.from_defaults(chunk_sizes=[256, 512, 1024]).get_nodes_from_documents(documents)
    context = StorageContext.from_defaults()
    context.docstore.add_documents(nodes)
    index = VectorStoreIndex(nodes, storage_context=context, embed_model=embed_model)
    retriever = AutoMergingRetriever(index.as_retriever(similarity_top_k=TOP_K), context)
    return RetrieverQueryEngine.from_args(retriever, llm=llm)


def evaluate(trial: Trial, responses: list[Any]) -> tuple[dict[str, float | None], int]:
    """The mean of each metric, and the number of scores that ragas left out."""
    import ragas
    from ragas import metrics
    from ragas.embeddings import LlamaIndexEmbeddingsWrapper
    from ragas.llms import LlamaIndexLLMWrapper

    rows = [
        {
            "user_input": question,
            "response": str(response),
            "retrieved_contexts": [found.node.get_content() for found in response.source_nodes],
            "reference": truth,
        }
        for (question, truth), response in zip(trial.questions, responses, strict=True)
    ]
    names = ("faithfulness", "answer_relevancy", "context_precision", "context_recall", "answer_correctness")
    result = ragas.evaluate(
        ragas.EvaluationDataset.from_list(rows),
        metrics=[getattr(metrics, name) for name in (*names, "answer_similarity")],
        llm=LlamaIndexLLMWrapper(_llm(JUDGE_LLM, trial.base_url)),
        embeddings=LlamaIndexEmbeddingsWrapper(_embed_model(JUDGE_EMBED_MODEL, trial.base_url)),
        show_progress=False,
    )
    means: dict[str, float | None] = {}
    unscored = 0
    for name in result.scores[0]:
        values = [row[name] for row in result.scores]
        good = [float(value) for value in values if value is not None and not math.isnan(value)]
        means[name] = sum(good) / len(good) if good else None
        unscored += len(values) - len(good)
    return means, unscored


def _llm(model: str, base_url: str) -> Any:
    from llama_index.llms.openai_like import OpenAILike

    return OpenAILike(model=model, api_base=base_url, api_key=KEY, is_chat_model=True, context_window=16_384)


def _embed_model(model: str, base_url: str) -> Any:
    from llama_index.embeddings.openai import OpenAIEmbedding

    return OpenAIEmbedding(model_name=model, api_base=base_url, api_key=KEY)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.original_procedure", description=__doc__)
    parser.add_argument("--base-url", required=True, help="of an OpenAI-compatible provider")
    parser.add_argument("--documents", default="notebooks/sample_documents", help="a folder of PDFs")
    parser.add_argument("--questions", type=Path, required=True, help="a CSV with columns question, ground_truth")
    options = parser.parse_args()
    with options.questions.open(newline="", encoding="utf-8") as rows:
        questions = tuple((row["question"], row["ground_truth"]) for row in csv.DictReader(rows))
    trials = [
        Trial(*choice, options.base_url, options.documents, questions)
        for choice in itertools.product(METHODS, LLMS, EMBED_MODELS)
    ]
    workers = {"max_workers": TRIALS_AT_A_TIME, "max_tasks_per_child": 1, "mp_context": get_context("spawn")}
    # Without this ragas reports home from within its event loop, and every call waits for it.
    os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")
    with ProcessPoolExecutor(**workers) as pool:
        outcomes = list(pool.map(run_trial, trials))
    print(json.dumps([asdict(outcome) for outcome in outcomes]))


if __name__ == "__main__":
    main()
