"""`FormFinder`: sends requests in a form that the endpoint and model accept, which it finds after refusals."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dream.models.endpoint_access import Access, alternatives, first_that_is_there
from dream.models.endpoint_client import EndpointClient
from dream.models.openai_wire import EMBEDDINGS_PATH, ModelRequest, ModelResponse, texts_of
from dream.models.request_forms import Refusal, RequestForm, batch_that_may_pass, is_too_long, next_form
from dream.models.token_usage import reported
from dream.models.usage import CHECK_STAGE
from dream.models.vector_reading import VECTORS
from dream.tokens import count_tokens, first_tokens

MAX_STEPS = 8

Body = Mapping[str, Any]
Result = tuple[ModelResponse, dict[str, Any] | None]
Send = Callable[[ModelRequest, Body | None], Awaitable[Result]]

logger = logging.getLogger(__name__)


@dataclass
class FormFinder:
    """Remembers the form of each endpoint and model. All methods must be called on one event loop."""

    _forms: dict[tuple[str, str], RequestForm] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def send(self, client: EndpointClient, request: ModelRequest, body: Body | None, send: Send) -> Result:
        """Send a request in a form that the server accepts. Returns the last response if there is none.

        Args:
            send: sends a request to the client's endpoint (`EndpointClient.send`).
        """
        if body is None or not body.get("model"):
            return await self._reached(client, request, body, send)
        sending = _Sending(self, client, request, str(body["model"]), send)
        if request.path == EMBEDDINGS_PATH:
            return await sending.embed(body)
        return await sending.adapted(body)

    def form(self, client: EndpointClient, model: str) -> RequestForm:
        """The known form of requests to a model."""
        return self._forms.get((client.endpoint.name, model)) or RequestForm.of(client.endpoint)

    def remember(self, client: EndpointClient, model: str, form: RequestForm, stage: str) -> None:
        """Remember an accepted form, and log it once."""
        before = self.form(client, model)
        if form == before:
            return
        self._forms[client.endpoint.name, model] = form
        if stage != CHECK_STAGE:  # a check reports the form itself
            explained = "; ".join(form.explained())
            logger.warning("%s@%s takes requests in another form: %s", model, client.endpoint.name, explained)

    async def _reached(self, client: EndpointClient, request: ModelRequest, body: Body | None, send: Send) -> Result:
        """Send a request. If the path does not exist or the key is refused, find the URL and the header first."""
        used = client.access
        result = await send(request, body)
        if result[0].status == 200:
            client.access = replace(client.access, is_proved=True)
            return result
        lock = self._locks.setdefault(client.endpoint.name, asyncio.Lock())
        async with lock:
            if client.access == used:
                text = result[0].body[:2000].decode(errors="replace").lower()
                has_key = bool(client.endpoint.api_key) and not client.endpoint.auth_header
                candidates = alternatives(used, client.endpoint.base_url, has_key, result[0].status, text)
                if not candidates:
                    return result
                results: list[Result] = []

                async def status_of(access: Access) -> int:
                    client.access = access
                    client.forget_refusal(str((body or {}).get("model", "")))
                    results.append(await send(request, body))
                    return results[-1][0].status

                found = await first_that_is_there(candidates, status_of)
                client.access = replace(found or used, is_proved=True)
                return results[-1] if found else result
            if client.access.prefix == used.prefix and client.access.header == used.header:
                return result  # others found that nothing helps
        return await send(request, body)


@dataclass
class _Sending:
    """One request on its way."""

    finder: FormFinder
    client: EndpointClient
    request: ModelRequest
    model: str
    send: Send
    is_rewritten: bool = False

    async def adapted(self, body: Body) -> Result:
        """Send a request, and after each refusal again in another form that the refusal suggests."""
        own: RequestForm | None = None
        for _ in range(MAX_STEPS):
            form = own or self.finder.form(self.client, self.model)
            sent = form.applied(body)
            result = await self._once(sent, body)
            refusal = None if result[1] is not None else Refusal.of(result[0])
            if refusal is None:
                if result[1] is not None and own is not None:
                    self.finder.remember(self.client, self.model, own, self.request.stage)
                return result
            latest = self.finder.form(self.client, self.model)
            if own is None and latest != form:
                continue  # another request has found the form meanwhile
            step = next_form(form, sent, refusal)
            if step is None or step.form == form:
                return result
            if not step.lasts:
                return await self._once(step.form.applied(body), body)
            own = step.form
        return result

    async def _once(self, sent: Body, body: Body) -> Result:
        content = json.dumps(sent, ensure_ascii=False).encode(errors="surrogatepass")
        request = replace(self.request, body=content) if sent != body or self.is_rewritten else self.request
        return await self.finder._reached(self.client, request, sent, self.send)

    async def embed(self, body: Body) -> Result:
        """Send an embeddings request, in batches that the server accepts."""
        form, texts = self.finder.form(self.client, self.model), texts_of(body)
        self.is_rewritten |= bool(form.max_input_tokens)
        if form.max_input_tokens:
            most = form.max_input_tokens
            texts = [first_tokens(text, most) if isinstance(text, str) else text[:most] for text in texts]
            body = {**body, "input": texts}
        if form.batch_size and len(texts) > form.batch_size:
            return await self._in_batches(body, texts, form.batch_size)
        result = await self.adapted(body)
        refusal = None if result[1] is not None else Refusal.of(result[0])
        if refusal is None:
            return result
        if (size := batch_that_may_pass(len(texts), refusal)) is not None:
            return await self._in_batches(body, texts, size)
        if is_too_long(refusal):
            return self._too_long(texts, result[0]), None
        return result

    async def _in_batches(self, body: Body, texts: Sequence[Any], size: int) -> Result:
        """The vectors of all batches; the size is remembered once a batch has passed."""
        self.is_rewritten = True
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        first = await self.embed({**body, "input": batches[0]})
        if first[1] is None:
            return first
        form = self.finder.form(self.client, self.model)
        if not form.batch_size or form.batch_size > size:
            self.finder.remember(self.client, self.model, replace(form, batch_size=size), self.request.stage)
        others = await asyncio.gather(*(self.embed({**body, "input": batch}) for batch in batches[1:]))
        return _joined([first, *others])

    def _too_long(self, texts: Sequence[Any], response: ModelResponse) -> ModelResponse:
        """The server's refusal of a too long text, with the text and the remedy."""
        longest = max(texts, key=lambda text: count_tokens(text) if isinstance(text, str) else len(text))
        tokens = count_tokens(longest) if isinstance(longest, str) else len(longest)
        name = self.client.endpoint.name
        reply = " ".join(response.body[:300].decode(errors="replace").split())
        message = (
            f"a text of {tokens} tokens is too long for the embedding model {self.model!r} of the endpoint {name!r}, "
            f"which says: {reply}. The text begins: {str(longest)[:80]!r}. Choose a smaller chunk_size, or set "
            f"DREAM_ENDPOINT_{name.upper()}_MAX_INPUT_TOKENS to cut longer texts"
        )
        error = {"error": {"message": message, "type": "input_too_long"}}
        return replace(response, body=json.dumps(error).encode(), content_type="application/json")


def _joined(results: Sequence[Result]) -> Result:
    """The joined answer of all batches, or the response of the first failed batch."""
    failed = next((result for result in results if result[1] is None), None)
    if failed is not None:
        return failed
    answers = [answer for _, answer in results if answer is not None]
    vectors = [vector for answer in answers for vector in answer[VECTORS]]
    counts = [reported(answer)[0] for answer in answers]
    usage = None if None in counts else {"prompt_tokens": sum(count for count in counts if count is not None)}
    seconds = max(response.seconds for response, _ in results)
    return ModelResponse(200, b"", seconds=seconds), {VECTORS: vectors, "usage": usage}
