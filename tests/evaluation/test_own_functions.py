"""Functions, rubrics and criteria of one's own as metrics: what they get, what they may return, and the judge."""

import math
from dataclasses import replace

import pytest
from model_servers import Reply, chat_reply, forget_answers
from pydantic import BaseModel

from dream.evaluation.judge import Judge
from dream.metrics import NotApplicable, aspect_critic, metric, rubric
from dream.records import Answer, Failure, FailureKind, GoldenQuestion, Passage, Score
from dream.runtime.event_loop import run_async

QUESTION = GoldenQuestion("q1", "How deep is the well?", "17 metres.", ("The well is 17 metres deep.",))
ANSWER = Answer("q1", "It is 17 m deep.", (Passage("Wheat grows."), Passage("The well is 17 metres deep.")))


class Tone(BaseModel):
    kind: bool


def score(name: str, answer: Answer = ANSWER, question: GoldenQuestion = QUESTION) -> Score:
    (found,) = run_async(Judge([name], "judge@relay", "embed-large@relay", 1).score(question, answer))
    return found


def registered(function, **options) -> str:
    metric("?", name="own", **options)(function)
    return "own"


@pytest.fixture(autouse=True)
def _gateway(gateway):
    forget_answers(gateway)


def test_a_function_gets_what_its_parameters_name():
    seen = {}

    def own(question, answer, contexts, ground_truth, evidence):
        seen.update(locals())
        return 0.25, "because"

    found = score(registered(own))
    assert (found.value, found.reason) == (0.25, "because")
    seen.pop("seen")
    ((covered),) = seen.pop("evidence")
    assert covered.ranks == (2,)
    assert seen == {
        "question": "How deep is the well?",
        "answer": "It is 17 m deep.",
        "contexts": ["Wheat grows.", "The well is 17 metres deep."],
        "ground_truth": "17 metres.",
    }


def test_an_async_function_and_a_scale_of_its_own():
    async def own(answer):
        return 4

    found = score(registered(own, bounds=(1, 5)))
    assert (found.value, found.reason) == (0.75, "4 on a scale of 1 to 5")
    assert score(registered(own, bounds=(5, 1))).value == 0.25  # 1 is best


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (1.5, "own returned 1.5, which is not within its bounds, 0 to 1"),
        (math.nan, "own returned nan, which is not within its bounds"),
        (math.inf, "own returned inf"),
        (None, "own returned None: it must return a number from 0 to 1"),
        ("0.5", "own returned '0.5': it must return a number"),
        ((0.5, "a", "b"), "own returned (0.5, 'a', 'b'): it must return a number"),
    ],
)
def test_what_is_no_score_is_a_recorded_error(returned, reason: str):
    found = score(registered(lambda answer: returned))
    assert found.value is None
    assert found.failure is not None
    assert reason in found.failure.reason


@pytest.mark.parametrize("value", [True, 1, 1.0, (1, None)])
def test_numbers_of_any_kind(value):
    assert score(registered(lambda answer: value)).value == 1


def test_an_exception_is_a_recorded_error_with_its_traceback():
    def own(answer):
        return {}["missing"]

    found = score(registered(own))
    assert found.value is None
    assert found.failure is not None
    assert "KeyError: 'missing'" in found.failure.reason
    assert 'return {}["missing"]' in found.failure.traceback
    assert not found.failure.kind.by_system


def test_a_question_that_it_does_not_apply_to():
    def own(answer, ground_truth):
        raise NotApplicable("the ground truth is no list")

    found = score(registered(own))
    assert (found.value, found.failure, found.not_applicable) == (None, None, "the ground truth is no list")


def test_without_an_answer_it_is_not_called():
    calls = []
    failed = Answer("q1", None, failure=Failure(FailureKind.SERVICE, "gone"))
    assert score(registered(lambda answer: calls.append(answer)), failed).error == "no answer to judge: gone"
    assert calls == []


def test_a_function_may_ask_the_judge(relay):
    relay.script = lambda seen: chat_reply({"kind": True}) if "friendly" in seen.prompt else None

    async def own(answer, judge):
        return float((await judge.ask(f"Is this friendly? {answer}", Tone)).kind)

    assert score(registered(own, judge_calls=1)).value == 1
    (seen,) = relay.requests
    assert '"kind"' in seen.prompt
    relay.script = lambda seen: Reply(400, {"error": {"message": "refused"}})
    found = score("own", replace(ANSWER, text="Another answer."))
    assert (found.value, "refused" in (found.error or "")) == (None, True)


def test_a_rubric_is_scored_by_its_levels(relay):
    rubric("tone", ["It is rude.", "It is neutral.", "It is friendly."])
    for level, value in ((1, 0), (2, 0.5), (3, 1)):
        relay.script = lambda seen, level=level: chat_reply({"feedback": "So it is.", "score": level})
        found = score("tone", replace(ANSWER, text=f"Answer {level}."))
        assert (found.value, found.reason) == (value, "So it is.")
    assert "score3_description: It is friendly." in relay.requests[0].prompt
    relay.script = lambda seen: chat_reply({"feedback": "So it is.", "score": 4})
    found = score("tone", replace(ANSWER, text="Answer 4."))
    assert (found.value, found.error) == (None, "DataError: the judge chose level 4 of 3")


def test_a_criterion_is_met_or_not(relay):
    aspect_critic("briefness", "Is the response brief?")
    for verdict in (0, 1):
        relay.script = lambda seen, verdict=verdict: chat_reply({"reason": "It is.", "verdict": verdict})
        found = score("briefness", replace(ANSWER, text=f"Answer {verdict}."))
        assert (found.value, found.reason) == (verdict, "It is.")
    assert "Criteria Definition: Is the response brief?" in relay.requests[0].prompt
    relay.script = lambda seen: chat_reply({"reason": "Hm.", "verdict": 7})
    assert score("briefness", replace(ANSWER, text="Answer 7.")).value is None
