"""`FormLLM`: an LLM with the interface of ragas' metrics and testset generator, faster than instructor's.

instructor writes the first request of each kind, which becomes the template for all further ones with other prompts; it
sends nothing. The gateway sends the requests and reads the answers (`dream.models.reading`). A call takes 0.5 ms of
CPU, with instructor 1.5 ms.
"""

import copy
import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import httpx
from pydantic import BaseModel, ValidationError
from ragas.llms.base import InstructorBaseRagasLLM, InstructorLLM

from dream.errors import DataError
from dream.models.direct_calls import ModelCalls
from dream.models.json_forms import read_form
from dream.models.openai_wire import CHAT_PATH
from dream.runtime.event_loop import run_async

# instructor logs errors about requests that are not sent; here none are.
logging.getLogger("instructor").setLevel(logging.CRITICAL)

# Fields of ragas' schemas whose range is only in their descriptions: minimum and maximum.
RANGES: Mapping[str, tuple[int, int]] = {
    "verdict": (0, 1),
    "attributed": (0, 1),
    "noncommittal": (0, 1),
    "score": (1, 5),
}


@dataclass(frozen=True)
class Form:
    """The requests of one kind: their body without the last message, which is the prompt, and the answer's schema."""

    body: Mapping[str, Any]
    schema: str

    def filled(self, prompt: str) -> dict[str, Any]:
        """The body of a request."""
        return {**self.body, "messages": [*self.body["messages"], {"role": "user", "content": prompt}]}


class FormWriter:
    """Lets instructor write each kind of request once, for all trials and threads.

    Args:
        writer: writes the first request of each kind; its client is synchronous, and must not send (see `Unsent`).
    """

    def __init__(self, writer: InstructorLLM) -> None:
        self._writer, self._lock = writer, threading.Lock()
        self._forms: WeakKeyDictionary[type[BaseModel], Form] = WeakKeyDictionary()

    def form(self, response_model: type[BaseModel]) -> Form:
        """The form of requests for answers that match this pydantic model."""
        with self._lock:
            if response_model not in self._forms:
                schema = json.dumps(schema_with_ranges(response_model))
                self._forms[response_model] = Form(self._written(response_model), schema)
            return self._forms[response_model]

    def _written(self, response_model: type[BaseModel]) -> dict[str, Any]:
        """A request as instructor writes it, without the last message, which is the prompt."""
        prompt, unsent = "the prompt", Unsent()
        try:
            self._writer.generate(prompt, response_model)
        except Exception as error:
            if (cause := _unsent_in(error)) is None:
                raise
            unsent = cause
        body = json.loads(unsent.body)
        *before, last = body["messages"]
        if last != {"role": "user", "content": prompt}:
            raise TypeError("instructor does not write the prompt into the last message: adapt FormWriter")
        return {**body, "messages": before}


class FormLLM(InstructorBaseRagasLLM):
    """Asks an LLM for answers in the form of a pydantic model.

    Args:
        writer: of the model's requests.
        calls: of the same model, for all requests.
    """

    is_async = True  # ragas' generator asks for it

    def __init__(self, writer: FormWriter, calls: ModelCalls) -> None:
        self._writer, self._calls = writer, calls

    async def agenerate(self, prompt: str, response_model: Any) -> Any:
        """The answer to a prompt.

        Raises:
            DataError: if the answer cannot be read in the requested form, even after a second request.
        """
        form = self._writer.form(response_model)
        answer = await self._calls.post(CHAT_PATH, form.filled(prompt), schema=form.schema)
        return _read(answer, response_model, form.schema)

    def generate(self, prompt: str, response_model: Any) -> Any:
        return run_async(self.agenerate(prompt, response_model))


class Unsent(httpx.TransportError):
    """Raised instead of sending a request."""

    def __init__(self, body: bytes = b"") -> None:
        super().__init__("not sent")
        self.body = body


class UnsentTransport(httpx.BaseTransport):
    """The transport of a `FormWriter`'s client: requests are written, but not sent."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        raise Unsent(request.read())


def schema_with_ranges(response_model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a response model, with the ranges that ragas only describes in words."""
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
    raise DataError(f"the answer is not in the requested form: {form.problem}")
