"""`FormLLM`: an LLM as ragas' metrics and its testset generator call it, in fewer layers than instructor's.

instructor writes the first request of each kind, and what it wrote is the form for all, in which only the prompt
differs; it sends nothing itself. The filled form goes to the gateway, which reads the answer (`dream.models.reading`):
every request of a kind is treated alike. A call takes 0.5 ms of CPU, where instructor's way takes 1.5.
"""

import copy
import json
import logging
from collections.abc import Mapping
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError
from ragas.llms.base import InstructorBaseRagasLLM, InstructorLLM

from dream.errors import DataError
from dream.event_loop import run_async
from dream.models.direct_calls import ModelCalls
from dream.models.json_forms import read_form
from dream.models.openai_wire import CHAT_PATH

# It complains of requests that are not sent, and it sends none.
logging.getLogger("instructor").setLevel(logging.CRITICAL)

# Fields of ragas' schemas whose range is only in their descriptions: the least and the greatest value.
RANGES: Mapping[str, tuple[int, int]] = {
    "verdict": (0, 1),
    "attributed": (0, 1),
    "noncommittal": (0, 1),
    "score": (1, 5),
}


class FormLLM(InstructorBaseRagasLLM):
    """Asks an LLM for answers in the form of a pydantic model.

    Args:
        writer: writes the first request of each kind; its client must not send (see `Unsent`).
        calls: of the same model, for all requests.
    """

    is_async = True  # ragas' generator asks for it

    def __init__(self, writer: InstructorLLM, calls: ModelCalls) -> None:
        self._writer, self._calls = writer, calls
        self._forms: dict[type[BaseModel], dict[str, Any]] = {}
        self._schemas: dict[type[BaseModel], str] = {}

    async def agenerate(self, prompt: str, response_model: Any) -> Any:
        """The answer to a prompt.

        Raises:
            DataError: when it cannot be read as what was asked for, even when it is asked for again.
        """
        form = self._forms.get(response_model)
        if form is None:
            form = self._forms[response_model] = await self._written(response_model)
            self._schemas[response_model] = json.dumps(schema_with_ranges(response_model))
        body = {**form, "messages": [*form["messages"], {"role": "user", "content": prompt}]}
        schema = self._schemas[response_model]
        return _read(await self._calls.post(CHAT_PATH, body, schema=schema), response_model, schema)

    def generate(self, prompt: str, response_model: Any) -> Any:
        return run_async(self.agenerate(prompt, response_model))

    async def _written(self, response_model: type[BaseModel]) -> dict[str, Any]:
        """A request as instructor writes it, without the last message, which is the prompt."""
        prompt, unsent = "the prompt", Unsent()
        try:
            await self._writer.agenerate(prompt, response_model)
        except Exception as error:
            if (cause := _unsent_in(error)) is None:
                raise
            unsent = cause
        body = json.loads(unsent.body)
        *before, last = body["messages"]
        if last != {"role": "user", "content": prompt}:
            raise TypeError("instructor writes the prompt elsewhere than in the last message: mend FormLLM")
        return {**body, "messages": before}


class Unsent(httpx.TransportError):
    """Raised instead of sending a request."""

    def __init__(self, body: bytes = b"") -> None:
        super().__init__("not sent")
        self.body = body


class UnsentTransport(httpx.AsyncBaseTransport):
    """Under the client of a `FormLLM`'s writer: requests are written, and not sent."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise Unsent(await request.aread())


def schema_with_ranges(response_model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a response model, with the ranges that ragas gives in words alone."""
    schema = copy.deepcopy(response_model.model_json_schema())
    for part in (schema, *schema.get("$defs", {}).values()):
        properties = part.get("properties", {})
        for name, (least, most) in RANGES.items():
            if properties.get(name, {}).get("type") == "integer":
                properties[name] = {**properties[name], "minimum": least, "maximum": most}
    return schema


def _unsent_in(error: BaseException) -> Unsent | None:
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        if isinstance(link, Unsent):
            return link
        seen.append(link)
        link = link.__cause__ or link.__context__
    return None


def _read(answer: Mapping[str, Any], response_model: type[BaseModel], schema: str) -> BaseModel:
    form = read_form(answer["choices"][0]["message"], schema)
    if form.problem is None:
        try:
            return response_model.model_validate(form.value)
        except ValidationError as error:
            raise DataError(f"the answer does not match {response_model.__name__}: {error}") from error
    raise DataError(f"the answer is not what was asked for: {form.problem}")
