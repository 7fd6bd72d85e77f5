"""`separated`: the answer in a model's text, and the thinking that some servers leave in it."""

import re
from dataclasses import dataclass

# Stored thinking that is longer is shortened in the middle.
MAX_THINKING_CHARACTERS = 20_000

# Tags of thinking at any place of a text. The names of `_AT_START` may occur in other texts, so they count only at the
# beginning.
_ANYWHERE = "think|thinking|antthinking|seed:think|mm:think"
_AT_START = f"{_ANYWHERE}|thought|thoughts|reasoning|reflection|analysis|scratchpad|inner_monologue"
# Marks in other notations: their opening and closing mark.
_OTHER_MARKS = (
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"◁think▷", r"◁/think▷"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<unused94>", r"<unused95>"),
    (r"(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)[^<]*<\|message\|>", r"<\|end\|>"),
)
_FLAGS = re.IGNORECASE | re.DOTALL


_LEADING = tuple(
    re.compile(rf"\s*{opening}(?P<thinking>.*?)(?:{closing}|\Z)", _FLAGS)
    for opening, closing in ((rf"<(?P<tag>{_AT_START})(?:\s[^<>]*)?>", r"</(?P=tag)\s*>"), *_OTHER_MARKS)
)
_BLOCK = re.compile(rf"(?<!`)<(?P<tag>{_ANYWHERE})(?:\s[^<>]*)?>(?P<thinking>.*?)</(?P=tag)\s*>", _FLAGS)
_NEVER_CLOSED = re.compile(rf"(?:\A|\n)[ \t]*<(?:{_ANYWHERE})>(?P<thinking>.*)\Z", _FLAGS)
# The opening tag was a part of the prompt. What precedes the closing tag is thinking.
_NEVER_OPENED = re.compile(
    rf"\A(?P<thinking>.*?)(?<!`)(?:</(?:{_ANYWHERE})\s*>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>)", _FLAGS
)
# Marks that some models put around the answer after their thinking.
_AROUND_ANSWER = tuple(
    re.compile(rf"\A\s*{opening}(?P<answer>.*?)(?:{closing}\s*)?\Z", _FLAGS)
    for opening, closing in (
        (r"<answer>", r"</answer>"),
        (r"<\|begin_of_solution\|>", r"<\|end_of_solution\|>"),
        (r"<\|START_RESPONSE\|>", r"<\|END_RESPONSE\|>"),
        (r"(?:<\|start\|>assistant)?<\|channel\|>final[^<]*<\|message\|>", r"(?:<\|end\|>|<\|return\|>)"),
    )
)


@dataclass(frozen=True)
class Separated:
    """The answer in a text, and the thinking in it; both without white space around them."""

    answer: str
    thinking: str = ""


def separated(text: str, *, only_around: bool = False) -> Separated:
    """The answer and the thinking in a model's text. A text without any mark of thinking is returned unchanged.

    Thinking that was never closed reaches to the end of the text, so the answer may be empty.

    Args:
        only_around: only look for thinking around the answer, as for JSON, whose strings may contain anything.

    Example:
        >>> separated("<think>The mast, then.</think>\\n42 m")
        Separated(answer='42 m', thinking='The mast, then.')
        >>> separated("so it is the mast </think> 42 m").answer
        '42 m'
    """
    if not _may_think(text):
        return Separated(text)
    thinking: list[str] = []
    rest = _without_leading(text, thinking)
    if not (only_around and rest.lstrip()[:1] in ("{", "[", "`")):
        rest = _without(_NEVER_OPENED if not _BLOCK.search(rest) else _BLOCK, rest, thinking)
        rest = _without(_NEVER_CLOSED, rest, thinking)
    if not thinking:
        return Separated(text)
    rest = next((match["answer"] for around in _AROUND_ANSWER if (match := around.match(rest))), rest)
    return Separated(rest.strip(), "\n\n".join(part for part in thinking if part))


def has_thinking(text: str) -> bool:
    """True if a text contains thinking besides an answer, or instead of one."""
    return separated(text).answer != text


def shortened(thinking: str) -> str:
    """The thinking, shortened in the middle to `MAX_THINKING_CHARACTERS`."""
    if len(thinking) <= MAX_THINKING_CHARACTERS:
        return thinking
    half = MAX_THINKING_CHARACTERS // 2
    return f"{thinking[:half]}\n... {len(thinking) - 2 * half} characters left out ...\n{thinking[-half:]}"


def _may_think(text: str) -> bool:
    return any(mark in text for mark in ("<", "[/THINK]", "[THINK]", "[think]", "◁"))


def _without_leading(text: str, thinking: list[str]) -> str:
    """The text without the blocks of thinking at its start, which are added to `thinking`."""
    while match := next((match for leading in _LEADING if (match := leading.match(text))), None):
        thinking.append(match["thinking"].strip())
        text = text[match.end() :]
    return text


def _without(pattern: re.Pattern[str], text: str, thinking: list[str]) -> str:
    def cut(match: re.Match[str]) -> str:
        thinking.append(match["thinking"].strip())
        return ""

    return pattern.sub(cut, text)
