"""Existing RAG systems as trials: a function that answers a question, or an HTTP service.

They are compared with DREAM's methods on the same questions and by the same judge. DREAM builds no index and calls no
LLM for them. Their model costs are known if they use DREAM's gateway (`dream.models.gateway_server`).
"""

import asyncio
import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import create_model

from dream.errors import ConfigurationError, DataError, ServiceError, bullets, explain
from dream.models.pickers import model_calls
from dream.models.usage import CHECK_STAGE
from dream.rag.parameters import Parameters
from dream.rag.registry import RAG_METHODS, MethodCost, RagMethod
from dream.runtime.event_loop import run_async
from dream.settings import Settings

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.schema import NodeWithScore

QUESTION, TRIAL = "{question}", "{trial}"
CONCURRENCY = 8
_SHOWN = 300


def own_system(
    function: Callable[[str], Any] | None = None, *, incumbent: bool = False, concurrency: int = CONCURRENCY
) -> Callable[..., Any]:
    """Register a function that answers a question as a RAG method, under its own name.

    Args:
        function: takes the question, and the trial's id if it has a parameter `trial`; may be asynchronous. It returns
            the answer and the list of contexts that it is based on, or a mapping with `answer` and `contexts`. A
            context is a text, or a mapping with `text` and, if known, `file`, `page` and `score`.
        incumbent: True for the system in use; its trial then has the parameter `incumbent`.
        concurrency: the maximum number of concurrent questions.

    Example:
        @own_system(incumbent=True)
        def our_rag(question):
            reply = ask_our_rag(question)
            return reply.text, [source.text for source in reply.sources]
    """
    if function is None:
        return functools.partial(own_system, incumbent=incumbent, concurrency=concurrency)
    _register(OwnSystem(function, function.__name__, concurrency), incumbent)
    return function


def http_system(
    name: str,
    *,
    endpoint: str,
    path: str = "/",
    request: Mapping[str, Any] | None = None,
    answer: str = "answer",
    contexts: str = "contexts",
    incumbent: bool = False,
    concurrency: int = CONCURRENCY,
) -> str:
    """Register an HTTP service that answers questions as a RAG method, and return its name.

    Its requests go through the gateway, which adds the key, limits the rate, retries and counts; answers are not
    cached.

    Args:
        endpoint: the name of DREAM_ENDPOINT_<NAME>_BASE_URL (and _API_KEY, _AUTH_HEADER, _MAX_CONCURRENCY, ...).
        path: below the base URL; the request is a POST.
        request: the JSON body; "{question}" in its texts is replaced by the question, "{trial}" by the trial's id,
            under which the gateway counts calls (`dream.models.gateway_server`). By default {"question": "{question}"}.
        answer, contexts: their paths in the reply: field names and item numbers, separated by dots, such as
            "choices.0.message.content". A field name applies to each item of a list: "sources.text" selects the texts
            of all.

    Example:
        http_system("our_rag", endpoint="our_rag", path="/ask", answer="result", contexts="sources.text")
    """
    template = dict(request or {"question": QUESTION})
    if QUESTION not in json.dumps(template):
        raise ConfigurationError(f"request={template} of {name} lacks the placeholder {QUESTION!r}")
    if not name.isidentifier():
        raise ConfigurationError(f"name={name!r}: use letters, digits and _")
    asking = _HttpSystem(name, endpoint, path, template, answer, contexts)
    _register(OwnSystem(asking, name, concurrency), incumbent)
    return name


class OwnSystem:
    """The function of a RAG method that passes questions to another function."""

    def __init__(self, function: Callable[..., Any], name: str, concurrency: int) -> None:
        self.__name__, self.__wrapped__ = name, function
        self._concurrency = concurrency

    def __call__(self, index: Any, llm: Any, *, trial: str = "", incumbent: bool = False) -> "BaseQueryEngine":
        from llama_index.core.base.response.schema import Response
        from llama_index.core.query_engine import CustomQueryEngine

        ask, name, at_once = self.__wrapped__, self.__name__, self._concurrency
        given_too = {"trial": trial} if "trial" in inspect.signature(ask).parameters else {}
        turns: dict[Any, asyncio.Semaphore] = {}

        async def answered(question: str) -> Response:
            async with turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(at_once)):
                if isinstance(ask, _HttpSystem) or inspect.iscoroutinefunction(ask):
                    given = await ask(question, **given_too)
                else:
                    given = await asyncio.to_thread(functools.partial(ask, question, **given_too))
            text, contexts = _read(name, given)
            return Response(response=text, source_nodes=contexts)

        class Asking(CustomQueryEngine):
            def custom_query(self, query_str: str) -> Response:
                return run_async(answered(query_str))

            async def acustom_query(self, query_str: str) -> Response:
                return await answered(query_str)

        return Asking()


class _HttpSystem:
    """Sends a question to a service and finds answer and contexts in its reply."""

    def __init__(
        self, name: str, endpoint: str, path: str, request: Mapping[str, Any], answer: str, contexts: str
    ) -> None:
        self.name, self.endpoint, self.path = name, endpoint.lower(), path
        self._request, self._answer, self._contexts = request, answer, contexts

    async def __call__(self, question: str, trial: str) -> dict[str, Any]:
        return await self.asked(question, trial, "answer")

    async def asked(self, question: str, trial: str, stage: str) -> dict[str, Any]:
        """The answer and the contexts, counted in this stage; checks count for no trial."""
        metered_as = "" if stage == CHECK_STAGE else trial
        calls = model_calls(f"{self.name}@{self.endpoint}", stage=stage, trial=metered_as)
        reply = await calls.post(self.path, _filled(self._request, {QUESTION: question, TRIAL: trial}))
        fields = {"answer": _at(reply, self._answer), "contexts": _at(reply, self._contexts)}
        if missing := [f"{name} at {getattr(self, f'_{name}')!r}" for name, value in fields.items() if value is None]:
            shown = json.dumps(reply, ensure_ascii=False)[:_SHOWN]
            raise DataError(f"the reply of {self.name} lacks {' and '.join(missing)}: {shown}")
        return fields


def is_http_system(function: Callable[..., Any]) -> bool:
    """True for the function of a method that `http_system` registered."""
    return isinstance(function, OwnSystem) and isinstance(function.__wrapped__, _HttpSystem)


def service_of(method: RagMethod) -> str:
    """The service of a method, as named in the usage: "@" and the endpoint; "" for any other method."""
    return f"@{method.function.__wrapped__.endpoint}" if is_http_system(method.function) else ""


def service_problem(method: RagMethod, settings: Settings) -> str:
    """A message about the missing setting of a method that calls an HTTP service; empty if nothing is missing."""
    endpoint = service_of(method).removeprefix("@")
    if not endpoint or endpoint in {each.name for each in settings.endpoints}:
        return ""
    return (
        f"the service {method.name!r} has no endpoint {endpoint!r}: set DREAM_ENDPOINT_{endpoint.upper()}_BASE_URL to "
        "its address"
    )


def check_services(methods: Mapping[str, RagMethod | None], question: str) -> None:
    """Ask each HTTP service among the methods one question, so that a broken service is found before anything is
    billed.

    Args:
        methods: by the id of their trial.

    Raises:
        ServiceError: naming every service without a usable answer, with the reason.
    """

    async def outcomes() -> list[str]:
        asked = (_problem(function.__wrapped__, question, trial) for trial, function in services.items())
        return [problem for problem in await asyncio.gather(*asked) if problem]

    services = {trial: each.function for trial, each in methods.items() if each and is_http_system(each.function)}
    if problems := run_async(outcomes()) if services else []:
        raise ServiceError(bullets(f"{len(problems)} of your services cannot be used:", problems))


async def _problem(service: _HttpSystem, question: str, trial: str) -> str:
    """The reason why a service gives no usable answer; empty if it does."""
    try:
        _read(service.name, await service.asked(question, trial, CHECK_STAGE))
    except Exception as error:  # noqa: BLE001 - whatever a service does
        status, variable = getattr(error, "status_code", None), f"DREAM_ENDPOINT_{service.endpoint.upper()}_"
        hints = {401: f"{variable}API_KEY", 403: f"{variable}API_KEY", 404: f"`path`, and {variable}BASE_URL",
                 405: "`path`", 400: "`request`", 422: "`request`"}  # fmt: skip
        if isinstance(error, DataError):
            return str(error)
        hint = f"; check {hints[status]}" if status in hints else ""
        return f"{service.name} at path {service.path!r} of the endpoint {service.endpoint!r}: {explain(error)}{hint}"
    return ""


def _register(system: OwnSystem, incumbent: bool) -> None:
    fields: dict[str, Any] = {"incumbent": (bool, True)} if incumbent else {}
    model = create_model(f"{system.__name__}_parameters", __base__=Parameters, __module__=__name__, **fields)
    cost = MethodCost(llm_calls=0, query_embeddings=0, passages_a_hit=0)
    RAG_METHODS[system.__name__] = RagMethod(
        system, "whole_documents", model, cost, needs_vectors=False, needs_llm=False
    )


def _filled(template: Any, values: Mapping[str, str]) -> Any:
    """The template with its placeholders replaced by the values.

    Example:
        >>> _filled({"q": ["{question}", 3]}, {QUESTION: "{trial}?", TRIAL: "t1"})
        {'q': ['{trial}?', 3]}
    """
    if isinstance(template, str):
        return re.sub("|".join(map(re.escape, values)), lambda name: values[name[0]], template)
    if isinstance(template, Mapping):
        return {name: _filled(value, values) for name, value in template.items()}
    return [_filled(value, values) for value in template] if isinstance(template, list) else template


def _at(value: Any, path: str) -> Any:
    """The value at a path of names and numbers; None if there is none.

    Example:
        >>> reply = {"sources": [{"text": "a"}, {"text": "b"}]}
        >>> _at(reply, "sources.text"), _at(reply, "sources.0.text"), _at(reply, "answer")
        (['a', 'b'], 'a', None)
    """
    for number, part in enumerate(parts := path.split(".")):
        if isinstance(value, list) and part.isdecimal():
            value = value[int(part)] if int(part) < len(value) else None
        elif isinstance(value, list):
            items = [_at(item, ".".join(parts[number:])) for item in value]
            return [item for item in items if item is not None]
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _read(name: str, given: Any) -> tuple[str, "list[NodeWithScore]"]:
    """The answer and the contexts in a system's return value.

    Raises:
        DataError: if the value has no answer with contexts.
    """
    if isinstance(given, Mapping):
        given = (given.get("answer"), given.get("contexts"))
    is_pair = isinstance(given, tuple | list) and len(given) == 2
    text, contexts = given if is_pair else (None, None)
    if isinstance(contexts, str):
        contexts = [contexts]
    if not isinstance(text, str) or not isinstance(contexts, Sequence):
        shown = repr(given)[:_SHOWN]
        raise DataError(
            f"{name} must return an answer and a list of contexts, as (text, [text, ...]); it returned {shown}"
        )
    return text, [_node(name, context) for context in contexts]


def _node(name: str, context: Any) -> "NodeWithScore":
    from llama_index.core.schema import NodeWithScore, TextNode

    fields = {"text": context} if isinstance(context, str) else context
    text = _first(fields, "text", "content", "page_content")
    if not isinstance(text, str):
        raise DataError(f"a context of {name} must be a text, or a mapping with text; it is {repr(context)[:_SHOWN]}")
    metadata = {
        "file_name": str(_first(fields, "file_name", "file", "source") or ""),
        "page_label": str(_first(fields, "page_label", "page") or ""),
        "file_digest": str(_first(fields, "file_digest") or ""),
    }
    places = {f"{side}_char_idx": _first(fields, side) for side in ("start", "end")}
    span = {name: place if isinstance(place, int) else None for name, place in places.items()}
    node = TextNode(text=text, metadata=metadata, excluded_llm_metadata_keys=list(metadata), **span)
    score = _first(fields, "score")
    return NodeWithScore(node=node, score=float(score) if isinstance(score, int | float) else None)


def _first(fields: Any, *names: str) -> Any:
    """The first of these fields that exists; None for a value without fields."""
    given = fields if isinstance(fields, Mapping) else {}
    return next((given[name] for name in names if given.get(name) is not None), None)
