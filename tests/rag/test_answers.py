"""The factors of retrieval methods: what each sends to the LLM, and that nothing changes where none is asked for."""

import pytest
from llama_index.core.query_engine import CustomQueryEngine, RetrieverQueryEngine
from model_servers import pages
from pydantic import BaseModel

from dream.errors import ConfigurationError
from dream.indexes.chunkers import build_index
from dream.models.pickers import embed_model_picker, llm_picker
from dream.rag.answers import models_of, query_engine_picker
from dream.rag.methods import RAG_METHODS, rag_method
from dream.rag.parameters import RetrievalParameters
from dream.records import Trial

TEXT = " ".join(f"Lamp {number} of the mast burns since {1900 + number}." for number in range(60))
QUESTION = "Since when does lamp 7 burn?"
OWN_PROMPT = "Notes:\n{context_str}\n---\nAnswer in one word. Question: {query_str}\n"


@pytest.fixture
def index(gateway):
    return build_index(
        pages("a.txt", TEXT),
        "overlapping_chunks",
        {"chunk_size": 32, "chunk_overlap": 0},
        embed_model_picker("embed-small"),
    )


@pytest.fixture
def asked(index, relay):
    """`asked(**parameters)`: the response, and the chat requests that it took."""

    async def ask(**parameters):
        engine = query_engine_picker("chunks_with_overlap", index, llm_picker("llm-large@relay"), parameters, trial="t")
        relay.requests.clear()
        response = await engine.aquery(QUESTION)
        return response, [seen for seen in relay.requests if seen.path.endswith("/chat/completions")]

    return ask


async def test_a_prompt_of_ones_own_takes_the_place_of_the_usual_one(asked):
    response, (chat,) = await asked(prompt=OWN_PROMPT)
    assert chat.prompt.startswith("Notes:\nLamp")
    assert chat.prompt.endswith(f"Answer in one word. Question: {QUESTION}\n")
    assert "Context information" not in chat.prompt
    assert len(response.source_nodes) == 3


async def test_system_prompt_temperature_and_limit_are_those_of_the_answer_alone(asked):
    _, chats = await asked(
        system_prompt="Be brief.", temperature=0.7, max_tokens=64, query_transform="hyde", reranker="llm", rerank_from=5
    )
    bodies = [chat.body for chat in chats]
    assert [body["temperature"] for body in bodies] == [0.0, 0.0, 0.7]
    assert [body.get("max_tokens") == 64 for body in bodies] == [False, False, True]
    assert [body["messages"][0]["role"] for body in bodies] == ["user", "user", "system"]
    assert bodies[-1]["messages"][0]["content"] == "Be brief."


async def test_with_all_factors_at_their_defaults_the_request_is_the_same(asked):
    _, (plain,) = await asked()
    _, again = await asked(query_transform="none", reranker="none", prompt="default", temperature=0.0, n_queries=5)
    assert again == []  # the cache has it, so it is the same request
    assert plain.body["temperature"] == 0.0


@pytest.mark.parametrize("transform", ["hyde", "multi_query", "decompose"])
async def test_several_searches_give_as_many_hits_as_one(transform, asked):
    response, chats = await asked(query_transform=transform, top_k=2)
    assert len(response.source_nodes) == 2
    assert len(chats) == 2


async def test_reranking_reads_more_hits_and_keeps_as_many(asked):
    response, (ranking, answering) = await asked(reranker="llm", rerank_from=9, top_k=2)
    assert ranking.prompt.count("Passage ") == 9
    assert len(response.source_nodes) == 2
    assert "Lamp 7 of the mast burns since 1907" in answering.prompt
    scores = [hit.score for hit in response.source_nodes]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= min(scores) <= max(scores) <= 1


def test_factors_need_an_engine_of_answer_from(index):
    class Other(CustomQueryEngine):
        def custom_query(self, query_str: str) -> str:
            return "no"

    @rag_method(parameters=RetrievalParameters)
    def other(index, llm, *, context_tokens):
        return Other()

    class Plain(BaseModel):
        prompt: str = "its own"

    @rag_method(parameters=Plain)
    def with_its_own_prompt(index, llm, *, prompt):
        assert prompt == "mine"
        return Other()

    try:
        llm = llm_picker("llm-large")
        with pytest.raises(ConfigurationError, match="other: query_transform cannot be applied to a Other: return the"):
            query_engine_picker("other", index, llm, {"query_transform": "hyde"})
        assert isinstance(query_engine_picker("other", index, llm, {"temperature": 0.5}), Other)
        assert isinstance(query_engine_picker("with_its_own_prompt", index, llm, {"prompt": "mine"}), Other)
    finally:
        del RAG_METHODS["other"], RAG_METHODS["with_its_own_prompt"]


def test_wrong_values_are_refused(index):
    with pytest.raises(ConfigurationError, match="top_k=0 must be a whole number of at least 1"):
        query_engine_picker("chunks_with_overlap", index, llm_picker("llm-large"), {"top_k": 0})


def test_the_usual_engine_is_llamaindexs(index):
    engine = query_engine_picker("chunks_with_overlap", index, llm_picker("llm-large"))
    assert isinstance(engine, RetrieverQueryEngine)


def test_a_trials_models_have_its_reranker():
    assert models_of(Trial("bm25", "a", "", {"reranker": "c@tei"})) == ["a", "c@tei"]
    assert models_of(Trial("hybrid", "a", "b", {"reranker": "llm"})) == ["a", "b"]
