"""The planned calls and tokens of every method and factor are those that the gateway counts: calls within a tenth."""

import shutil
from collections import Counter

import pytest
from lab import REPOSITORY
from model_servers import endpoint_settings

from dream.experiments.planning import plan
from dream.experiments.spec import ExperimentSpec
from dream.experiments.trial import experiment
from dream.indexes import client as index_client
from dream.models import gateway_client
from dream.rag.costs import calls_of
from dream.rag.methods import RAG_METHODS, rag_method
from dream.rag.search_space import SearchSpace
from dream.records import GoldenDataset, GoldenQuestion, Source, Trial

QUESTIONS = (
    "How many colonies were surveyed in spring?",
    "Which mite is counted, and how is it treated?",
    "What do the inspectors measure every month?",
    "How are hives fed in autumn?",
    "Which losses did keepers report last winter?",
    "How deep do the turbines stand?",
    "How often is a blade inspected?",
    "What happens when a cable is damaged?",
    "Who decides on a shutdown in a storm?",
    "How much energy did the array give to the grid?",
    "Which vessel carries the spare parts?",
    "How is fouling removed from a rotor?",
)
GOLDEN = GoldenDataset(
    tuple(
        GoldenQuestion(f"q{number}", text, "It is written in the report.", sources=(Source(f"{number}.pdf"),))
        for number, text in enumerate(QUESTIONS)
    )
)
METRICS = ["context_precision"]  # one call for each passage
# Shares by which planned tokens may differ: the offline models count some 10 % fewer than cl100k_base, 25 % of JSON,
# and what they write, such as the queries that are embedded, has any length.
READ, WRITTEN = 0.35, 1.5
FACTORS = [
    {"query_transform": "hyde"},
    {"query_transform": "multi_query", "n_queries": 2},
    {"reranker": "llm", "rerank_from": 15},
    {"reranker": "rerank@relay", "query_transform": "multi_query"},
    {"chunk_size": 200, "chunk_overlap": 20, "top_k": 20},
]
SPACES = [
    SearchSpace([name], ["llm-large@relay"], ["embed-small@relay"], {name: parameters})
    for name, parameters in [
        *((name, {}) for name in RAG_METHODS),
        *(("chunks_with_overlap", each) for each in FACTORS),
    ]
]


@pytest.fixture(scope="module")
def settings(_models, _relay, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "documents").mkdir()
    for name in ("bee health survey.pdf", "tidal-array-operations.pdf"):
        shutil.copy(REPOSITORY / "notebooks/sample_documents" / name, home / "documents")
    more = {"DREAM_JUDGE_LLM": "judge@relay", "DREAM_JUDGE_EMBED_MODEL": "embed-large@relay"}
    return endpoint_settings(_models.without_faults(), _relay, DREAM_HOME=str(home), **more)


@pytest.fixture(scope="module")
def usage(settings):
    """What the gateway counted for each trial, all of them run at once by the functions that an experiment runs."""
    prepared = [ExperimentSpec(space, GOLDEN, metrics=METRICS).prepare(settings) for space in SPACES]
    rows: dict[str, dict[tuple[str, str], Counter[str]]] = {}
    with gateway_client.opened(settings) as gateway, index_client.opened(settings):
        for each in prepared:
            (trial,) = each.trials
            result = experiment(trial.config(), each.context)
            assert not [answer.failure for answer in result.answers if answer.failure]
            for row in gateway.usage(trial.id):
                counts = {"calls": row.calls, "prompt": row.prompt_tokens, "completion": row.completion_tokens}
                of_trial = rows.setdefault(trial.id, {})
                of_trial.setdefault((f"{row.model}@relay", row.stage), Counter()).update(counts)
    return rows


@pytest.mark.whole
@pytest.mark.parametrize("space", SPACES, ids=[f"{each.query_engines} {each.parameters}" for each in SPACES])
def test_planned_calls_are_within_a_tenth_of_the_actual_ones_and_tokens_are_near(space, settings, usage):
    planned = plan(space, golden_dataset=GOLDEN, metrics=METRICS, settings=settings)
    (trial,) = space.trials()
    actual = usage[trial.id]
    rows = {(row.model, row.stage): row for row in planned.calls if row.stage != "embed" and row.calls}
    assert rows.keys() == actual.keys()
    for key, row in rows.items():
        is_written = key[1] == "query" and "query_transform" in trial.parameters
        assert row.calls == pytest.approx(actual[key]["calls"], rel=0.1), key
        assert row.prompt_tokens == pytest.approx(actual[key]["prompt"], rel=WRITTEN if is_written else READ), key
        assert row.completion_tokens == pytest.approx(actual[key]["completion"], rel=WRITTEN), key


def test_calls_follow_from_the_factors_that_play_a_part():
    def calls(**parameters):
        return calls_of(Trial("hybrid", "llm", "embed", {"top_k": 3, "chunk_size": 512, **parameters}))

    plain = calls()
    assert (plain.of_llm, plain.embedding, plain.reranking, plain.passages) == (1, 1, 0, 3)
    assert calls(query_transform="multi_query", n_queries=4).embedding == 5
    assert calls(query_transform="decompose", n_queries=4).embedding == 3  # between 1 and 5
    assert calls(reranker="llm", rerank_from=31).ranking == 4
    assert calls(reranker="a@tei").reranking == 1
    assert calls(reranker="local:models/a").reranking == calls(reranker="local:models/a").ranking == 0
    assert calls(top_k=50).passages == 3  # as many as fit 1,536 tokens
    assert calls_of(Trial("bm25", "llm", "", {"top_k": 2, "query_transform": "hyde"})).embedding == 0


def test_a_method_declares_what_it_costs():
    @rag_method("sentences", llm_calls=3, passages_a_hit=0.5, query_embeddings=2, top_k=8)
    def thorough(index, llm, *, top_k): ...

    @rag_method("sentences")
    def silent(index, llm): ...

    try:
        calls = calls_of(Trial("thorough", "llm", "embed", {"top_k": 8}))
        assert (calls.of_llm, calls.embedding, calls.passages) == (3, 2, 4)
        assert calls_of(Trial("silent", "llm", "embed")).of_llm == 1
    finally:
        del RAG_METHODS["thorough"], RAG_METHODS["silent"]
