"""Winners of every kind of method and factor: what is served asks the models exactly what was asked when it was
measured, so that its answers are the measured ones."""

import sys
from collections.abc import Iterator

import pytest
from birds import PLACES, write_documents
from cross_encoders import write_cross_encoder

from dream import services
from dream.errors import ConfigurationError
from dream.evaluation.asking import ask
from dream.experiments.run import run_experiment
from dream.experiments.spec import ExperimentSpec
from dream.models import gateway_client
from dream.models.gateway_client import GatewayClient
from dream.rag.methods import RAG_METHODS, imported_method
from dream.rag.search_space import SearchSpace
from dream.rag.search_spaces import JoinedSpace
from dream.records import ExperimentResult, GoldenDataset, GoldenQuestion, Source, TrialResult
from dream.runtime.event_loop import run_async
from dream.serving.engine import differing_models, opened_engine
from dream.serving.export import promotion_from
from dream.serving.promotion import promotion_of
from dream.settings import Settings

pytestmark = pytest.mark.whole
BIRDS = ("heron", "kestrel", "plover")
QUESTIONS = tuple(
    GoldenQuestion(
        bird, f"Where did the {bird} rest at dawn?", f"By the old {place}.", sources=(Source(f"{bird}.txt"),)
    )
    for bird, place in zip(BIRDS, PLACES, strict=True)
)
MODULE = """
from dream.rag import answer_from, rag_method
from dream.rag.parameters import RetrievalParameters


class Rounded(RetrievalParameters):
    chunk_size: int = 40
    chunk_overlap: int = 0
    top_k: int = 2


@rag_method("tokens", parameters=Rounded)
def rounded(index, llm, *, top_k, context_tokens):
    return answer_from(index.as_retriever(similarity_top_k=top_k + 1), llm)
"""
PROMPT = "Passages:\n{context_str}\nAnswer in a few words.\nQuestion: {query_str}\n"
CHUNKS = {"chunk_size": 40, "chunk_overlap": 0, "top_k": 3}
CONTEXTS = {"chunk_context": "llm", "context_llm": "offline/llm-small"}
SYSTEMS = {
    "contexts by an LLM": ("chunks_with_overlap", {**CHUNKS, **CONTEXTS}),
    "words and contexts by an LLM": ("bm25", {**CHUNKS, "chunk_context": "llm"}),
    "words": ("bm25", CHUNKS),
    "rerank model": ("chunks_with_overlap", {**CHUNKS, "reranker": "offline/rerank"}),
    "cross-encoder": ("chunks_with_overlap", {**CHUNKS, "reranker": "local:{home}/cross-encoder"}),
    "HyDE": ("chunks_with_overlap", {**CHUNKS, "query_transform": "hyde"}),
    "decomposition": ("bm25", {**CHUNKS, "query_transform": "decompose"}),
    "prompt": ("chunks_with_overlap", {**CHUNKS, "prompt": PROMPT, "system_prompt": "Be brief.", "temperature": 0.7}),
    "tuple of sizes": ("parent_document", {"chunk_sizes": (60, 20)}),
    "whole documents": ("long_context", {"context_tokens": 400}),
    "own method": ("rounded", CONTEXTS),
}  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home with birds, a cross-encoder and the module of an own method, which is gone afterwards."""
    home, known = tmp_path_factory.mktemp("factors"), dict(RAG_METHODS)
    made = Settings.from_environment(
        {"DREAM_HOME": str(home), "DREAM_ENGINE": "in_process", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    )
    write_documents(made, BIRDS)
    write_cross_encoder(home / "cross-encoder", f"rested by the old at dawn where did {' '.join((*BIRDS, *PLACES))}")
    (home / "rounded_methods.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # it is down, and is not waited for
        patch.syspath_prepend(str(home))
        imported_method("rounded_methods:rounded")
        yield made
    RAG_METHODS.clear()
    RAG_METHODS.update(known)
    sys.modules.pop("rounded_methods", None)


@pytest.fixture(scope="module")
def experiment(settings: Settings) -> ExperimentResult:
    """A trial of each, in the order of SYSTEMS."""
    spaces = [
        SearchSpace([method], ["offline/llm-large"], ["offline/embed-small"], {method: {
            name: value.format(home=settings.home) if name == "reranker" else value
            for name, value in parameters.items()
        }})
        for method, parameters in SYSTEMS.values()
    ]  # fmt: skip
    found = run_experiment(
        ExperimentSpec(JoinedSpace(spaces), GoldenDataset(QUESTIONS), metrics=["token_f1"]),
        name="factors",
        settings=settings,
        show=None,
    )
    assert len(found.results) == len(SYSTEMS) and not [each.error for each in found.results if each.error]
    return found


@pytest.fixture(scope="module")
def gateway(settings: Settings, experiment: ExperimentResult) -> Iterator[GatewayClient]:
    with services.in_this_process(), gateway_client.opened(settings) as opened:
        yield opened


def result_of(experiment: ExperimentResult, system: str) -> TrialResult:
    return experiment.results[list(SYSTEMS).index(system)]


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_served_asks_what_was_asked_when_it_was_measured(system, experiment, settings, gateway):
    result = result_of(experiment, system)
    promotion = promotion_of(promotion_from(experiment, settings, trial=result.trial.id).to_yaml())
    engine = opened_engine(promotion, settings)
    before = sum(row.sent for row in gateway.usage())
    for question, measured in zip(QUESTIONS, result.answers, strict=True):
        answer = run_async(ask(engine, question, True))
        assert (answer.text, answer.contexts) == (measured.text, measured.contexts)
    assert sum(row.sent for row in gateway.usage()) == before  # the cache has all


def test_a_cross_encoder_with_other_files_is_refused(experiment, settings, gateway):
    result = result_of(experiment, "cross-encoder")
    promotion = promotion_from(experiment, settings, trial=result.trial.id)
    (name,) = promotion.endpoints
    assert name.startswith("local:") and differing_models(promotion) == []
    other = promotion.model_copy(update={"endpoints": {name: "sha256:0"}})
    with pytest.raises(ConfigurationError, match=r"are not those of the experiment .*, measured with sha256:0"):
        opened_engine(other, settings)
    assert differing_models(other)[0].startswith(f"{name} was at sha256:0, here at sha256:")
