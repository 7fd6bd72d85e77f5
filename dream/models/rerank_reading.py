"""Reads a server's response to a `/rerank` request: a score per document, in the form of Cohere, Jina and vLLM.

    {"results": [{"index": 0, "relevance_score": 0.98}, ...], "usage": {"prompt_tokens": 120}}

TEI answers with a list of {"index", "score"}; Cohere and Jina put the best first.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from dream.models.answer_reading import body_of
from dream.models.no_answer import NoAnswer, of_error, of_stranger

RESULTS, INDEX, SCORE = "results", "index", "relevance_score"
_SCORES = (SCORE, "score", "similarity")


def read_ranking(request: Mapping[str, Any], content: bytes, content_type: str) -> dict[str, Any] | NoAnswer:
    """The scores of all documents in the order of the request, or why the response has none.

    Example:
        >>> tei = b'[{"index": 1, "score": 0.9}, {"index": 0, "score": 0.2}]'
        >>> read_ranking({"documents": ["a", "b"]}, tei, "application/json")["results"]
        [{'index': 0, 'relevance_score': 0.2}, {'index': 1, 'relevance_score': 0.9}]
    """
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        answer = None
    rows = answer if isinstance(answer, list) else None
    if rows is None:
        answer = body_of(content, content_type)
        if isinstance(answer, NoAnswer):
            return answer
        if (failure := of_error(answer)) is not None:
            return failure
        rows = next((answer[name] for name in (RESULTS, "data") if isinstance(answer.get(name), list)), None)
    scores = None if rows is None else _scores(rows)
    if scores is None:
        return of_stranger(answer, "ranking")
    n_documents = len(request.get("documents") or ())
    if sorted(scores) != list(range(n_documents)):
        return NoAnswer(f"ranked the documents {sorted(scores)[:20]} of {n_documents}", most_attempts=1)
    results = [{INDEX: index, SCORE: scores[index]} for index in range(n_documents)]
    tokens = _tokens(answer) if isinstance(answer, Mapping) else None
    return {RESULTS: results, **({} if tokens is None else {"usage": {"prompt_tokens": tokens}})}


def _scores(rows: list[Any]) -> dict[int, float] | None:
    """The score of each document; None if a row has none that is a number, or a document has two."""
    scores: dict[int, float] = {}
    for row in rows:
        index = row.get(INDEX) if isinstance(row, Mapping) else None
        score = next((row[name] for name in _SCORES if name in row), None) if isinstance(row, Mapping) else None
        is_number = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
        if not isinstance(index, int) or index in scores or not is_number or score is None:
            return None
        scores[index] = float(score)
    return scores


def _tokens(answer: Mapping[str, Any]) -> int | None:
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return None
    counts = (usage.get(name) for name in ("prompt_tokens", "total_tokens", "input_tokens"))
    return next((count for count in counts if isinstance(count, int) and count > 0), None)
