"""Metrics by name, with cutoffs; what cannot be meant is told with what can."""

import pytest

from dream.errors import ConfigurationError
from dream.metrics import DEFINITIONS, check_metrics, find_metric, is_judged


def test_a_retrieval_metric_may_have_a_cutoff():
    metric = find_metric("recall@5")
    assert (metric.name, metric.cutoff) == ("recall@5", 5)
    assert metric.meaning == "evidences that the first 5 retrieved passages cover / all evidences of the question"
    assert (metric.question, metric.bounds, metric.judged) == (DEFINITIONS["recall"].question, (0, 1), False)


@pytest.mark.parametrize("name", ["recall@0", "recall@", "recall@five", "recall@5@5", "@5", "faithfulness@5", "rouge"])
def test_names_that_are_none(name: str):
    with pytest.raises(ConfigurationError, match=r"valid: faithfulness, .*ndcg, also with a number of passages"):
        find_metric(name)


@pytest.mark.parametrize(
    ("metrics", "problems"),
    [
        ([], ["none is named"]),
        (["rouge", "recall@0", "mrr"], ["'rouge' is unknown", "'recall@0' is unknown"]),
        (["mrr", "rouge", "mrr"], ["'rouge' is unknown", "'mrr' is named 2 times"]),
    ],
)
def test_all_mistakes_are_told_at_once(metrics: list[str], problems: list[str]):
    with pytest.raises(ConfigurationError, match="name each at most once, of: faithfulness") as caught:
        check_metrics(metrics)
    assert [line.strip(" -") for line in str(caught.value).splitlines()[1:]] == problems


def test_good_names_pass():
    check_metrics(["recall", "recall@1", "recall@10", "answer_correctness"])


def test_judged_or_not():
    assert [is_judged(name) for name in ("faithfulness", "answer_similarity", "mrr@3")] == [True, False, False]
