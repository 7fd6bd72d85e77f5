"""`--set`: values by the type of the parameter's default, and all mistakes at once."""

import pytest

from dream.cli.parameters import parameters_of
from dream.errors import ConfigurationError

DEFAULTS = {
    "basic": {"chunk_size": 512, "top_k": 3},
    "tree": {"chunk_sizes": (1024, 128), "top_k": 16, "ratio": 0.5, "fast": False, "reranker": None},
}
BOTH = ["basic", "tree"]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], {}),
        (["top_k=3,5"], {"basic": {"top_k": [3, 5]}, "tree": {"top_k": [3, 5]}}),
        (["basic.top_k=7"], {"basic": {"top_k": [7]}}),
        (["basic.top_k=7", "top_k=3, 5"], {"basic": {"top_k": [7]}, "tree": {"top_k": [3, 5]}}),
        (["chunk_size=256", "ratio=.25,1"], {"basic": {"chunk_size": [256]}, "tree": {"ratio": [0.25, 1.0]}}),
        (["chunk_sizes=512/256,2048/512/128"], {"tree": {"chunk_sizes": [(512, 256), (2048, 512, 128)]}}),
        (["fast=yes,False"], {"tree": {"fast": [True, False]}}),
        (["reranker=bge@tei,3,0.5"], {"tree": {"reranker": ["bge@tei", 3, 0.5]}}),
    ],
)
def test_texts_become_parameters(texts, expected):
    assert parameters_of(texts, BOTH, DEFAULTS) == expected


def test_a_text_may_be_in_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "brief.txt").write_text("Be brief, please.\n{context_str}\n{query_str}\n")
    found = parameters_of(["prompt=default,@brief.txt"], ["basic"], {"basic": {"prompt": "default"}})
    assert found == {"basic": {"prompt": ["default", "Be brief, please.\n{context_str}\n{query_str}"]}}
    with pytest.raises(ConfigurationError, match=r"the file 'none.txt' cannot be read: No such file"):
        parameters_of(["prompt=@none.txt"], ["basic"], {"basic": {"prompt": "default"}})


def test_a_method_outside_the_search_space_is_not_set():
    assert parameters_of(["top_k=4"], ["basic"], DEFAULTS) == {"basic": {"top_k": [4]}}


def test_an_unknown_method_is_left_to_the_search_space():
    assert parameters_of(["top_k=4", "typo.top_k=x"], ["typo"], DEFAULTS) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("top_k", "top_k: write PARAMETER=VALUE,..."),
        ("top_k=", "top_k=: write PARAMETER=VALUE,..."),
        ("=3", "=3: write PARAMETER=VALUE,..."),
        ("top_k=3,,5", "top_k=3,,5: write PARAMETER=VALUE,..."),
        (
            "top_q=3",
            "there is no parameter 'top_q'; valid of basic: chunk_size, top_k; tree: chunk_sizes, top_k, ratio",
        ),
        ("basic.ratio=1", "there is no parameter 'ratio'; valid of basic: chunk_size, top_k"),
        ("graph.top_k=3", "'graph' is not a RAG method of this search space; valid: basic, tree"),
        ("top_k=3,five,6.5", "'five', '6.5' cannot be read: give a whole number"),
        ("ratio=half", "'half' cannot be read: give a number"),
        ("fast=maybe", "'maybe' cannot be read: give yes or no"),
        ("chunk_sizes=1024,512", "'1024', '512' cannot be read: give values joined by '/', such as 1024/512/128"),
        ("top_k=3,3", "a value is given more than once"),
    ],
)
def test_a_mistake_says_what_is_valid(text, message):
    with pytest.raises(ConfigurationError) as caught:
        parameters_of([text], BOTH, DEFAULTS)
    headline, line = str(caught.value).split("\n")
    assert headline == "1 mistake(s) in --set:"
    assert line.startswith(f"  - {text}: ")
    assert message in line


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        parameters_of(["top_k=3", "top_k=5", "ratio=half", "nothing"], BOTH, DEFAULTS)
    assert str(caught.value).startswith("3 mistake(s) in --set:")
    assert "top_k is set 2 times: write all values in one option, such as top_k=3,5" in str(caught.value)


def test_values_of_shared_factors_are_read_and_refused_by_the_search_space():
    from dream.cli.experiments import search_space_of
    from dream.settings import Settings

    settings = Settings.from_environment({})
    texts = ["hybrid.fusion=relative_score", "max_tokens=64", "temperature=0,0.7", "reranker=none,llm"]
    space = search_space_of(["hybrid", "bm25"], ["offline/llm-small"], ["offline/embed-small"], texts, settings)
    assert space is not None
    trials = space.trials(settings)
    assert len(trials) == 8
    assert {trial.parameters["max_tokens"] for trial in trials} == {64}
    wrong = search_space_of(["hybrid"], None, None, ["fusion=sum", "rerank_from=-7", "top_k=0"], settings)
    assert wrong is not None
    with pytest.raises(ConfigurationError) as caught:
        wrong.trials(settings)
    assert sorted(str(caught.value).splitlines()[1:]) == [
        "  - hybrid: fusion='sum' must be reciprocal_rank or relative_score",
        "  - hybrid: rerank_from=-7 must be a whole number from 1 to 200",
        "  - hybrid: top_k=0 must be a whole number of at least 1",
    ]
