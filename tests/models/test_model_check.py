"""The check before an experiment: it sends what the experiment will send, and names all that is wrong at once."""

from functools import partial

import pytest
from model_servers import KEY, Reply, chat_reply, endpoint_settings, free_port
from pydantic import BaseModel

from dream.errors import ServiceError
from dream.models import gateway_client
from dream.models.model_check import check_models, forms_in_use, vectors_problem
from dream.models.pickers import EMBED_BATCH_SIZE, JUDGE_MAX_TOKENS

WRONG_KEY = "a-wrong-key-91bd"


class Verdict(BaseModel):
    verdict: int
    reason: str


class Statements(BaseModel):
    statements: list[str]


GOOD = {"verdict": 1, "reason": "so", "statements": ["a"]}
FORMS = {"judge@relay": lambda: [("Give a verdict.", Verdict), ("Give statements.", Statements)]}


def test_a_model_gets_what_an_experiment_sends(gateway, relay):
    relay.script = lambda seen: chat_reply(GOOD) if seen.body.get("response_format") else None
    assert check_models(["llm-small@relay", "llm-small@relay"], ["embed-small@relay"], FORMS) == []
    chat = [seen.body for seen in relay.requests if "messages" in seen.body]
    answer = next(body for body in chat if body["model"] == "llm-small")
    assert (len(chat), answer["temperature"]) == (3, 0.0)
    assert 1_000 < len(answer["messages"][0]["content"]) / 4 < 3_000
    assert all(body["max_tokens"] == JUDGE_MAX_TOKENS for body in chat if body["model"] == "judge")
    inputs = [seen.body["input"] for seen in relay.requests if "input" in seen.body]
    assert sorted(map(len, inputs)) == [1, 1, EMBED_BATCH_SIZE]
    (row, *_) = [row for row in gateway.usage() if row.model == "embed-small"]
    assert (row.stage, row.cached) == ("check", 0)


def test_offline_models_get_one_cheap_call_each(no_environment):
    from dream.settings import Settings

    with gateway_client.opened(Settings.from_environment({})) as gateway:
        forms = {"offline/judge": lambda: pytest.fail("no form is needed")}
        assert check_models(["offline/llm-small", "offline/judge"], ["offline/embed-small"], forms) == []
        assert {row.model: row.sent for row in gateway.usage()} == {"llm-small": 1, "judge": 1, "embed-small": 1}
        assert sum(row.paid_completion_tokens for row in gateway.usage()) <= 2 * 16


def test_what_a_server_does_not_take_is_told_with_its_variable_and_recorded(gateway, relay):
    def script(seen):
        if "temperature" in seen.body:
            return Reply(400, {"error": {"message": "Unsupported parameter: 'temperature'"}})
        return chat_reply(GOOD) if seen.body.get("response_format") else None

    relay.script = script
    notes = check_models(["llm-small@relay"], [], FORMS)
    line = "temperature is left out, so that its answers vary (OMIT=temperature)"
    assert notes == [f"llm-small@relay: {line}", f"judge@relay: {line}"]
    assert forms_in_use(["llm-small@relay", "judge@relay", "embed-small@relay"]) == {
        "llm-small@relay": {"omitted": ["temperature"]},
        "judge@relay": {"omitted": ["temperature"]},
    }


def test_a_judge_that_gives_few_forms_cannot_be_used_and_one_that_lacks_one_is_told(gateway, relay):
    relay.script = lambda seen: chat_reply("I would rather not.")
    with pytest.raises(ServiceError, match=r"2 of 2 answers are not in the requested form.*'I would rather not.'"):
        check_models([], [], FORMS)
    relay.script = lambda seen: chat_reply({"statements": ["a"]})
    (note,) = check_models([], [], FORMS)
    assert "judge@relay: its answer is not in the form Verdict" in note
    assert "lacks `verdict`" in note


def test_chunks_that_are_too_long_are_an_error_only_where_their_length_is_known(gateway, relay):
    def script(seen):
        is_long = max(map(len, seen.body["input"])) > 1_000
        return Reply(413, {"message": "`inputs` must have less than 256 tokens"}) if is_long else None

    relay.script = script
    check = partial(check_models, [], ["embed-small@relay"])
    (note,) = check()
    assert "chunks of 512 tokens cannot be embedded: a text of 512 tokens is too long" in note
    assert check(chunk_tokens={"embed-small@relay": 128}) == []
    assert check(chunk_tokens={}) == []  # it embeds no chunks
    with pytest.raises(ServiceError, match=r"HTTP 413: a text of 400 tokens is too long.*less than 256 tokens"):
        check(chunk_tokens={"embed-small@relay": 400})


@pytest.mark.parametrize(
    ("batch", "alone", "problem"),
    [
        ([[1.0, 0.0], [0.0, 2.0]], [0.0, 1.0], None),
        ([[1.0, 0.0], [0.0, 1.0]], [0.01, 1.0], None),
        ([[1.0, 0.0], [0.0, 1.0]], [1.0, 0.0], "different vector in a batch of 2 than alone (cosine 0.00)"),
        ([[1.0, 0.0], [0.0, 1.0]], [0.0], "2 numbers in a batch, 1 for a single text"),
        ([[1.0, 0.5], [1.0, 0.5]], [1.0, 0.5], "the same vector for 2 different texts"),
        ([[1.0, 0.0], [0.0, 0.0]], [0.0, 1.0], "zero or not finite"),
        ([[1.0, 0.0], [float("nan"), 0.0]], [0.0, 1.0], "zero or not finite"),
    ],
)
def test_vectors_are_compared_with_each_other(batch, alone, problem):
    found = vectors_problem(batch, alone, 1)
    assert (found is None) == (problem is None)
    assert (problem or "") in (found or "")


def test_every_model_that_does_not_answer_is_named_at_once(model_server, relay, no_environment):
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    settings = endpoint_settings(
        model_server,
        relay,
        DREAM_ENDPOINT_LOCKED_BASE_URL=model_server.base_url,
        DREAM_ENDPOINT_LOCKED_API_KEY=WRONG_KEY,
        DREAM_ENDPOINT_GONE_BASE_URL=nobody,
    )
    llms = ["llm-large", "gpt-9", "judge@locked", "any@gone", "any@nowhere"]
    with gateway_client.opened(settings), pytest.raises(ServiceError) as caught:
        check_models(llms, ["embed-small", "gpt-9"])
    headline, *lines = str(caught.value).splitlines()
    assert headline == "4 model(s) cannot be used:"
    offered = "offers: embed-large, embed-small, judge, llm-large, llm-small"
    for line, parts in zip(
        lines,
        [
            ("gpt-9: ", "has no model 'gpt-9'", offered),
            ("judge@locked: ", "refuses the key", "DREAM_ENDPOINT_LOCKED_API_KEY"),
            ("any@gone: ", "does not answer", nobody),
            ("any@nowhere: ", "DREAM_ENDPOINT_NOWHERE_BASE_URL"),
        ],
        strict=True,
    ):
        assert all(part in line for part in parts), line
    assert KEY not in str(caught.value)
    assert WRONG_KEY not in str(caught.value)


def test_a_url_where_nothing_is_is_told_what_to_write(model_server, relay, no_environment):
    relay.script = lambda seen: Reply(404, {"detail": "Not Found"})
    with gateway_client.opened(endpoint_settings(model_server, relay)), pytest.raises(ServiceError) as caught:
        check_models(["llm-small@relay"], [])
    assert f"there is nothing at {relay.base_url}/chat/completions: DREAM_ENDPOINT_RELAY_BASE_URL must be" in str(
        caught.value
    )


def test_a_connection_that_broke_is_no_verdict_about_a_model(gateway, relay):
    relay.first(Reply(200, {"half": "an answer"}, cut=True))
    assert check_models(["llm-small@relay"], []) == []
    assert len(relay.requests) == 2
