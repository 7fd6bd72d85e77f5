"""The record of a sift, and its outcome in words."""

import json

from dream.records import Sift, SiftedRetrieval, Trial

OUT = Trial("bm25", "gpt-4o", "", {"top_k": 1, "chunk_sizes": (512, 128)})
DONE = Sift(
    "recall", True, 12,
    (
        SiftedRetrieval(Trial("bm25", "", "", {"top_k": 3}), ("a", "b"), True, "best", 12, {"recall": 1.0}),
        SiftedRetrieval(Trial("bm25", "", ""), (OUT.id,), False, "out", 12, {"recall": 0.5}, -0.5, -0.7, -0.3),
        SiftedRetrieval(Trial("own", "", ""), ("c",), True, "it could not be scored: gone"),
    ),
    (OUT,), {"d": "it reads whole documents"},
)  # fmt: skip


def test_json_gives_it_back():
    assert Sift.from_json(json.loads(json.dumps(DONE.to_json()))) == DONE
    assert Sift.from_json({"metric": "mrr", "of a later version": 1}) == Sift("mrr")


def test_the_outcome_in_words():
    assert DONE.summary == (
        "Sifted by recall on 12 questions, without LLM answers and judge: 2 of 3 retrieval combinations remain, and 1 "
        "of 4 trials were left out. 1 further trials could not be sifted, and remain too."
    )
    assert Sift("recall").summary == ""
    compared = [each.compared for each in DONE.retrievals]
    assert compared == ["best", "-0.500 [-0.700, -0.300]", "it could not be scored: gone"]
