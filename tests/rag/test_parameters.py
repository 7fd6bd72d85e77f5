"""Values of parameters: every mistake is told with what is valid, and nothing is converted silently."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from dream.rag.parameters import HierarchyParameters, RetrievalParameters, defaults_of, inferred_model, mistakes


class Walk(BaseModel):
    rerank_to: int = Field(3, ge=1, le=50)
    mode: Literal["fast", "thorough"] = "fast"
    weights: tuple[float, ...] = (0.5, 0.5)
    is_deep: bool = False
    limit: Annotated[int, Field(ge=1)] | None = None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"rerank_to": -7}, "rerank_to=-7 must be a whole number from 1 to 50"),
        ({"rerank_to": "3"}, "rerank_to='3' must be a whole number from 1 to 50"),
        ({"rerank_to": True}, "rerank_to=True must be a whole number from 1 to 50"),
        ({"rerank_to": 2.5}, "rerank_to=2.5 must be a whole number from 1 to 50"),
        ({"mode": "nonsense"}, "mode='nonsense' must be fast or thorough"),
        ({"weights": (0.5, "much")}, "weights: 'much' must be a list, each a number"),
        ({"is_deep": 1}, "is_deep=1 must be true or false"),
        ({"limit": 0}, "limit=0 must be a whole number of at least 1 or None"),
        ({"depth": 1}, "has no parameter 'depth'; valid: rerank_to, mode, weights, is_deep, limit"),
        (
            {"rerank_to": object},
            "contains a value that JSON cannot represent: Object of type type is not JSON serializable",
        ),
    ],
)
def test_a_mistake_names_the_value_and_what_is_valid(values, expected):
    assert mistakes(Walk, values) == [expected]


def test_all_mistakes_come_at_once_and_good_values_make_none():
    assert len(mistakes(Walk, {"rerank_to": 0, "mode": "no", "is_deep": "yes", "depth": 2})) == 4
    assert mistakes(Walk, {"rerank_to": 7, "mode": "thorough", "weights": [1, 2.5], "limit": 4}) == []


def test_values_that_contradict_each_other():
    assert mistakes(HierarchyParameters, {"chunk_sizes": (128, 512)}) == [
        "chunk_sizes=[128, 512] must be two or more sizes in descending order"
    ]

    class Ranked(RetrievalParameters):
        top_k: int = 30

    assert mistakes(Ranked, {}) == []
    assert mistakes(Ranked, {"reranker": "llm"}) == [
        "rerank_from=20 must be at least top_k=30, the number of hits that remain"
    ]
    (problem,) = mistakes(Ranked, {"prompt": "Answer {query_str}"})
    assert problem == "prompt='Answer {query_str}' lacks {context_str}; or write 'default'"


def test_types_are_inferred_from_annotations_and_defaults():
    def lookup(index, llm, *, depth: "int | None", mode: 'Literal["a", "b"]', share, top_k, engine: "Unknown"): ...  # noqa: F821

    defaults = {
        "depth": None,
        "mode": "a",
        "share": 0.5,
        "top_k": 3,
        "engine": "x",
        "chunk_size": 64,
        "chunk_overlap": 8,
    }
    model = inferred_model("lookup", "overlapping_chunks", defaults, [lookup])
    assert defaults_of(model) == defaults
    assert mistakes(model, {"depth": 2, "mode": "b", "share": 1, "chunk_size": 16}) == []
    assert mistakes(model, {"depth": "deep"}) == ["depth='deep' must be a whole number or None"]
    assert mistakes(model, {"mode": "c", "top_k": 0, "share": "x", "engine": 3}) == [
        "mode='c' must be a or b",
        "share='x' must be a number",
        "top_k=0 must be a whole number of at least 1",
        "engine=3 must be a text",
    ]
    assert mistakes(model, {"chunk_overlap": 64}) == ["chunk_overlap=64 must be smaller than chunk_size=64"]


def test_a_model_needs_defaults():
    class Without(BaseModel):
        depth: int

    with pytest.raises(ValueError, match="every parameter needs a default; Without has none for depth"):
        defaults_of(Without)
