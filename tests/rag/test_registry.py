"""Registering a method: its parameters are checked at once, and ids of trials outlive new factors."""

import sys

import pytest
from pydantic import BaseModel, Field

from dream.errors import ConfigurationError
from dream.rag.methods import (
    RAG_METHODS,
    context_llm_of,
    find_rag_method,
    imported_method,
    index_request,
    rag_method,
)
from dream.rag.search_space import SearchSpace
from dream.records import Trial


class Walk(BaseModel):
    depth: int = Field(2, ge=1, le=4)
    rerank_to: int = Field(3, ge=1)


def trials(name: str, **parameters):
    return SearchSpace([name], ["offline/llm-small"], ["offline/embed-small"], {name: parameters}).trials()


def test_a_method_with_a_model_has_its_bounds_and_the_defaults_of_its_chunker():
    @rag_method(parameters=Walk)
    def graph_walk(index, llm, *, depth, rerank_to): ...

    (trial,) = trials("graph_walk", depth=3)
    assert dict(trial.parameters) == {"depth": 3, "rerank_to": 3}
    assert index_request(trial).parameters == {"chunk_size": 512, "chunk_overlap": 64}
    with pytest.raises(ConfigurationError) as caught:
        trials("graph_walk", depth=[2, 9], rerank_to=-7, mode="nonsense")
    assert str(caught.value).splitlines()[1:] == [
        "  - graph_walk has no parameter 'mode'; valid: depth, rerank_to",
        "  - graph_walk: rerank_to=-7 must be a whole number of at least 1",
        "  - graph_walk: depth=9 must be a whole number from 1 to 4",
    ]


@pytest.mark.parametrize(
    ("chunker", "defaults", "expected"),
    [
        ("overlapping", {}, "unknown chunker 'overlapping'; valid: overlapping_chunks"),
        ("sentences", {"depth": 2, "deep": 1}, "the function does not accept its declared parameter 'deep'"),
        ("sentences", {}, "the function requires 'depth', which is not a declared parameter"),
        ("overlapping_chunks", {"depth": 1, "chunk_size": 8, "chunk_overlap": 9}, "chunk_overlap=9 must be smaller"),
        (
            "sentences",
            {"parameters": Walk, "depth": 1},
            "depth cannot be combined with parameters=Walk: put them into that model",
        ),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_registered(chunker, defaults, expected):
    with pytest.raises(ConfigurationError, match=expected):

        @rag_method(chunker, **defaults)
        def lookup(index, llm, *, depth): ...

    assert "lookup" not in RAG_METHODS


def test_an_index_by_meaning_needs_vectors_and_has_no_overlap():
    (trial,) = trials("hybrid", chunker="semantic")
    assert index_request(trial)[:2] == ("semantic", {"chunk_size": 512})
    with pytest.raises(ConfigurationError, match="bm25: chunker='semantic' needs an embedding model"):
        trials("bm25", chunker="semantic")


def test_the_context_of_chunks_is_of_the_index_and_left_out_where_there_is_none():
    written, by_another = trials("bm25", chunk_context="llm", context_llm=["default", "gpt-4o"])
    assert index_request(written).parameters["context_llm"] == context_llm_of(written) == written.llm_identifier
    assert index_request(by_another).parameters["context_llm"] == context_llm_of(by_another) == "gpt-4o"
    plain, contextual = trials("sentence_window", chunk_context=["none", "headings"], context_llm=["gpt-4o", "b@c"])
    assert "chunk_context" not in plain.parameters
    assert index_request(plain).parameters == {}
    assert index_request(contextual)[:2] == ("sentences", {"chunk_context": "headings"})


def test_ids_of_trials_and_indexes_of_earlier_versions_are_the_same():
    names = ["chunks_with_overlap", "sentence_window", "hierarchical_automerging"]
    space = SearchSpace(names, ["offline/llm-small"], ["offline/embed-small"])
    assert [trial.id for trial in space.trials()] == ["6f7cd746bf96", "1e4faf6c8dc1", "adf78c635e5c"]
    assert [tuple(index_request(trial)) for trial in space.trials()] == [
        ("overlapping_chunks", {"chunk_size": 512, "chunk_overlap": 64}, "offline/embed-small"),
        ("sentences", {}, "offline/embed-small"),
        ("hierarchy", {"chunk_sizes": (1024, 512, 128)}, "offline/embed-small"),
    ]


def test_factors_are_in_a_trial_only_where_they_matter():
    found = trials("chunks_with_overlap", reranker=["none", "llm"], rerank_from=[10, 20], query_transform="none")
    own = {"chunk_size": 512, "chunk_overlap": 64, "top_k": 3, "context_tokens": 1536}
    assert [dict(trial.parameters) for trial in found] == [
        own,
        {**own, "reranker": "llm", "rerank_from": 10},
        {**own, "reranker": "llm"},
    ]
    assert found[0].id == "6f7cd746bf96"


def test_an_experiments_own_methods_come_before_those_of_the_process():
    @rag_method("sentences")
    def chunks_with_overlap(index, llm): ...

    own = {"chunks_with_overlap": RAG_METHODS["chunks_with_overlap"]}
    del RAG_METHODS["chunks_with_overlap"]
    trial = Trial("chunks_with_overlap", "llm", "embed")
    assert index_request(trial, own).chunker == "sentences"
    with pytest.raises(ConfigurationError, match=r"unknown query engine .* is registered when the cell or module"):
        find_rag_method("chunks_with_overlap")


def test_a_method_is_imported_by_its_module(tmp_path, monkeypatch):
    source = "from dream.rag import rag_method\n@rag_method('sentences')\ndef walk(index, llm): ...\n"
    (tmp_path / "my_walks.py").write_text(source)
    (tmp_path / "my_broken_walks.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert imported_method("my_walks:walk") == "walk"
    assert RAG_METHODS["walk"].chunker == "sentences"
    with pytest.raises(ConfigurationError, match="my_walks registers no RAG method 'run'"):
        imported_method("my_walks:run")
    with pytest.raises(ConfigurationError, match=r"cannot import 'my_broken_walks': .*no_such_package"):
        imported_method("my_broken_walks:walk")
