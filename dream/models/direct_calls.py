"""`ModelCalls`: calls of one model without the official OpenAI client, which takes 1 ms of CPU per call.

For requests that DREAM writes or copies from a client; they go through the gateway like all others.
"""

import base64
import json
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dream.models.gateway_client import GatewayClient, current_gateway
from dream.models.openai_wire import EMBEDDINGS_PATH, ModelRequest, repeat_of_task

if TYPE_CHECKING:
    import openai


class ModelCalls:
    """Calls one model; `stage`, `trial` and `repeat` are those of `dream.models.pickers`."""

    def __init__(
        self,
        endpoint: str,
        model: str,
        *,
        stage: str,
        trial: str = "",
        repeat: int = 0,
        timeout_seconds: float,
        gateway: GatewayClient | None = None,
    ) -> None:
        self.model = model
        self._endpoint, self._stage, self._trial, self._repeat = endpoint, stage, trial, repeat
        self._timeout_seconds, self._gateway = timeout_seconds, gateway

    async def post(self, path: str, body: Mapping[str, Any], *, schema: str = "") -> dict[str, Any]:
        """Send a request body and return the body of the answer.

        Args:
            path: below the endpoint's base URL, e.g. "/chat/completions".
            schema: see `ModelRequest`.

        Raises:
            openai.APIStatusError, openai.APIConnectionError: as the official client raises them.
            DreamError: those of `Gateway.send`.
        """
        request = ModelRequest(
            self._endpoint,
            "POST",
            path,
            json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass"),
            self._stage,
            self._trial,
            self._repeat or repeat_of_task.get(),
            self._timeout_seconds,
            schema,
        )
        response = await (self._gateway or current_gateway()).send(request)
        if response.status == 200:
            return json.loads(response.body)
        raise _error(f"http://{self._endpoint}{path}", response.status, response.body)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of texts, in their order."""
        body = {"input": list(texts), "model": self.model, "encoding_format": "base64"}
        answer = await self.post(EMBEDDINGS_PATH, body)
        rows = sorted(answer["data"], key=lambda row: row["index"])
        return [_vector(row["embedding"]) for row in rows]


def _vector(encoded: str | Sequence[float]) -> list[float]:
    return array("f", base64.b64decode(encoded)).tolist() if isinstance(encoded, str) else list(encoded)


def _error(url: str, status: int, content: bytes) -> "openai.APIError":
    """The exception that the official client would raise, so that failures do not depend on the way of a request."""
    import httpx
    import openai

    request = httpx.Request("POST", url)
    if status == 0:
        unreachable = openai.APIConnectionError(request=request)
        unreachable.__cause__ = httpx.ConnectError(content.decode(errors="replace"), request=request)
        return unreachable
    response = httpx.Response(status, request=request, content=content)
    try:
        body: object = json.loads(content)
    except ValueError:
        body = content.decode(errors="replace")
    error = body.get("error", body) if isinstance(body, dict) else body
    kinds: dict[int, type[openai.APIStatusError]] = {
        400: openai.BadRequestError,
        401: openai.AuthenticationError,
        403: openai.PermissionDeniedError,
        404: openai.NotFoundError,
        422: openai.UnprocessableEntityError,
        429: openai.RateLimitError,
    }
    kind = kinds.get(status, openai.InternalServerError if status >= 500 else openai.APIStatusError)
    return kind(f"Error code: {status} - {body}", response=response, body=error)
