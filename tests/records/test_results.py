"""Results: JSON gives all of a record back, and secrets are hidden in all of its failures."""

import json

from dream.records import Answer, Evaluation, Failure, FailureKind, Passage, Score, Trial, TrialResult, UsageRow

TRIAL = Trial("hierarchical_automerging", "llm", "embed", {"chunk_sizes": (1024, 128), "top_k": 16})


def test_records_come_back_from_json_as_they_were():
    refused = Failure(FailureKind.REFUSED, "BadRequestError: too long", "Traceback ...")
    passage = Passage("The well is deep.", "wells.pdf", "3", 0.5, 5, "a digest", 20, 37)
    answers = (Answer("1", "17 m", (passage,), 1.5, 100, 10, None, 0.5, 1e9), Answer("2", None, failure=refused))
    scores = (Score("1", "faithfulness", 0.5, "one of two"), Score("2", "faithfulness", None, None, refused))
    evaluation = Evaluation(answers, scores, (Score("1", "faithfulness", 1.0, repeat=1),))
    row = UsageRow("x", "llm", "answer", TRIAL.id, 3, 1, 2, usd=None)
    for result in (TrialResult(TRIAL, evaluation, 2.0, 10, (row,)), TrialResult(TRIAL, failure=refused)):
        assert TrialResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_secrets_are_hidden_in_the_failures_of_a_trial_and_of_its_answers_and_scores():
    failure = Failure(FailureKind.SERVICE, "no such key: sk-1", "Traceback ... sk-1")
    evaluation = Evaluation((Answer("1", None, failure=failure),), (Score("1", "a", None, failure=failure),))
    for result in (TrialResult(TRIAL, evaluation), TrialResult(TRIAL, failure=failure), TrialResult(TRIAL)):
        shown = json.dumps(result.redacted(["sk-1"]).to_json())
        assert "sk-1" not in shown
        assert shown.count("no such key: ***") == json.dumps(result.to_json()).count("no such key")
