"""Refusals in the words of real servers, and the form that is tried next."""

import json

import pytest

from dream.models.openai_wire import ModelResponse
from dream.models.request_forms import Refusal, RequestForm, batch_that_may_pass, is_too_long, next_form
from dream.settings import Endpoint

JSON = {"response_format": {"type": "json_object"}}
NATIVE = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}}
COLD = {"temperature": 0.0, "top_p": 0.1}
LIMIT = {"max_tokens": 4096}


def refusal(text: str, status: int = 400, **more: str) -> Refusal:
    body = {"error": {"message": text, **more}}
    found = Refusal.of(ModelResponse(status, json.dumps(body).encode()))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("sent", "text", "form"),
    [
        (JSON, "'response_format.type' must be 'json_schema' or 'text'", {"response_format": "json_schema"}),
        (NATIVE, "response_format is unavailable now", {"response_format": "text"}),
        (NATIVE, "This model does not support structured outputs", {"response_format": "text"}),
        (JSON, "Extra inputs are not permitted: response_format", {"response_format": "json_schema"}),
        (COLD, "`temperature` and `top_p` cannot both be specified for this model.", {"omitted": ["top_p"]}),
        (COLD, "'temperature' does not support 0.0. Only the default (1) value.", {"omitted": ["temperature"]}),
        (COLD, "Unsupported parameter: top_p", {"omitted": ["top_p"]}),
        (COLD, "`temperature` must be strictly positive", {"temperature": 0.01}),
        (COLD, "temperature must be in (0, 2]", {"temperature": 0.01}),
        (LIMIT, "'max_tokens' is not supported. Use 'max_completion_tokens'", {"token_limit": "max_completion_tokens"}),
        ({"max_completion_tokens": 9}, "Unknown argument: max_completion_tokens", {"token_limit": "max_tokens"}),
        (LIMIT, "max_tokens is too large: 4096. It supports at most 2048 completion tokens", {"max_tokens": 2048}),
        (LIMIT, "Range of max_tokens should be [1, 1,024]", {"max_tokens": 1024}),
        ({"encoding_format": "base64"}, "base64 encoding is not currently supported", {"encoding_format": "float"}),
        ({"encoding_format": "float"}, "unknown field encoding_format", {"omitted": ["encoding_format"]}),
        ({"seed": 1}, "Argument not supported on this model: seed", {"omitted": ["seed"]}),
    ],
)
def test_a_refusal_leads_to_another_form(sent, text, form):
    step = next_form(RequestForm(), sent, refusal(text))
    assert step is not None
    assert step.lasts
    assert step.form.described() == form


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (COLD, "Invalid model name passed in model=xyz"),
        (COLD, "This model's maximum context length is 4096 tokens. However, you requested 5120 tokens"),
        ({}, "`temperature` is not supported"),
        ({"messages": []}, "response_format is not supported"),
        ({"dimensions": 256}, "dimensions is not supported"),  # other vectors than those that were asked for
        (COLD, "content policy"),
    ],
)
def test_what_no_form_can_help_stays_an_error(sent, text):
    assert next_form(RequestForm(), sent, refusal(text)) is None


def test_a_prompt_that_fills_the_context_window_leaves_fewer_tokens_this_once():
    text = (
        "This model's maximum context length is 8192 tokens. However, you requested 9192 tokens (5096 in the messages)"
    )
    step = next_form(RequestForm(), LIMIT, refusal(text))
    assert step is not None
    assert (step.form.max_tokens, step.lasts) == (3096, False)


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"detail": [{"loc": ["body", "top_p"], "msg": "Extra inputs not allowed", "input": "stop"}]}, "top_p"),
        ({"message": "top_p: unsupported", "type": "Validation"}, "top_p"),
        ({"error": "unsupported option: top_p"}, "top_p"),
        ([{"error": {"code": 400, "message": 'Unknown name "top_p": Cannot find field.'}}], "top_p"),
        ({"error": {"message": "Unsupported value, see temperature and others", "param": "top_p"}}, "top_p"),
    ],
)
def test_a_refusal_is_read_in_the_shape_of_any_server(body, parameter):
    found = Refusal.of(ModelResponse(422, json.dumps(body).encode()))
    assert found is not None
    step = next_form(RequestForm(), {"top_p": 1, "stop": None}, found)
    assert step is not None
    assert step.form.omitted == (parameter,)


def test_only_a_refusal_is_one():
    assert Refusal.of(ModelResponse(200, b'{"choices": []}')) is None
    assert Refusal.of(ModelResponse(429, b'{"error": {"message": "temperature"}}')) is None
    assert Refusal.of(ModelResponse(200, b'{"error": {"message": "top_p"}}')) is not None
    assert Refusal.of(ModelResponse(413, b"Request Entity Too Large")) == Refusal(413, "request entity too large")


@pytest.mark.parametrize(
    ("texts", "found", "size"),
    [
        (64, Refusal(413, "batch size 64 > maximum allowed batch size 32"), 32),
        (64, Refusal(413, "request entity too large"), 32),
        (64, Refusal(400, "too many inputs: at most 10 are allowed"), 10),
        (64, Refusal(400, "requested 350000 tokens, max 300000 tokens per request"), 32),
        (64, Refusal(413, "`inputs` must have less than 512 tokens. given: 700"), None),
        (64, Refusal(400, "this model's maximum context length is 8192 tokens, however you requested 9000"), None),
        (64, Refusal(400, "invalid model"), None),
        (1, Refusal(413, "request entity too large"), None),
    ],
)
def test_a_batch_is_halved_where_its_size_is_the_reason(texts, found, size):
    assert batch_that_may_pass(texts, found) == size


def test_a_text_that_is_too_long_is_told_from_many_texts():
    assert is_too_long(Refusal(413, "`inputs` must have less than 512 tokens. given: 700"))
    assert is_too_long(Refusal(400, "input is too long: 513 tokens"))
    assert not is_too_long(Refusal(413, "batch size 64 > maximum allowed batch size 32"))
    assert not is_too_long(Refusal(413, "request entity too large"))


def test_the_settings_of_an_endpoint_are_the_first_form():
    endpoint = Endpoint("e", "http://e/v1", response_format="text", max_tokens_parameter="max_completion_tokens")
    form = RequestForm.of(endpoint)
    assert form.applied({"max_tokens": 5, "temperature": 0, **JSON, "messages": []}) == {
        "max_completion_tokens": 5,
        "temperature": 0,
        "messages": [],
    }
    assert RequestForm().applied({"max_tokens": 5, **JSON}) == {"max_tokens": 5, **JSON}


def test_the_schema_travels_with_the_request_whatever_the_form():
    schema = {"title": "How many?", "type": "object", "properties": {"n": {"type": "integer"}}}
    in_prompt = {**JSON, "messages": [{"role": "system", "content": f"the json_schema:\n{json.dumps(schema)}"}]}
    native = RequestForm(response_format="json_schema").applied(in_prompt)
    assert native["response_format"]["json_schema"] == {"name": "How_many_", "schema": schema}
    asked = {"response_format": native["response_format"], "messages": [{"role": "user", "content": "n?"}]}
    for form in ("text", "json_object"):
        sent = RequestForm(response_format=form).applied(asked)
        assert json.dumps(schema) in sent["messages"][0]["content"]
        assert (sent.get("response_format") or {}).get("type") == (None if form == "text" else form)


def test_a_form_is_explained_with_the_variables_that_set_it():
    form = RequestForm("text", "max_completion_tokens", 2048, 0.0, ("temperature", "top_p"), "float", 32)
    assert form.explained() == [
        "JSON is requested by text (RESPONSE_FORMAT=text)",
        "tokens are limited by max_completion_tokens (MAX_TOKENS_PARAMETER=max_completion_tokens)",
        "at most 2048 tokens are requested",
        "temperature, top_p is left out, so that its answers vary (OMIT=temperature,top_p)",
        "vectors are requested as float (ENCODING_FORMAT=float)",
        "32 texts are embedded at a time (EMBED_BATCH_SIZE=32)",
    ]
    assert RequestForm().explained() == []
