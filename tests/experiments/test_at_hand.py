"""What is missing of an experiment's own methods and metrics is told before it is resumed, or known again."""

from pathlib import Path

import pytest

from dream.errors import ConfigurationError
from dream.experiments.at_hand import check_at_hand
from dream.metrics import definition_of
from dream.rag.methods import RAG_METHODS
from dream.records import GoldenDataset, Manifest, Search, Trial

MODULE = """
from dream.rag import own_system


@own_system
def answers_at_hand(question):
    return "text", []
"""


def manifest(*methods: str, study: str = "", **fields) -> Manifest:
    trials = tuple(Trial(method, "", "") for method in methods)
    return Manifest("gone", GoldenDataset(()), ("token_f1",), trials=trials, study=study, **fields)


def test_methods_that_are_not_known_are_named_also_those_that_a_search_may_choose():
    check_at_hand(manifest("bm25", "hybrid"))
    space = {"blocks": [{"method": "mine"}, {"method": "bm25"}]}
    with pytest.raises(ConfigurationError, match=r"'gone' uses RAG methods that are not registered here: mine\. "):
        check_at_hand(manifest("bm25", search=Search("optuna", 5, space=space)))
    with pytest.raises(ConfigurationError, match=r"not registered here: theirs, mine\. Register them first"):
        check_at_hand(manifest("theirs", search=Search("optuna", 5, space=space)))


def test_methods_and_metrics_that_are_missing_are_told_together():
    with pytest.raises(ConfigurationError) as caught:
        check_at_hand(manifest("mine", own_metrics=(definition_of("of_a_notebook"),)))
    assert "uses metrics that are not registered here: of_a_notebook" in str(caught.value)
    assert "uses RAG methods that are not registered here: mine" in str(caught.value)


def test_what_the_study_file_names_is_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "methods_at_hand.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    study = "systems: [bm25, {method: 'methods_at_hand:answers_at_hand'}, {service: chatbot, endpoint: chatbot}]"
    check_at_hand(manifest("answers_at_hand", "chatbot", study=study))
    assert {"answers_at_hand", "chatbot"} <= set(RAG_METHODS)
    with pytest.raises(ConfigurationError, match=r"file of experiment 'gone' cannot be used: (.|\n)*no_such_module"):
        check_at_hand(manifest("lost", study="systems: [{method: 'no_such_module:lost'}]"))
