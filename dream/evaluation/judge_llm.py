"""The judge's LLM as ragas' metrics call it, in fewer layers: 0.5 ms of CPU a call, where instructor's way takes 1.5.

instructor writes the first request of each kind, and what it wrote is the form for all others, in which only the
prompt differs. The filled form goes to the gateway as it is; pydantic reads the answer.
"""

from contextvars import ContextVar
from typing import Any

from pydantic import BaseModel, ValidationError
from ragas.llms.base import InstructorBaseRagasLLM, InstructorLLM

from dream.errors import DataError
from dream.models.direct_calls import ModelCalls
from dream.models.openai_wire import CHAT_PATH, json_text

_first: ContextVar[tuple[type[BaseModel], str] | None] = ContextVar("first", default=None)


class JudgeLLM(InstructorBaseRagasLLM):
    """Asks an LLM for answers in the form of a pydantic model.

    Args:
        llm: one with an asynchronous OpenAI client, for the first request of each kind.
        calls: of the same model, with the same labels, for all others.

    Raises:
        DataError: when an answer is cut off, or is not the JSON that was asked for; the gateway has then asked for it
            several times.
    """

    def __init__(self, llm: InstructorLLM, calls: ModelCalls) -> None:
        self._llm, self._calls = llm, calls
        self._forms: dict[type[BaseModel], dict[str, Any]] = {}
        llm.client.on("completion:kwargs", self._note)

    async def agenerate(self, prompt: str, response_model: Any) -> Any:
        form = self._forms.get(response_model)
        if form is None:
            _first.set((response_model, prompt))
            return await self._llm.agenerate(prompt, response_model)
        body = {**form, "messages": [*form["messages"], _message(prompt)]}
        return _read(await self._calls.post(CHAT_PATH, body), response_model)

    def generate(self, prompt: str, response_model: Any) -> Any:
        return self._llm.generate(prompt, response_model)

    def _note(self, **request: Any) -> None:
        """Called by instructor with the request that it is about to send."""
        asked = _first.get()
        if asked is None:
            return
        response_model, prompt = asked
        *before, last = request["messages"]
        if last == _message(prompt):
            self._forms[response_model] = {**request, "messages": before}


def _message(prompt: str) -> dict[str, str]:
    return {"role": "user", "content": prompt}


def _read(answer: Any, response_model: type[BaseModel]) -> BaseModel:
    choice = answer["choices"][0]
    text = json_text(choice["message"])
    if choice.get("finish_reason") == "length":
        raise DataError(f"the judge's answer was cut off after {len(text)} characters: it reached max_tokens")
    try:
        return response_model.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"the judge's answer is not the JSON that was asked for: {text[:200]!r}") from error
