"""Thinking is told from the answer in whatever way a model or server marks it, and other texts stay as they are."""

import pytest

from dream.models.thinking import MAX_THINKING_CHARACTERS, has_thinking, separated, shortened

THOUGHTS = {
    "<think>\nSo {step 1}: the mast.\n</think>\n\n42 m": ("42 m", "So {step 1}: the mast."),
    "<THINK>a</THINK>42 m": ("42 m", "a"),
    "<thinking>a</thinking> 42 m": ("42 m", "a"),
    "<thought>a</thought> 42 m": ("42 m", "a"),
    '<reasoning effort="low">a</reasoning>42 m': ("42 m", "a"),
    "a </think>\n42 m": ("42 m", "a"),
    "<think>a</think><think>b</think>42 m": ("42 m", "a\n\nb"),
    "It is <think>or 24?</think>42 m": ("It is 42 m", "or 24?"),
    "42 m\n<think>but then": ("42 m", "but then"),
    "[THINK]a[/THINK]42 m": ("42 m", "a"),
    "◁think▷a◁/think▷42 m": ("42 m", "a"),
    "<think>a</think><answer>42 m</answer>": ("42 m", "a"),
    "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>42 m": ("42 m", "a"),
    "<think>a</think>": ("", "a"),
    "<think>never closed": ("", "never closed"),
}


@pytest.mark.parametrize("text", THOUGHTS)
def test_thinking_is_separated_from_the_answer(text: str):
    read = separated(text)
    assert (read.answer, read.thinking) == THOUGHTS[text]
    assert has_thinking(text)


@pytest.mark.parametrize(
    "text",
    [
        "42 m",
        " 42 m\n",
        "",
        "a < b and c > d",
        "The tags `<think>` and `</think>` are stripped.",
        "An analysis: <analysis>of rime</analysis>",
        "<p>42 m</p>",
    ],
)
def test_an_answer_without_thinking_stays_as_it_is(text: str):
    assert separated(text).answer == text
    assert not has_thinking(text)


def test_an_empty_block_of_thinking_is_none():
    assert separated("<think>\n\n</think>\n\n42 m").answer == "42 m"


def test_what_stands_in_the_strings_of_json_is_no_thinking():
    text = '{"statement": "the tag </think> ends it"}'
    assert separated(text, only_around=True).answer == text
    assert separated(f"<think>{{}}</think>{text}", only_around=True).answer == text
    assert separated(f"so {{it}} is</think>{text}", only_around=True).answer == text


def test_long_thinking_is_kept_without_its_middle():
    kept = shortened("a" * 50_000 + "b" * 50_000)
    assert len(kept) < MAX_THINKING_CHARACTERS + 100
    assert (kept[0], kept[-1]) == ("a", "b")
    assert "80000 characters left out" in kept
    assert shortened("short") == "short"
