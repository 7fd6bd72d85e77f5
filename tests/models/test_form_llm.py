"""Forms over HTTP: they say what instructor's own requests say, and each is read by the gateway's reader."""

import asyncio
import json

import pytest
from model_servers import Reply, chat_reply, forget_answers
from pydantic import BaseModel, Field

from dream.errors import DataError
from dream.models.form_llm import FormLLM, schema_with_ranges
from dream.models.pickers import JUDGE_MAX_TOKENS, judge_llm_picker
from dream.runtime.event_loop import run_async


class Verdict(BaseModel):
    """What a judge says of a text."""

    verdict: int = Field(description="0 or 1")
    reason: str


class Statements(BaseModel):
    statements: list[str]


@pytest.fixture
def judge(gateway, relay) -> FormLLM:
    relay.script = lambda seen: chat_reply({"verdict": 1, "reason": "so", "statements": ["a"]})
    forget_answers(gateway)
    return judge_llm_picker("judge@relay")


def test_every_request_of_a_kind_is_the_one_that_instructor_writes(judge, relay):
    from openai import AsyncOpenAI
    from ragas.llms import llm_factory

    for prompt, model in (("first", Verdict), ("second {not a template}", Verdict), ("another", Statements)):
        run_async(judge.agenerate(prompt, model))
    ours = [seen.body for seen in relay.requests]
    relay.requests.clear()
    theirs = llm_factory(
        "judge", client=AsyncOpenAI(base_url=relay.base_url, api_key="any"), max_tokens=JUDGE_MAX_TOKENS
    )
    for prompt, model in (("first", Verdict), ("second {not a template}", Verdict), ("another", Statements)):
        run_async(theirs.agenerate(prompt, model))
    assert ours == [seen.body for seen in relay.requests]


def test_instructor_writes_one_request_of_each_kind_for_all_trials(gateway, relay, monkeypatch):
    from ragas.llms.base import InstructorLLM

    written = []
    write = InstructorLLM.generate
    monkeypatch.setattr(InstructorLLM, "generate", lambda self, *asked: written.append(asked[1]) or write(self, *asked))
    relay.script = lambda seen: chat_reply({"verdict": 1, "reason": "so", "statements": ["a"]})
    trials = [judge_llm_picker("a-judge@relay", trial=f"trial {i}") for i in range(3)]

    async def ask_at_once() -> None:
        asked = [
            trial.agenerate(f"{n}. question", model)
            for trial in trials
            for n in range(5)
            for model in (Verdict, Statements)
        ]
        await asyncio.gather(*asked)

    run_async(ask_at_once())
    assert written == [Verdict, Statements]
    assert {seen.body["model"] for seen in relay.requests} == {"a-judge"}


def test_an_answer_is_the_model_that_was_asked_for(judge):
    assert run_async(judge.agenerate("first", Verdict)) == Verdict(verdict=1, reason="so")
    assert judge.generate("second", Statements) == Statements(statements=["a"])


@pytest.mark.parametrize("number", [1, 2], ids=["first of its kind", "second"])
@pytest.mark.parametrize(
    ("reply", "reason", "requests"),
    [
        (chat_reply("I would rather not say."), "contains no JSON; it says: 'I would rather not say.'", 2),
        (chat_reply({"verdict": "perhaps"}), '`verdict` is "perhaps", but must be a whole number from 0 to 1', 2),
        (chat_reply({"verdict": 5, "reason": "good"}), "`verdict` is 5, but must be a whole number from 0 to 1", 2),
        (chat_reply('{"verdict": 1, "rea', finish="length"), "cut off: it reached max_tokens", 1),
    ],
)
def test_what_cannot_be_read_is_asked_for_again_once(judge, relay, reply: Reply, reason: str, requests: int, number):
    if number == 2:
        run_async(judge.agenerate("the first", Verdict))
    relay.reset()
    relay.script = lambda seen: reply
    with pytest.raises(DataError) as caught:
        run_async(judge.agenerate("second", Verdict))
    assert reason in str(caught.value)
    assert len(relay.requests) == requests
    relay.script = lambda seen: chat_reply('Here: ```json\n{"verdict": "0"}\n```')
    assert run_async(judge.agenerate("third", Verdict)) == Verdict(verdict=0, reason="")


def test_the_range_is_in_the_schema_that_is_read_with_and_not_in_what_is_sent(judge, relay):
    run_async(judge.agenerate("first", Verdict))
    assert '"maximum"' not in json.dumps(relay.requests[0].body)
    assert schema_with_ranges(Verdict)["properties"]["verdict"]["maximum"] == 1
    assert "maximum" not in Verdict.model_json_schema()["properties"]["verdict"]
