"""Rankings of Cohere, Jina, vLLM and TEI; what is none of all documents is refused."""

import json

import pytest

from dream.models.no_answer import NoAnswer
from dream.models.rerank_reading import read_ranking

ASKED = {"documents": ["a", "b"]}
READ = [{"index": 0, "relevance_score": 0.1}, {"index": 1, "relevance_score": 0.9}]


def read(answer, asked=ASKED):
    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return read_ranking(asked, content, "application/json")


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        (  # Cohere
            {
                "id": "1",
                "results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}],
                "meta": {"billed_units": {"search_units": 1}},
            },
            None,
        ),
        (  # Jina
            {
                "model": "jina-reranker-v2",
                "results": [{"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}, READ[0]],
                "usage": {"total_tokens": 15},
            },
            {"prompt_tokens": 15},
        ),
        (  # vLLM
            {"results": READ[::-1], "usage": {"total_tokens": 56, "prompt_tokens": 56}},
            {"prompt_tokens": 56},
        ),
        ([{"index": 1, "score": 0.9, "text": "b"}, {"index": 0, "score": 0.1}], None),  # TEI
    ],
)
def test_the_scores_of_all_documents_in_their_order(answer, usage):
    ranking = read(answer)
    assert not isinstance(ranking, NoAnswer)
    assert ranking["results"] == READ
    assert ranking.get("usage") == usage


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([{"index": 0, "score": 0.5}], r"ranked the documents \[0\] of 2"),
        ([{"index": 0, "score": 0.5}, {"index": 2, "score": 0.5}], r"ranked the documents \[0, 2\] of 2"),
        ([{"index": 0, "score": 0.5}, {"index": 0, "score": 0.4}], "no ranking"),
        ([{"index": 0, "score": None}, {"index": 1, "score": 1}], "no ranking"),
        (b'[{"index": 0, "score": NaN}, {"index": 1, "score": 1}]', "no ranking"),
        ({"object": "list"}, "no ranking"),
        ({"error": {"message": "model overloaded"}}, "model overloaded"),
        (b"<html><title>Sign in</title></html>", "Sign in"),
        (b"", "an empty body"),
    ],
)
def test_what_is_no_ranking_is_told(answer, reason):
    import re

    failure = read(answer)
    assert isinstance(failure, NoAnswer)
    assert re.search(reason, failure.reason)


def test_one_document():
    ranking = read([{"index": 0, "score": 0.5}], {"documents": ["a"]})
    assert not isinstance(ranking, NoAnswer)
    assert ranking["results"] == [{"index": 0, "relevance_score": 0.5}]
