"""The tokens of an answer: as reported by the server, or estimated.

Some servers return no `usage`, `null`, zeros, or only parts of it. Missing counts are estimated with DREAM's tokenizer
(`dream.tokens`) and marked as estimates, so that budgets hold and no call counts as free.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dream.models.answer_reading import THINKING
from dream.tokens import count_tokens

# The field in `usage` that marks an estimate.
ESTIMATED = "estimated"
# Tokens that chat formats add to a message, as OpenAI counts them.
TOKENS_A_MESSAGE = 4


@dataclass(frozen=True)
class Tokens:
    """The tokens of an answer; `estimated` of them were counted by DREAM."""

    prompt: float = 0
    completion: float = 0
    estimated: float = 0


def reported(answer: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The prompt and completion tokens that a server reports; None for what it does not.

    Where the total exceeds both, the rest is thinking, which some servers leave out of the completion tokens.

    Example:
        >>> reported({"usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45}})
        (10, 35)
    """
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return None, None
    prompt = _count(usage, "prompt_tokens", "input_tokens")
    completion, total = _count(usage, "completion_tokens", "output_tokens"), _count(usage, "total_tokens")
    if total is not None and prompt is not None:
        completion = max(completion or 0, total - prompt)
    elif total is not None and completion is not None and total > completion:
        prompt = total - completion
    return prompt, completion


def chat_tokens(request: Mapping[str, Any], answer: Mapping[str, Any]) -> Tokens:
    """The tokens of a chat answer in OpenAI's format. It takes a millisecond for a few thousand tokens to estimate."""
    usage = answer.get("usage")
    prompt, completion = reported(answer)
    if isinstance(usage, Mapping) and usage.get(ESTIMATED):  # written by `with_usage`
        return Tokens(prompt or 0, completion or 0, usage[ESTIMATED])
    estimated = 0
    if not prompt:
        prompt = _prompt_tokens(request)
        estimated += prompt
    if not completion:
        completion = _completion_tokens(answer)
        estimated += completion
    return Tokens(prompt, completion, estimated)


def text_tokens(texts: Sequence[Any], answer: Mapping[str, Any]) -> Tokens:
    """The tokens of embedded texts."""
    prompt, _ = reported(answer)
    if prompt:
        return Tokens(prompt, 0, answer["usage"].get(ESTIMATED, 0))
    counted = sum(count_tokens(text) if isinstance(text, str) else len(text) for text in texts)
    return Tokens(counted, 0, counted)


def with_usage(answer: Mapping[str, Any], tokens: Tokens) -> dict[str, Any]:
    """The answer with these tokens as its `usage`, which keeps further details of the server."""
    given = answer.get("usage")
    details = {name: value for name, value in given.items() if value is not None} if isinstance(given, Mapping) else {}
    numbers = {"prompt_tokens": tokens.prompt, "completion_tokens": tokens.completion}
    mark = {ESTIMATED: tokens.estimated} if tokens.estimated else {}
    total = tokens.prompt + tokens.completion
    return {**answer, "usage": {**details, **numbers, "total_tokens": total, **mark}}


def _count(usage: Mapping[str, Any], *names: str) -> float | None:
    """The first of these numbers that is one; a whole number where it can be."""
    for name in names:
        value = usage.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
            return int(value) if value == int(value) else value
    return None


def _prompt_tokens(request: Mapping[str, Any]) -> int:
    messages = request.get("messages") or ()
    tools = request.get("tools")
    extra = count_tokens(json.dumps(tools, ensure_ascii=False)) if tools else 0
    return sum(count_tokens(_text(message.get("content"))) + TOKENS_A_MESSAGE for message in messages) + extra


def _completion_tokens(answer: Mapping[str, Any]) -> int:
    """The tokens of the whole answer, thinking included."""
    count = 0
    for choice in answer.get("choices") or ():
        message = choice.get("message") or {}
        parts = (message.get(THINKING), message.get("content"), message.get("tool_calls"), message.get("refusal"))
        count += sum(count_tokens(_text(part)) for part in parts if part)
    return count


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False) if content else ""
