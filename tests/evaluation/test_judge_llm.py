"""The judge's requests over HTTP: the ones it fills in itself say what instructor's own would say."""

import pytest
from model_servers import Reply, chat_reply, forget_answers
from pydantic import BaseModel, Field

from dream.errors import DataError
from dream.evaluation.judge_llm import JudgeLLM
from dream.event_loop import run_async
from dream.models.pickers import judge_llm_picker, model_calls


class Verdict(BaseModel):
    """What a judge says of a text."""

    verdict: int = Field(description="0 or 1")
    reason: str


class Statements(BaseModel):
    statements: list[str]


@pytest.fixture
def judge(gateway, relay) -> JudgeLLM:
    relay.script = lambda seen: chat_reply({"verdict": 1, "reason": "so", "statements": ["a"]})
    forget_answers(gateway)
    return JudgeLLM(judge_llm_picker("judge@relay"), model_calls("judge@relay"))


def test_a_filled_form_is_the_request_that_instructor_writes(judge, relay):
    for prompt in ("first", "second", "third {not a template}"):
        assert run_async(judge.agenerate(prompt, Verdict)).model_dump() == {"verdict": 1, "reason": "so"}
    for prompt in ("second", "another"):
        assert run_async(judge.agenerate(prompt, Statements)).model_dump() == {"statements": ["a"]}
    filled = [seen.body for seen in relay.requests]
    relay.requests.clear()
    for prompt, model in (("second", Verdict), ("third {not a template}", Verdict), ("another", Statements)):
        run_async(judge_llm_picker("judge@relay", repeat=1).agenerate(prompt, model))
    assert [seen.body for seen in relay.requests] == [filled[1], filled[2], filled[4]]


def test_instructor_writes_the_first_request_of_each_kind_alone(judge, relay):
    written = []
    llm = judge_llm_picker("judge@relay", repeat=2)
    llm.client.on("completion:kwargs", lambda **request: written.append(request))
    counted = JudgeLLM(llm, model_calls("judge@relay", repeat=2))
    for prompt, model in (("first", Verdict), ("second", Verdict), ("third", Statements), ("fourth", Statements)):
        run_async(counted.agenerate(prompt, model))
    assert [request["messages"][-1]["content"] for request in written] == ["first", "third"], (
        "instructor's hook completion:kwargs gives other arguments than in 1.17: JudgeLLM finds no form in "
        "them, so that each request costs three times the CPU; read what the hook gives now, and mend `_note`"
    )


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (chat_reply("I would rather not say."), "not the JSON that was asked for: 'I would rather not say.'"),
        (chat_reply({"verdict": "perhaps"}), "not the JSON that was asked for"),
        (chat_reply('{"verdict": 1, "rea', finish="length"), "cut off after 19 characters: it reached max_tokens"),
    ],
)
def test_an_answer_that_cannot_be_read_is_an_error_that_says_so(judge, relay, reply: Reply, reason: str):
    run_async(judge.agenerate("first", Verdict))
    relay.script = lambda seen: reply
    with pytest.raises(DataError, match=reason):
        run_async(judge.agenerate("second", Verdict))
    relay.script = lambda seen: chat_reply('Here: ```json\n{"verdict": 0, "reason": "no"}\n```')
    assert run_async(judge.agenerate("third", Verdict)) == Verdict(verdict=0, reason="no")
