"""The definitions of the metrics are ragas' and the judge's, and are shown where a user meets a metric."""

import inspect
from pathlib import Path

import pytest

import dream
from dream.evaluation.judge import Judge
from dream.metrics import COMPUTED, DEFINITIONS, METRICS, explanation_rows, explanation_table
from dream.rag.baselines import metrics_of
from dream.records import CLOSED_BOOK, ORACLE, Trial

README = Path(dream.__file__).parents[1] / "README.md"


@pytest.fixture
def judge(home) -> Judge:
    return Judge(list(DEFINITIONS), "offline/judge", "offline/embed-large", 1)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_metric_takes_what_its_definition_names(name: str, judge: Judge):
    assert set(inspect.signature(judge._metrics[name].ascore).parameters) == set(DEFINITIONS[name].arguments)
    assert set(DEFINITIONS[name].embedded) <= set(DEFINITIONS[name].arguments)


def test_lower_is_better_on_one_alone():
    assert [name for name, metric in DEFINITIONS.items() if metric.lower_is_better] == ["noise_sensitivity"]


def test_the_weights_and_the_default_that_are_told_are_the_ones_in_use(judge: Judge):
    correctness = judge._metrics["answer_correctness"]
    assert (correctness.weights, correctness.beta) == ([0.75, 0.25], 1.0)
    assert "0.75 x F1" in DEFINITIONS["answer_correctness"].meaning
    from dream.evaluation import STRICTNESS

    assert f"`strictness`, {STRICTNESS} by default" in DEFINITIONS["answer_relevancy"].meaning


def test_calls_follow_the_passages_and_the_derived_questions():
    calls = {name: metric.calls(strictness=3, passages=4) for name, metric in DEFINITIONS.items()}
    further = {name: calls[name] for name in ("factual_correctness", "noise_sensitivity", "rubrics")}
    assert further == {"factual_correctness": 4, "noise_sensitivity": 3 + 2 * 4, "rubrics": 1}
    assert {name: calls[name] for name in METRICS} == {
        "faithfulness": 2,
        "answer_relevancy": 3,
        "context_precision": 4,
        "context_recall": 1,
        "answer_correctness": 3,
        "answer_similarity": 0,
    }
    assert COMPUTED == (
        "answer_similarity", "hit", "recall", "precision", "mrr", "ndcg", "exact_match", "token_f1", "numbers_agree",
    )  # fmt: skip
    assert not any(calls[name] for name in COMPUTED)


def test_a_baseline_is_scored_where_nothing_retrieved_is_needed():
    closed_book, oracle = (metrics_of(Trial(name, "llm", ""), list(DEFINITIONS)) for name in (CLOSED_BOOK, ORACLE))
    of_ragas, by_words = ("answer_relevancy", "answer_correctness", "answer_similarity"), tuple(DEFINITIONS)[-3:]
    assert closed_book == (*of_ragas, "factual_correctness", "rubrics", *by_words)
    assert set(oracle) == {"faithfulness", "noise_sensitivity", *closed_book}


def test_every_metric_is_explained_in_full():
    for row in explanation_rows([*DEFINITIONS, "recall@5"]):
        assert all(row), row
        assert not any("|" in text for text in row), "a bar would end the cell of a Markdown table"


def test_the_readme_has_the_table():
    text = README.read_text(encoding="utf-8")
    assert explanation_table() in text
    assert explanation_table(name for name in DEFINITIONS if name not in METRICS) in text


def test_a_table_of_some_metrics():
    table = explanation_table(["context_recall"]).splitlines()
    assert len(table) == 3
    assert table[2].startswith("| `context_recall` | Do the retrieved passages contain the whole ground truth? |")
