"""Keys in a study file, and rules that leave nothing of it."""

import pytest

from dream.errors import ConfigurationError
from dream.experiments.study_checks import note_secrets
from dream.experiments.study_file import read_yaml
from dream.experiments.study_reader import study_of


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("api_key: abcdefgh", "abcdefgh"),
        ("judge: {llm: a, ACCESS-KEY: 12345678}", ""),  # a number
        ("request: {body: {client_secret: 'c2Vj/cmV0'}}", "c2Vj/cmV0"),
        ("headers: [{Authorization: 'Basic dXNlcjpwYXNz'}]", ""),  # no word of one piece
        ("prompt: call it with Bearer abcdefghij0123456789, please", "Bearer abcdefghij0123456789"),
        ("documents: 's3://me:hunter2-of-mine@bucket/docs'", "me:hunter2-of-mine"),
        ("x: [{y: AKIAIOSFODNN7EXAMPLE}]", "AKIAIOSFODNN7EXAMPLE"),
        ("text: sk-proj-abc_defghijklmnop", "sk-proj-abc_defghijklmnop"),
        ("budget: {tokens: 100000}", ""),
        ("prompt: the token stands for the password", ""),
        ("token: '{token}'", ""),
        ("models: {llms: [llama-3.1-8b@vllm, ask-me-anything-13b, '@cf/meta/llama-3.1-8b@cloudflare']}", ""),
        ("documents: s3://documents/contracts", ""),
        ("questions: https://example.org/questions.csv", ""),
    ],
)
def test_what_looks_like_a_key_is_noted_and_not_shown(text: str, secret: str):
    document = read_yaml(f"systems: [bm25]\n{text}", "study.yaml")
    note_secrets(document)
    document.problem((), f"all of it: {text}")
    with pytest.raises(ConfigurationError) as caught:
        document.raise_problems()
    told = str(caught.value)
    assert ("line 2: " in told and "looks like an API key: keys and passwords stay in the environment" in told) == (
        secret != ""
    )
    assert not secret or secret not in told


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (
            "[{exclude: {top_k: [3, 5]}}]",
            "line 3: this rule excludes every trial: all trials of the systems meet its cond",
        ),
        ("[{exclude: {top_k: 3}}, {exclude: {top_k: 5}}]", "line 3: together the rules exclude every trial"),
        (
            "[{require: {when: {method: bm25}, then: {top_k: 4}}}]",
            "excludes every trial: all trials of the systems meet `w",
        ),
        ("[{exclude: {top_k: 3}}, {require: {when: {top_k: 5}, then: {llm: gpt-4o}}}]", ""),  # the settings name LLMs
        ("[{exclude: {llm: gpt-4o}}]", ""),
    ],
)
def test_rules_that_leave_nothing_are_mistakes_of_the_file(rules: str, told: str):
    text = f"systems:\n  - {{method: bm25, top_k: [3, 5]}}\nrules: {rules}"
    if not told:
        assert study_of(text)
        return
    with pytest.raises(ConfigurationError) as caught:
        study_of(text)
    assert told in str(caught.value)
