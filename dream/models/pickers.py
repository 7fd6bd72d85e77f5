"""Model initialisers: an identifier becomes a LlamaIndex or ragas model that speaks through the gateway.

An identifier is one of

    gpt-4o-mini                              a model of the default endpoint (OPENAI_BASE_URL, else OpenAI)
    meta-llama/Llama-3.1-8B-Instruct@vllm    a model of the endpoint that DREAM_ENDPOINT_VLLM_BASE_URL names
    @cf/meta/llama-3.1-8b@cloudflare         the same; what follows the last @ is the endpoint
    offline/llm-large                        one of DREAM's own small models

`stage` and `trial` label a model's calls in the meter. `gateway` is where its calls go, by default the gateway that is
open at the time of each call.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, cast

import httpx

from dream.models.cross_encoder import cross_encoder_picker, cross_encoder_problems, is_local
from dream.models.direct_calls import ModelCalls
from dream.models.gateway_client import GatewayClient, current_gateway
from dream.models.http_transport import (
    REPEAT_HEADER,
    STAGE_HEADER,
    TRIAL_HEADER,
    AsyncGatewayTransport,
    GatewayTransport,
)
from dream.models.usage import CHECK_STAGE
from dream.runtime.libraries import prepare_libraries
from dream.settings import OFFLINE, OPENAI, Settings

if TYPE_CHECKING:
    from llama_index.embeddings.openai import OpenAIEmbedding
    from llama_index.llms.openai_like import OpenAILike
    from openai import AsyncOpenAI
    from ragas.embeddings import OpenAIEmbeddings
    from ragas.llms import InstructorLLM

    from dream.models.form_llm import FormLLM, FormWriter

CONTEXT_WINDOW_WHEN_UNKNOWN = 8192
# the clients' own limit: longer than any of the gateway, which knows how long the endpoint takes
TIMEOUT_SECONDS = 86_400.0
EMBED_BATCH_SIZE = 64
# ragas cuts a judge's answer at 1,024 tokens by default, and a long answer is then an error
JUDGE_MAX_TOKENS = 4096
_ENDPOINT_NAME = re.compile(r"[A-Za-z0-9_]+")
_KEY_WITH_GATEWAY = "held-by-the-gateway"


def split_identifier(identifier: str) -> tuple[str, str]:
    """Endpoint name and model name of an identifier. The endpoint is what follows the last "@", unless that cannot be
    the name of one, as in "@cf/meta/llama-3.1-8b": models of some servers have an "@" in their own names.

    Example:
        >>> split_identifier("gpt-4o-mini"), split_identifier("offline/judge"), split_identifier("a/b@vllm")
        (('openai', 'gpt-4o-mini'), ('offline', 'judge'), ('vllm', 'a/b'))
    """
    if identifier.startswith(f"{OFFLINE}/"):
        return OFFLINE, identifier.removeprefix(f"{OFFLINE}/")
    model, at, endpoint = identifier.rpartition("@")
    return (endpoint.lower(), model) if at and _ENDPOINT_NAME.fullmatch(endpoint) else (OPENAI, identifier)


def llm_picker(
    identifier: str,
    *,
    temperature: float = 0.0,
    stage: str = "answer",
    trial: str = "",
    gateway: GatewayClient | None = None,
) -> "OpenAILike":
    """A LlamaIndex LLM. Any model name works; the context window of an unknown one is 8,192 tokens
    unless DREAM_ENDPOINT_<NAME>_CONTEXT_WINDOW gives another. Its answers end at DREAM_MAX_ANSWER_TOKENS, or at half of
    the context window.

    Example:
        >>> llm_picker("offline/llm-small").model
        'llm-small'
    """
    from llama_index.llms.openai_like import OpenAILike

    endpoint, model = split_identifier(identifier)
    http_client, async_http_client = _http_clients(stage, trial, gateway)
    window = _context_window(endpoint, model, gateway)
    return OpenAILike(
        model=model,
        temperature=temperature,
        is_chat_model=True,
        context_window=window,
        additional_kwargs=_answer_limit(endpoint, model, window, gateway),
        max_retries=0,
        timeout=TIMEOUT_SECONDS,
        api_base=f"http://{endpoint}",
        api_key=_KEY_WITH_GATEWAY,
        http_client=http_client,  # pyright: ignore[reportCallIssue]
        async_http_client=async_http_client,  # pyright: ignore[reportCallIssue]
    )


def embed_model_picker(
    identifier: str, *, stage: str = "embed", trial: str = "", gateway: GatewayClient | None = None
) -> "OpenAIEmbedding":
    """A LlamaIndex embedding model; any model name works.

    Example:
        >>> embed_model_picker("offline/embed-small").model_name
        'embed-small'
    """
    from dream.models.query_embedding import QueryEmbedding

    endpoint, model = split_identifier(identifier)
    http_client, async_http_client = _http_clients(stage, trial, gateway)
    return QueryEmbedding(
        model_calls(identifier, stage=stage, trial=trial, gateway=gateway),
        model_name=model,
        embed_batch_size=EMBED_BATCH_SIZE,
        num_workers=4,
        max_retries=0,
        timeout=TIMEOUT_SECONDS,
        api_base=f"http://{endpoint}",
        api_key=_KEY_WITH_GATEWAY,
        http_client=http_client,
        async_http_client=async_http_client,
    )


def judge_llm_picker(
    identifier: str, *, stage: str = "judge", trial: str = "", repeat: int = 0, gateway: GatewayClient | None = None
) -> "FormLLM":
    """The LLM in the form that ragas' metrics and testset generator take (structured answers).

    Cached answers are kept for each `repeat` number: a new number sends the same prompts again.
    """
    prepare_libraries()
    from dream.models.form_llm import FormLLM

    calls = model_calls(identifier, stage=stage, trial=trial, repeat=repeat, gateway=gateway)
    return FormLLM(_form_writer(split_identifier(identifier)[1]), calls)


@cache
def _form_writer(model: str) -> "FormWriter":
    from openai import OpenAI
    from ragas.llms import llm_factory

    from dream.models.form_llm import FormWriter, UnsentTransport

    http_client = httpx.Client(transport=UnsentTransport())
    client = OpenAI(base_url="http://unsent", api_key=_KEY_WITH_GATEWAY, max_retries=0, http_client=http_client)
    return FormWriter(
        cast("InstructorLLM", llm_factory(model, client=client, max_tokens=JUDGE_MAX_TOKENS, max_retries=0))
    )


def judge_embed_model_picker(
    identifier: str, *, stage: str = "judge", trial: str = "", gateway: GatewayClient | None = None
) -> "OpenAIEmbeddings":
    """The embedding model in the form that ragas takes."""
    prepare_libraries()
    from ragas.embeddings import OpenAIEmbeddings

    endpoint, model = split_identifier(identifier)
    return OpenAIEmbeddings(client=_openai_client(endpoint, stage, trial, gateway), model=model)


def model_calls(
    identifier: str, *, stage: str = "judge", trial: str = "", repeat: int = 0, gateway: GatewayClient | None = None
) -> ModelCalls:
    """A model for requests that are ready to be sent."""
    endpoint, model = split_identifier(identifier)
    return ModelCalls(
        endpoint, model, stage=stage, trial=trial, repeat=repeat, timeout_seconds=TIMEOUT_SECONDS, gateway=gateway
    )


async def offered_models(endpoint: str) -> str | None:
    """The names of the models that an endpoint lists; None if it lists none."""
    import openai

    try:
        listed = await _openai_client(endpoint, CHECK_STAGE, "").models.list()
    except openai.OpenAIError:
        return None
    names = sorted(model.id for model in listed.data)
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def endpoint_urls(identifiers: Iterable[str]) -> dict[str, str]:
    """The base URL behind each identifier, for records of what was run; of a cross-encoder in this process the digest
    of its files."""
    return {
        identifier: f"sha256:{cross_encoder_picker(identifier).digest}"
        if is_local(identifier)
        else current_gateway().base_url(split_identifier(identifier)[0])
        for identifier in identifiers
    }


def check_identifiers(identifiers: Iterable[str], settings: Settings) -> list[str]:
    """A message for each identifier that names no model or an endpoint that is not configured. Makes no call."""
    configured = {OFFLINE, *(endpoint.name for endpoint in settings.endpoints)}
    problems = []
    for identifier in dict.fromkeys(identifiers):
        if is_local(identifier):
            problems += cross_encoder_problems(identifier, settings)
            continue
        endpoint, model = split_identifier(identifier)
        if not model:
            problems.append(f"{identifier!r} names no model: write model, model@endpoint or offline/model")
        elif endpoint == OPENAI and endpoint not in configured:
            problems.append(f"{identifier!r} needs OPENAI_API_KEY or OPENAI_BASE_URL; neither is set")
        elif endpoint not in configured:
            problems.append(
                f"{identifier!r}: no endpoint {endpoint!r}; known: {', '.join(sorted(configured))}. "
                f"Set DREAM_ENDPOINT_{endpoint.upper()}_BASE_URL, or write {identifier}@{OPENAI} if the model's own "
                "name ends so"
            )
    return problems


def _http_clients(
    stage: str, trial: str, gateway: GatewayClient | None, repeat: int = 0
) -> tuple[httpx.Client, httpx.AsyncClient]:
    headers = {STAGE_HEADER: stage, TRIAL_HEADER: trial, REPEAT_HEADER: str(repeat)}
    return (
        httpx.Client(transport=GatewayTransport(gateway), headers=headers, timeout=TIMEOUT_SECONDS),
        httpx.AsyncClient(transport=AsyncGatewayTransport(gateway), headers=headers, timeout=TIMEOUT_SECONDS),
    )


def _openai_client(
    endpoint: str, stage: str, trial: str, gateway: GatewayClient | None = None, repeat: int = 0
) -> "AsyncOpenAI":
    from openai import AsyncOpenAI

    return AsyncOpenAI(
        base_url=f"http://{endpoint}",
        api_key=_KEY_WITH_GATEWAY,
        max_retries=0,
        timeout=TIMEOUT_SECONDS,
        http_client=_http_clients(stage, trial, gateway, repeat)[1],
    )


def _answer_limit(endpoint: str, model: str, window: int, gateway: GatewayClient | None) -> dict[str, int]:
    """The limit of an answer's tokens as a parameter of each request.

    It is none of LlamaIndex's `max_tokens`, which would leave so much less of the context window for passages.
    """
    from llama_index.llms.openai.utils import O1_MODELS

    limit = (gateway or current_gateway()).answer_limit(endpoint)
    if limit is None:
        return {}
    return {"max_completion_tokens" if model in O1_MODELS else "max_tokens": min(limit, window // 2)}


def _context_window(endpoint: str, model: str, gateway: GatewayClient | None) -> int:
    from llama_index.llms.openai.utils import openai_modelname_to_contextsize

    configured = (gateway or current_gateway()).context_window(endpoint)
    if configured:
        return configured
    try:
        return openai_modelname_to_contextsize(model)
    except ValueError:
        return CONTEXT_WINDOW_WHEN_UNKNOWN
