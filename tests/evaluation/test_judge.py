"""The six metrics over HTTP: each equals a number computed by hand, and a judge's slip is an error, never a number."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy
import pytest
from model_servers import Reply, chat_reply, forget_answers
from ragas.metrics.result import MetricResult

from dream.evaluation.judge import Judge
from dream.evaluation.judge_check import judge_forms
from dream.metrics import METRICS, find_metric
from dream.records import Answer, Failure, FailureKind, GoldenQuestion, Passage, Source
from dream.runtime.event_loop import run_async

QUESTION = GoldenQuestion(
    "q1", "How many colonies were lost in the winter of 2022?", "The survey counted 127 lost colonies in the winter."
)
GOOD = "The survey counted 127 lost colonies in the winter. The hives stood on roofs."
BAD = "Wheat grows well in the north of Italy."
RIGHT = "The survey counted 127 lost colonies in the winter."
HALF_RIGHT = f"{RIGHT} The queens were painted yellow."
WRONG = "The survey counted 431 lost colonies in the winter."
OFF_TOPIC = "Ships sail across the northern sea."
SCHEMAS = {
    "faithfulness": ("StatementGeneratorOutput", "NLIStatementOutput"),
    "answer_relevancy": ("AnswerRelevanceOutput",),
    "context_precision": ("ContextPrecisionOutput",),
    "context_recall": ("ContextRecallOutput",),
    "answer_correctness": ("StatementGeneratorOutput", "ClassificationWithReason"),
    "answer_similarity": (),
}


def answer(text, *contexts):
    return Answer("q1", text, tuple(Passage(context) for context in contexts or (GOOD, BAD)))


@pytest.fixture
def score(gateway):
    """`score(answer, ...)` gives `{metric: Score}` of the offline judge, seen by the relay."""

    def _score(judged, *metrics, question=QUESTION, strictness=1):
        forget_answers(gateway)
        judge = Judge(metrics or METRICS, "judge@relay", "embed-large@relay", strictness)
        return {score.metric: score for score in run_async(judge.score(question, judged))}

    return _score


def values(scores):
    assert {name: score.error for name, score in scores.items() if score.error} == {}
    return {name: score.value for name, score in scores.items()}


def cosine(first, second):
    return float(first @ second / numpy.linalg.norm(first) / numpy.linalg.norm(second))


def asked(relay, schema):
    """Requests that ask for an answer in this schema."""
    return [seen for seen in relay.requests if seen.path.endswith("completions") and schema in seen.prompt]


def spoil(relay, schema, reply):
    relay.script = lambda seen: reply if seen.path.endswith("completions") and schema in seen.prompt else None


def test_better_answers_score_higher(score):
    right, half, wrong, off = (values(score(answer(text))) for text in (RIGHT, HALF_RIGHT, WRONG, OFF_TOPIC))
    for metric in ("faithfulness", "context_precision", "context_recall"):
        assert right[metric] == pytest.approx(1)
    assert right["faithfulness"] > half["faithfulness"] > wrong["faithfulness"] == off["faithfulness"] == 0
    for metric in ("answer_correctness", "answer_similarity"):
        assert right[metric] == pytest.approx(1, abs=1e-5)
        assert all(better > worse for better, worse in pairwise([right[metric], wrong[metric], off[metric]]))
    assert right["answer_correctness"] > half["answer_correctness"] > wrong["answer_correctness"]
    assert min(right["answer_relevancy"], wrong["answer_relevancy"]) > off["answer_relevancy"]


def test_contexts_and_statements_are_judged_at_the_same_time(score, relay):
    # three contexts; the statements of the answer and of the truth; a question of the answer; what is recalled
    relay.hold(7)
    values(score(answer(HALF_RIGHT, GOOD, BAD, OFF_TOPIC)))


def test_what_is_asked_ahead_is_not_asked_again(score, relay):
    values(score(answer(HALF_RIGHT, GOOD, BAD, OFF_TOPIC), "context_precision", "answer_correctness"))
    remedy = "ragas writes its prompts in another way than 0.4.3: mend the calls of `fetch` in ragas_metrics.py"
    assert len(asked(relay, "ContextPrecisionOutput")) == 3, remedy
    assert len(asked(relay, "StatementGeneratorOutput")) == 2, remedy
    assert len(asked(relay, "ClassificationWithReason")) == 1, remedy


def test_better_contexts_score_higher(score):
    good, late, missing = (values(score(answer(RIGHT, *texts))) for texts in ((GOOD, BAD), (BAD, GOOD), (BAD,)))
    assert good["context_precision"] > late["context_precision"] > missing["context_precision"] == 0
    assert good["context_recall"] == late["context_recall"] == 1 > missing["context_recall"] == 0
    assert good["faithfulness"] == 1 > missing["faithfulness"] == 0
    unchanged = ("answer_relevancy", "answer_correctness", "answer_similarity")
    assert {name: good[name] for name in unchanged} == {name: missing[name] for name in unchanged}


def test_faithfulness_and_recall_are_shares_of_statements(score):
    assert values(score(answer(HALF_RIGHT), "faithfulness")) == {"faithfulness": 0.5}
    two = GoldenQuestion("q1", QUESTION.question, f"{RIGHT} The queens were painted yellow.")
    assert values(score(answer(RIGHT), "context_recall", question=two)) == {"context_recall": 0.5}


@pytest.mark.parametrize(
    ("contexts", "expected"),
    [([GOOD], 1), ([BAD, GOOD], 1 / 2), ([GOOD, BAD, GOOD + BAD], (1 + 2 / 3) / 2), ([BAD, BAD], 0)],
)
def test_context_precision_is_average_precision_over_the_ranking(contexts, expected, score):
    assert values(score(answer(RIGHT, *contexts), "context_precision"))["context_precision"] == pytest.approx(expected)


def test_answer_similarity_is_the_cosine_of_the_two_embeddings(score, model_server):
    ours = values(score(answer(WRONG), "answer_similarity"))["answer_similarity"]
    assert ours == pytest.approx(cosine(*model_server.vectors(WRONG, QUESTION.ground_truth)), abs=1e-6)


def test_answer_relevancy_is_the_cosine_of_the_question_and_the_one_read_off_the_answer(score, relay, model_server):
    spoil(relay, "AnswerRelevanceOutput", chat_reply({"question": "How many bees died?", "noncommittal": 0}))
    ours = values(score(answer(RIGHT), "answer_relevancy"))["answer_relevancy"]
    assert ours == pytest.approx(cosine(*model_server.vectors("How many bees died?", QUESTION.question)), abs=1e-6)
    spoil(relay, "AnswerRelevanceOutput", chat_reply({"question": "How many bees died?", "noncommittal": 1}))
    assert values(score(answer(RIGHT), "answer_relevancy")) == {"answer_relevancy": 0}


def test_answer_correctness_is_three_quarters_statements_and_one_quarter_similarity(score, model_server):
    ours = values(score(answer(HALF_RIGHT), "answer_correctness"))["answer_correctness"]
    precision, recall = 1 / 2, 1 / 1  # one statement right, one invented, none missing
    f1 = 2 * precision * recall / (precision + recall)
    similarity = cosine(*model_server.vectors(HALF_RIGHT, QUESTION.ground_truth))
    assert ours == pytest.approx(0.75 * f1 + 0.25 * similarity, abs=1e-6)


def test_strictness_asks_for_so_many_questions(score, relay):
    for strictness in (1, 3):
        relay.requests.clear()
        score(answer(RIGHT), "answer_relevancy", strictness=strictness)
        assert len(asked(relay, "AnswerRelevanceOutput")) == strictness


def test_each_text_is_embedded_once(score, relay):
    score(answer(WRONG))
    inputs = [seen.body["input"] for seen in relay.requests if seen.path.endswith("embeddings")]
    texts = [text for given in inputs for text in ([given] if isinstance(given, str) else given)]
    assert {WRONG, QUESTION.ground_truth, QUESTION.question} < set(texts)
    assert len(texts) == 4  # the fourth is the question read off the answer


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"error_share": 1}, "500"),
        ({"malformed_share": 1}, "JSON"),
        ({"wrong_schema_share": 1}, "lacks"),
        ({"truncated_share": 1}, "max_tokens"),
        ({"cut_share": 1}, "ServerDisconnectedError"),
        ({"hang_share": 1, "hang_seconds": 0.02}, "ServerDisconnectedError"),
    ],
)
def test_a_judge_that_fails_gives_errors_of_one_line_and_no_number(fault, reason, score, model_server):
    model_server.faults(**fault)
    chat_metrics = [name for name in METRICS if SCHEMAS[name]]
    scores = score(answer(RIGHT), *chat_metrics)
    assert list(scores) == chat_metrics
    for found in scores.values():
        assert found.value is None
        assert reason in found.error, found.error
        assert len(found.error.splitlines()) == 1
        assert len(found.error) < 600


@pytest.mark.parametrize("schema", sorted({schema for schemas in SCHEMAS.values() for schema in schemas}))
def test_what_does_not_fail_is_kept(schema, score, relay):
    whole = values(score(answer(HALF_RIGHT)))
    spoil(relay, schema, Reply(400, {"error": {"message": "this one is refused"}}))
    scores = score(answer(HALF_RIGHT))
    failed = {name for name, found in scores.items() if found.value is None}
    assert failed == {name for name in METRICS if schema in SCHEMAS[name]}
    assert all("this one is refused" in scores[name].error for name in failed)
    assert all(scores[name].value == whole[name] for name in set(METRICS) - failed)


def test_embeddings_that_fail_leave_the_other_metrics(score, relay):
    relay.script = lambda seen: Reply(400, {"error": {"message": "no"}}) if seen.path.endswith("embeddings") else None
    scores = score(answer(RIGHT))
    failed = {name for name, found in scores.items() if found.value is None}
    assert failed == {"answer_relevancy", "answer_correctness", "answer_similarity"}


def test_a_text_that_failed_to_embed_is_tried_again(gateway, relay):
    judge = Judge(["answer_similarity"], "judge@relay", "embed-large@relay", 1)
    relay.script = lambda seen: Reply(400, {"error": {"message": "no"}}) if WRONG in seen.text else None
    (failed,) = run_async(judge.score(QUESTION, answer(WRONG)))
    relay.reset()
    (scored,) = run_async(judge.score(QUESTION, answer(WRONG)))
    assert failed.value is None
    assert scored.error is None


@pytest.mark.parametrize(
    ("schema", "content", "reason"),
    [
        ("StatementGeneratorOutput", {"statements": []}, "found no statement"),
        ("NLIStatementOutput", {"statements": []}, "found no statement"),
        ("ClassificationWithReason", {"TP": [], "FP": [], "FN": []}, "classified no statement"),
        ("ContextRecallOutput", {"classifications": []}, "found no statement"),
    ],
)
def test_a_judge_that_finds_nothing_is_an_error_and_neither_nan_nor_perfect(schema, content, reason, score, relay):
    spoil(relay, schema, chat_reply(content))
    scores = score(answer(RIGHT))
    for name, found in scores.items():
        if schema in SCHEMAS[name]:
            assert found.value is None
            assert reason in found.error
        else:
            assert math.isfinite(found.value)


def test_an_answer_that_failed_is_not_sent_to_the_judge(score, relay):
    scores = score(Answer("q1", None, failure=Failure(FailureKind.SERVICE, "APIConnectionError: gone")))
    assert [found.error for found in scores.values()] == ["no answer to judge: APIConnectionError: gone"] * 6
    assert relay.requests == []


@pytest.mark.parametrize(
    ("metric", "value", "is_score"),
    [
        ("faithfulness", 1.0, True),
        ("faithfulness", 2.5, False),
        ("context_recall", -0.5, False),
        ("answer_similarity", 1.0000003, True),  # a cosine of rounded numbers
        ("answer_similarity", -0.2, True),
        ("answer_correctness", 1.2, False),
        ("answer_relevancy", math.inf, False),
    ],
)
def test_a_score_outside_of_the_range_of_its_metric_is_a_failure(gateway, metric, value, is_score):
    class Odd:
        async def ascore(self, **arguments):
            return MetricResult(value=value)

    judge = Judge([metric], "judge@relay", "embed-large@relay", 1)
    judge._metrics[metric] = Odd()
    (found,) = run_async(judge.score(QUESTION, answer(RIGHT)))
    assert found.value == (value if is_score else None)
    assert is_score or found.failure.kind is FailureKind.UNREADABLE_JUDGEMENT
    assert is_score or "outside of the range" in found.error


FURTHER = ("factual_correctness", "noise_sensitivity", "rubrics")


def test_further_metrics_of_ragas_by_hand(score):
    right, half = (values(score(answer(text, GOOD, BAD), *FURTHER)) for text in (RIGHT, HALF_RIGHT))
    assert right == {"factual_correctness": 1, "noise_sensitivity": 0, "rubrics": 1}
    # one claim of two is in the truth, and the whole truth is in the answer
    assert half["factual_correctness"] == pytest.approx(2 * 0.5 * 1 / (0.5 + 1), abs=0.005)  # ragas rounds
    assert half["noise_sensitivity"] == 0  # no passage says that the queens were painted
    assert half["rubrics"] == 0.75  # level 1 + 0.75 x 4
    truth = QUESTION.ground_truth
    misled = score(answer(HALF_RIGHT, f"{truth} The queens were painted yellow.", BAD), "noise_sensitivity")
    assert values(misled) == {"noise_sensitivity": 0.5}


def test_further_metrics_ask_as_often_as_they_say(score, relay):
    for name in FURTHER:
        relay.requests.clear()
        score(answer(HALF_RIGHT, GOOD, BAD, OFF_TOPIC), name)
        assert len(relay.requests) == find_metric(name).calls(strictness=1, passages=3), name


@pytest.mark.parametrize(
    ("metric", "schema", "content"),
    [
        ("factual_correctness", "ClaimDecompositionOutput", {"claims": []}),
        ("factual_correctness", "NLIStatementOutput", {"statements": []}),
        ("noise_sensitivity", "StatementGeneratorOutput", {"statements": []}),
        ("noise_sensitivity", "StatementFaithfulnessOutput", {"statements": []}),
        ("rubrics", "RubricScoreOutput", {"feedback": "", "score": 6}),
    ],
)
def test_a_judge_that_finds_nothing_to_score_is_an_error_of_further_metrics_too(metric, schema, content, score, relay):
    spoil(relay, schema, chat_reply(content))
    found = score(answer(RIGHT), metric)[metric]
    assert found.value is None
    assert found.failure.kind is FailureKind.UNREADABLE_JUDGEMENT


def test_further_metrics_are_checked_before_the_run():
    forms = [model.__name__ for _, model in judge_forms(FURTHER)]
    assert forms == [
        "ClaimDecompositionOutput", "NLIStatementOutput", "StatementGeneratorOutput", "StatementFaithfulnessOutput",
        "RubricScoreOutput",
    ]  # fmt: skip


RETRIEVAL = ("recall@1", "mrr", "precision")
EVIDENCE = replace(QUESTION, reference_contexts=(GOOD,))


def test_retrieval_is_scored_without_any_model(score, relay):
    scores = score(answer(RIGHT, BAD, GOOD, OFF_TOPIC), *RETRIEVAL, question=EVIDENCE)
    assert values(scores) == {"recall@1": 0, "mrr": 1 / 2, "precision": 1 / 3}
    assert scores["mrr"].reason.endswith("in passage 2")
    assert relay.requests == []


def test_without_evidence_a_retrieval_metric_is_not_applicable_whatever_happened_to_the_answer(score):
    failed = Answer("q1", None, failure=Failure(FailureKind.SERVICE, "gone"))
    for judged in (answer(RIGHT, GOOD), failed):
        found = score(judged, "mrr")["mrr"]
        assert (found.value, found.failure) == (None, None)
        assert found.not_applicable.startswith("no evidence can be matched: the question names neither")


@pytest.mark.parametrize(
    ("kind", "contexts", "expected"),
    [
        (FailureKind.NOTHING_RETRIEVED, (), 0.0),
        (FailureKind.REFUSED, (Passage(BAD), Passage(GOOD)), 0.5),  # the LLM failed after retrieval
        (FailureKind.SERVICE, (), None),
    ],
)
def test_retrieval_is_scored_where_only_the_answer_failed(score, kind, contexts, expected):
    failed = Answer("q1", None, contexts, failure=Failure(kind, "failed"))
    scores = score(failed, "mrr", "faithfulness", question=EVIDENCE)
    assert scores["mrr"].value == expected
    assert scores["mrr"].error == (None if expected is not None else "no answer to judge: failed")
    assert scores["faithfulness"].error == "no answer to judge: failed"


def test_passages_that_cannot_be_compared_with_the_evidence_are_an_error(score):
    by_page = replace(QUESTION, sources=(Source("a.pdf", "3"),))
    found = score(answer(RIGHT, GOOD), "mrr", question=by_page)["mrr"]
    assert found.value is None
    assert "names no file" in found.error


def test_a_verdict_that_cannot_be_is_unscored_with_what_the_judge_said(score, relay):
    spoil(relay, "ContextPrecisionOutput", chat_reply({"verdict": 5, "reason": "very useful"}))
    found = score(answer(RIGHT, GOOD), "context_precision")["context_precision"]
    assert found.value is None
    assert found.failure.kind is FailureKind.UNREADABLE_JUDGEMENT
    assert "`verdict` is 5, but must be a whole number from 0 to 1" in found.error
    assert "very useful" in found.error
    assert found.failure.traceback == ""
    assert len(asked(relay, "ContextPrecisionOutput")) == 2
