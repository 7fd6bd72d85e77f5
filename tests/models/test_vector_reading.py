"""Each text gets its own vector, or the response is no answer."""

import base64
import json
from array import array
from typing import Any

import openai
import pytest
from model_servers import Reply, Seen

from dream.errors import explain
from dream.models.no_answer import NoAnswer
from dream.models.pickers import embed_model_picker
from dream.models.vector_reading import KnownVectors, distinct, float32, problem_of, read_vectors

TEXTS = ["the mast", "the well", "the herons"]
VECTORS = [[1.0, 0.5], [0.25, -1.0], [0.0, 2.0]]
PACKED = [array("f", vector).tobytes() for vector in VECTORS]
NAN, INFINITE = float("nan"), float("inf")


def rows(*vectors: Any, indices: Any = None) -> dict[str, Any]:
    indices = range(len(vectors)) if indices is None else indices
    return {"data": [{"index": index, "embedding": vector} for index, vector in zip(indices, vectors, strict=True)]}


def packed(vector: list[float]) -> str:
    return base64.b64encode(array("f", vector).tobytes()).decode()


GOOD = {
    "numbers": rows(*VECTORS),
    "whole numbers": rows([1, 0], [0, 1], [1, 1]),
    "base64": rows(*map(packed, VECTORS)),
    "shuffled": rows(VECTORS[2], VECTORS[0], VECTORS[1], indices=[2, 0, 1]),
    "no index": rows(*VECTORS, indices=[None] * 3),
    "numbered from 1": rows(*VECTORS, indices=[1, 2, 3]),
    "numbered by texts": rows(*VECTORS, indices=["0", "1", "2"]),
    "not normalised": rows([100.0, 50.0], [2.5, -10.0], [0.0, 2000.0]),
}
BAD = {
    "one is missing": (rows(*VECTORS[:2]), "gave 2 vectors for 3 texts"),
    "one too many": (rows(*VECTORS, [1.0, 1.0]), "gave 4 vectors for 3 texts"),
    "none": (rows(), "gave 0 vectors for 3 texts"),
    "all have index 0": (rows(*VECTORS, indices=[0, 0, 0]), "numbered its 3 vectors 0, 0, 0"),
    "an index twice": (rows(*VECTORS, indices=[0, 1, 1]), "numbered its 3 vectors 0, 1, 1"),
    "an index left out": (rows(*VECTORS, indices=[0, 1, 3]), "numbered its 3 vectors 0, 1, 3"),
    "an index of one only": (rows(*VECTORS, indices=[0, None, None]), "numbered its 3 vectors 0, None, None"),
    "NaN": (rows(VECTORS[0], [NAN, 1.0], VECTORS[2]), "not finite (NaN or infinite) for text 2 of 3"),
    "infinite": (rows(*VECTORS[:2], [INFINITE, 1.0]), "not finite (NaN or infinite) for text 3 of 3"),
    "too large": (rows(*VECTORS[:2], [1e300, 1.0]), "not finite (NaN or infinite) for text 3 of 3"),
    "zeros": (rows(VECTORS[0], [0.0, 0.0], VECTORS[2]), "only zeros for text 2 of 3"),
    "empty": (rows([], [], []), "an empty vector for text 1 of 3"),
    "empty base64": (rows("", "", ""), "an empty vector for text 1 of 3"),
    "of several lengths": (rows(VECTORS[0], [1.0], VECTORS[2]), "vectors of different lengths: 1, 2"),
    "no numbers": (rows(["a", "b"], *VECTORS[1:]), "no usable vector for text 1 of 3"),
    "null in it": (rows([None, 1.0], *VECTORS[1:]), "no usable vector for text 1 of 3"),
    "null": (rows(None, *VECTORS[1:]), "None in place of a list of numbers"),
    "no base64": (rows("not base64", *map(packed, VECTORS[1:])), "no usable vector for text 1 of 3"),
    "cut base64": (rows("AACA", *map(packed, VECTORS[1:])), "3 bytes"),
    "one for each token": (rows([[1.0, 2.0], [3.0, 4.0]], *VECTORS[1:]), "one for each token"),
    "one for all": (rows(*[VECTORS[0]] * 3), "one and the same vector for 3 different texts"),
    "an error": ({"error": {"message": "model not loaded", "code": 400}}, "model not loaded"),
    "an error beside vectors": ({**rows(*VECTORS), "error": "overloaded"}, "overloaded"),
    "another thing": ({"embeddings": VECTORS}, "is no list of embeddings"),
}


@pytest.mark.parametrize("habit", GOOD)
def test_vectors_are_read_in_the_order_of_the_texts(habit: str):
    read = read_vectors(TEXTS, GOOD[habit])
    assert not isinstance(read, NoAnswer)
    if habit in ("numbers", "base64", "shuffled", "no index", "numbered from 1", "numbered by texts"):
        assert read == PACKED
    assert len(set(read)) == 3


@pytest.mark.parametrize("habit", BAD)
def test_vectors_that_are_not_those_of_the_texts_are_none(habit: str):
    answer, words = BAD[habit]
    read = read_vectors(TEXTS, answer)
    assert isinstance(read, NoAnswer)
    assert words in read.reason


@pytest.mark.parametrize("habit", BAD)
def test_a_client_is_told_and_nothing_is_kept(habit: str, gateway, relay):
    answer, words = BAD[habit]
    relay.script = lambda seen: Reply(200, raw=json.dumps(answer).encode())
    model = embed_model_picker("embed-small@relay")
    with pytest.raises(openai.APIStatusError) as caught:
        model.get_text_embedding_batch(TEXTS)
    assert words in explain(caught.value)
    assert len(relay.requests) <= (6 if "error" in answer else 2)
    relay.reset()
    assert len(model.get_text_embedding_batch(TEXTS)) == 3
    assert len(relay.requests) == 1


def test_one_and_the_same_vector_is_right_for_texts_that_a_model_need_not_tell_apart():
    texts = ["The mast.", "the mast", " THE  MAST! "]
    assert read_vectors(texts, rows(*[VECTORS[0]] * 3)) == [PACKED[0]] * 3
    assert distinct(texts) == {"the mast"}
    assert problem_of([PACKED[0], PACKED[0]], ["a", "b"]) is not None
    assert problem_of([PACKED[0]], ["a"]) is None


def by_number_of_texts(seen: Seen) -> Reply:
    """A server that gives single texts shorter vectors."""
    texts = seen.body["input"]
    length = 2 if len(texts) == 1 else 4
    return Reply(200, rows(*([float(len(text) + i) for i in range(length)] for text in texts)))


def test_a_single_text_gets_a_vector_as_long_as_those_of_a_batch(gateway, relay):
    relay.script = by_number_of_texts
    model = embed_model_picker("embed-small@relay")
    assert len(model.get_text_embedding_batch(TEXTS)) == 3
    with pytest.raises(openai.APIStatusError) as caught:
        model.get_text_embedding("where do the herons nest?")
    assert "gave vectors of length 2 for 1 text(s), but of length 4 before" in explain(caught.value)


def test_single_texts_that_all_have_the_same_vector_are_told(gateway, relay):
    relay.script = lambda seen: Reply(200, rows(VECTORS[0]))
    model = embed_model_picker("embed-small@relay")
    assert model.get_text_embedding("one") == model.get_text_embedding("two") == VECTORS[0]
    with pytest.raises(openai.APIStatusError) as caught:
        model.get_text_embedding("three")
    assert "one and the same vector for 3 different texts" in explain(caught.value)


def test_texts_that_say_nearly_the_same_may_have_one_vector():
    one = [PACKED[0], PACKED[0]]
    assert (
        problem_of(one, ["It covers 21.4 ha, of which 16.2 ha.", "It covers 21.4 ha of which 16.2 ha are woods"])
        is None
    )
    assert problem_of(one, ["It covers 21.4 ha.", "Moths trebled in 2020."]) is not None


def test_a_model_whose_vectors_differ_may_give_equal_ones_later():
    known = KnownVectors()
    assert known.problem(PACKED, TEXTS) is None
    assert [known.problem([PACKED[0]], [text]) for text in "abcde"] == [None] * 5
    assert known.length == 2


def test_numbers_become_32_bit():
    assert float32([1.0, 0.25]) == float32("AACAPwAAgD4=") == b"\x00\x00\x80\x3f\x00\x00\x80\x3e"
