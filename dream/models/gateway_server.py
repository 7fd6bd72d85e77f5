"""The gateway over HTTP: an OpenAI-compatible server for programs in any language (`dream gateway`).

    program --HTTP, with a token--> GatewayServer --> GatewayClient --> Gateway --> model endpoint

A program whose base URL is this server's gets what DREAM's own trials get: each answer is paid once, limits and budget
hold, every call is counted, and the program needs no model key. `model` is an identifier such as gpt-4o-mini,
llama-3.1-8b@vllm or offline/llm-small (`dream.models.pickers`).

    /v1/chat/completions, /v1/embeddings, /v1/models
    /trial/<label>/v1/...    the same, counted under this label
    /usage                   the calls of each model and label, as JSON
    /metrics                 the same for Prometheus, without labels (`dream.models.gateway_metrics`)
    /healthz                 needs no token
"""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from dream.errors import ConfigurationError
from dream.models.gateway_client import GatewayClient
from dream.models.gateway_metrics import CONTENT_TYPE_LATEST
from dream.models.http_serving import (
    Refused,
    base_url as base_url,
    chat_events,
    error_response,
    guard,
    served_in_thread,
)
from dream.models.openai_wire import CHAT_PATH, EMBEDDINGS_PATH, ModelRequest, ModelResponse, parsed
from dream.models.pickers import split_identifier
from dream.settings import Settings

# The stages under which calls are counted.
STAGES = {CHAT_PATH: "answer", EMBEDDINGS_PATH: "embed"}
TITLE = "gateway"


def application(gateway: GatewayClient, token: str, models: Sequence[str] = ()) -> Starlette:
    """The ASGI application.

    Args:
        token: demanded as `Authorization: Bearer <token>` or `api-key: <token>`.
        models: the identifiers that `/v1/models` lists; others can be asked too.
    """

    async def chat(request: Request) -> Response:
        return await _forward(gateway, request, CHAT_PATH)

    async def embeddings(request: Request) -> Response:
        return await _forward(gateway, request, EMBEDDINGS_PATH)

    async def list_models(request: Request) -> Response:
        rows = [{"id": each, "object": "model", "created": 0, "owned_by": "dream"} for each in models]
        return JSONResponse({"object": "list", "data": rows})

    async def usage(request: Request) -> Response:
        return JSONResponse([row.to_json() for row in gateway.usage()])

    async def metrics(request: Request) -> Response:
        return Response(gateway.metrics(), media_type=CONTENT_TYPE_LATEST)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    guarded = guard(token, TITLE)
    openai_routes = [
        Route(CHAT_PATH, guarded(chat), methods=["POST"]),
        Route(EMBEDDINGS_PATH, guarded(embeddings), methods=["POST"]),
        Route("/models", guarded(list_models)),
    ]
    routes = [
        Mount("/v1", routes=openai_routes),
        Mount("/trial/{label}/v1", routes=openai_routes),
        Route("/usage", guarded(usage)),
        Route("/metrics", guarded(metrics)),
        Route("/healthz", health),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_such_path})


async def _forward(gateway: GatewayClient, request: Request, path: str) -> Response:
    """Let the gateway answer; a stream is made of the whole answer, which thus can come from the cache."""
    body = parsed(await request.body())
    if body is None:
        raise Refused(400, "invalid_json", "the body is not a JSON object: send Content-Type: application/json")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Refused(
            400, "no_model", f"model={body.get('model')!r}: name a model, such as gpt-4o-mini or name@endpoint"
        )
    endpoint, model = split_identifier(body["model"])
    is_stream, options = body.pop("stream", False), body.pop("stream_options", None) or {}
    asked = ModelRequest(
        endpoint,
        "POST",
        path,
        json.dumps({**body, "model": model}).encode(),
        stage=STAGES[path],
        trial=str(request.path_params.get("label", "")),
    )
    response = await gateway.send(asked)
    if response.status == 0:
        raise Refused(502, "endpoint_unreachable", response.body.decode(errors="replace"))
    answer = parsed(response.body) if is_stream and response.status == 200 else None
    if answer is not None:
        events = chat_events(answer, with_usage=bool(options.get("include_usage")))
        return StreamingResponse(events, media_type="text/event-stream", headers=_source(response))
    return Response(response.body, response.status, media_type=response.content_type, headers=_source(response))


def _source(response: ModelResponse) -> dict[str, str]:
    return {"x-dream-cached": "1" if response.cached else "0"}


async def _no_such_path(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    message = (
        f"{request.method} {request.url.path} is not served here; there are POST /v1/chat/completions, "
        "POST /v1/embeddings and GET /v1/models, each also under /trial/<label>"
    )
    return error_response(status, "unknown_url", message, TITLE)


def new_token() -> str:
    """A token that nobody can guess."""
    return f"dream-{secrets.token_urlsafe(32)}"


@contextmanager
def served(
    gateway: GatewayClient, token: str, *, host: str = "127.0.0.1", port: int = 0, models: Sequence[str] = ()
) -> Iterator[str]:
    """Serve the gateway from a thread for the length of a `with` block, which is given the server's URL.

    Args:
        token: at least 16 characters.
        host: the address to listen on; by default only programs of this machine reach the server.
        port: 0 for a free one.

    Raises:
        ConfigurationError: for a short token, or where the address cannot be used.

    Example:
        with gateway_client.opened(settings) as gateway, served(gateway, token := new_token()) as url:
            client = openai.OpenAI(base_url=f"{url}/trial/ours/v1", api_key=token)
    """
    if len(token) < 16:
        raise ConfigurationError(f"the gateway's token has {len(token)} characters: give at least 16")
    with served_in_thread(application(gateway, token, models), TITLE, host=host, port=port) as url:
        yield url


@contextmanager
def served_to_systems(gateway: GatewayClient, settings: Settings, show: Callable[[str], Any]) -> Iterator[None]:
    """Serve an experiment's gateway to RAG systems of the user's, where DREAM_GATEWAY_PORT is set: what they ask under
    /trial/<id of a trial>/v1 is counted for that trial and against the experiment's budget."""
    if settings.gateway_port is None or settings.gateway_token is None:
        yield
        return
    place = {"host": settings.gateway_host, "port": settings.gateway_port}
    with served(gateway, settings.gateway_token, **place) as url:
        show(f"  gateway for systems of your own: {url}/trial/<trial>/v1, with DREAM_GATEWAY_TOKEN")
        yield
