"""Parsing of chat prompts: question, context and earlier answer, in the format of LlamaIndex or similar ones."""

import re
from dataclasses import dataclass

_RULE = r"-{5,}"
_CONTEXT = (
    re.compile(rf"Context information[^\n]*\n{_RULE}\n(?P<context>.*)\n{_RULE}\n", re.DOTALL),
    re.compile(rf"New Context:\s*\n{_RULE}\n(?P<context>.*)\n{_RULE}\n", re.DOTALL),
    re.compile(r"New Context: (?P<context>.*)\nQuery: ", re.DOTALL),
    re.compile(rf"some more context below\.\n{_RULE}\n(?P<context>.*)\n{_RULE}\n", re.DOTALL),
    re.compile(
        rf"(?:context|documents?|passages?)\b[^\n]*\n{_RULE}\n(?P<context>.*)\n{_RULE}", re.DOTALL | re.IGNORECASE
    ),
    re.compile(r"^Context:\s*(?P<context>.*?)\n\s*Question:", re.DOTALL | re.IGNORECASE | re.MULTILINE),
)
_QUESTION = (
    re.compile(r"\nQuery: (?P<question>.*?)\n(?:Original Answer|Answer):", re.DOTALL),
    re.compile(r"The original query is as follows: (?P<question>.*?)\nWe have provided an existing answer", re.DOTALL),
    re.compile(r"(?:^|\n)(?:Query|Question|Query string): (?P<question>[^\n]+)", re.IGNORECASE),
    re.compile(r"write a passage to answer the question\n[^\n]*\n\s*(?P<question>.*?)\s*Passage:", re.DOTALL),
)
_EXISTING = (
    re.compile(r"\nOriginal Answer: (?P<answer>.*?)\nNew Answer:", re.DOTALL),
    re.compile(r"We have provided an existing answer: (?P<answer>.*?)\nWe have the opportunity", re.DOTALL),
)
_EXPAND = re.compile(r"Generate (?P<count>\d+) search queries, one on each line")
_RATE = re.compile(r"Rate how much each passage helps to answer the question")
_PASSAGE = re.compile(r"^Passage (\d+):\s*\n(.*?)(?=^Passage \d+:|^Question: |\Z)", re.DOTALL | re.MULTILINE)
_DECOMPOSE = re.compile(r"Break the question down into simpler questions, (?P<count>\d+) at most")
_SITUATE = re.compile(
    r"<document>\n(?P<document>.*)\n</document>.*this document stands under: (?P<place>[^\n]*)\n"
    r"<chunk>\n(?P<chunk>.*)\n</chunk>\nWrite one or two sentences[^\n]*\Z",
    re.DOTALL,
)
_CHOOSE = re.compile(r"numbers of the documents you should consult", re.IGNORECASE)
_DOCUMENT = re.compile(r"^Document (\d+):\s*\n(.*?)(?=^Document \d+:|^Question: |\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Request:
    """A parsed chat request. `kind` is "answer", "refine", "passage", "queries", "parts", "choose", "rate" or
    "situate": there `question` is the place of a chunk, `context` the document and `existing` the chunk."""

    kind: str
    question: str
    context: str | None = None
    existing: str | None = None
    count: int = 1
    documents: tuple[tuple[int, str], ...] = ()


def read_request(messages: list[dict]) -> Request:
    """Parse the last user message; in an unknown format the whole message is the question."""
    prompt = last_user_text(messages)
    if situate := _SITUATE.search(prompt):
        return Request("situate", situate["place"], situate["document"], situate["chunk"])
    context = _first(_CONTEXT, prompt, "context")
    question = _first(_QUESTION, _without(prompt, context), "question") or prompt.strip()
    existing = _first(_EXISTING, prompt, "answer")
    if existing is not None:
        return Request("refine", question, context or "", existing.strip())
    if expand := _EXPAND.search(prompt):
        return Request("queries", question, count=int(expand["count"]))
    if split := _DECOMPOSE.search(prompt):
        return Request("parts", question, count=int(split["count"]))
    if _RATE.search(prompt):
        question = prompt.rpartition("\nQuestion: ")[2].partition("\nRatings:")[0]
        return Request("rate", question, documents=_numbered(_PASSAGE, prompt))
    if _CHOOSE.search(prompt):
        return Request("choose", question, documents=_documents(prompt))
    if "write a passage to answer the question" in prompt:
        return Request("passage", question)
    return Request("answer", question, context)


def last_user_text(messages: list[dict]) -> str:
    """The text of the last user message, or of the last message if there is none."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return message_text(message)
    return message_text(messages[-1])


def message_text(message: dict) -> str:
    """The text of one message, whether its content is a string or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))


def _first(patterns: tuple[re.Pattern, ...], text: str, group: str) -> str | None:
    for pattern in patterns:
        if match := pattern.search(text):
            return match[group].strip()
    return None


def _without(prompt: str, context: str | None) -> str:
    """The prompt with its context cut out, so that a "Question:" inside a document is not taken for the question."""
    return prompt.replace(context, "", 1) if context else prompt


def _documents(prompt: str) -> tuple[tuple[int, str], ...]:
    return _numbered(_DOCUMENT, prompt.rpartition("Let's try this now")[2])


def _numbered(pattern: re.Pattern, text: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(label), body.strip()) for label, body in pattern.findall(text))
