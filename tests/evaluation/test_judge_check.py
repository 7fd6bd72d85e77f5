"""The requests by which a judge is checked: one of each form that the metrics of an experiment use."""

from dream.evaluation.judge_check import judge_forms
from dream.metrics import METRICS


def test_each_form_is_asked_once_with_an_example_of_ragas():
    forms = judge_forms(METRICS)
    assert sorted(model.__name__ for _, model in forms) == [
        "AnswerRelevanceOutput",
        "ClassificationWithReason",
        "ContextPrecisionOutput",
        "ContextRecallOutput",
        "NLIStatementOutput",
        "StatementGeneratorOutput",
    ]
    assert all("Now perform the same with the following input" in prompt for prompt, _ in forms)


def test_only_what_the_chosen_metrics_ask_is_asked():
    assert [model.__name__ for _, model in judge_forms(["context_recall"])] == ["ContextRecallOutput"]
    assert judge_forms(["answer_similarity"]) == []
