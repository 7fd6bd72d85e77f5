"""`check_models`: sends each model the kinds of requests of an experiment, so that broken models are found before
anything is billed.

An LLM receives a prompt of realistic size, a judge one request of each form, an embedding model a full batch and one of
its texts alone. This also finds the request forms that servers accept (`dream.models.form_finder`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dream.errors import NO_ANSWER, DataError, DreamError, ServiceError, bullets, explain
from dream.models.cross_encoder import is_local
from dream.models.endpoint_access import message_where_nothing_is
from dream.models.gateway_client import current_gateway
from dream.models.openai_wire import ModelResponse
from dream.models.pickers import (
    EMBED_BATCH_SIZE,
    embed_model_picker,
    judge_llm_picker,
    llm_picker,
    offered_models,
    split_identifier,
)
from dream.models.refusals import (
    is_missing_model,
    is_refused_key,
    is_without_credit,
    variable_of,
    without_credit,
    words_of,
)
from dream.models.reranking import check_rerank_model
from dream.models.usage import CHECK_STAGE
from dream.records import FailureKind
from dream.runtime.event_loop import run_async
from dream.settings import OFFLINE
from dream.tokens import first_tokens

if TYPE_CHECKING:
    import openai
    from llama_index.embeddings.openai import OpenAIEmbedding
    from pydantic import BaseModel

# A prompt of about 1,500 tokens, as retrieval makes them
_PASSAGE = (
    "The station on the ridge has measured the weather every hour since 1931. Its first keeper, Ann Lund, wrote the "
    "numbers into a book by hand; since 1988 instruments have sent them to the valley by radio."
)
_PROMPT = (
    "Context information is below.\n---------------------\n{context}\n---------------------\nGiven the context "
    "information and not prior knowledge, answer the query.\nQuery: Since when are the numbers sent by radio? Answer "
    "with the year alone.\nAnswer: "
)
_PASSAGES = 32
USUAL_CHUNK_TOKENS = 512
# The token limit of answers in checks, without which a rambling model would answer for minutes.
ENOUGH_TOKENS = 256
# Vectors of a text alone and in a batch differ slightly; those of texts in the wrong order differ far more.
LEAST_COSINE = 0.98
_MOST_UNREADABLE_FORMS = 0.5

_BROKEN = ("ServerDisconnectedError", "ClientPayloadError", "ClientOSError")

Form = tuple[str, "type[BaseModel]"]
Check = Callable[[], Awaitable[list[str]]]


def check_models(
    llms: Iterable[str],
    embed_models: Iterable[str],
    forms: Mapping[str, Callable[[], Sequence[Form]]] | None = None,
    *,
    chunk_tokens: Mapping[str, int] | None = None,
    rerankers: Iterable[str] = (),
) -> list[str]:
    """Check all models concurrently with requests like those of the experiment; offline models receive one cheap call.

    Args:
        llms: the LLMs that answer in free text.
        forms: for each LLM that must answer in JSON, a function that returns prompts and their response models.
        chunk_tokens: the longest chunk for each embedding model; None if not known yet, in which case too long chunks
            of usual length only give a note.
        rerankers: models behind a `/rerank` endpoint, and local cross-encoders.

    Returns:
        Notes for the user, such as a parameter that a server does not accept.

    Raises:
        ServiceError: naming every model that cannot be used, with the remedy.
    """
    checks: list[tuple[str, Check]] = []
    forms = forms or {}
    wanted = {identifier: forms[identifier]() for identifier in _elsewhere(forms)}
    for identifier in filter(_is_offline, dict.fromkeys([*llms, *forms])):
        checks.append((identifier, partial(_check_offline, identifier)))
    for identifier in _elsewhere(llms):
        checks.append((identifier, partial(_check_llm, identifier)))
    for identifier in wanted:
        checks.append((identifier, partial(_check_forms, identifier, wanted[identifier])))
    for identifier in dict.fromkeys(embed_models):
        longest = None if chunk_tokens is None else chunk_tokens.get(identifier, 0)
        checks.append((identifier, partial(_check_embed_model, identifier, longest)))
    for identifier in dict.fromkeys(rerankers):
        checks.append((identifier, partial(_check_reranker, identifier)))
    notes, problems = run_async(_outcomes(checks))
    if problems:
        raise ServiceError(bullets(f"{len(problems)} model(s) cannot be used:", problems))
    identifiers = dict.fromkeys(identifier for identifier, _ in checks)
    forms_found = [f"{identifier}: {line}" for identifier in identifiers for line in _form_explained(identifier)]
    return [*dict.fromkeys([*forms_found, *notes])]


def forms_in_use(identifiers: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The request form of each model for which it deviates from what clients write, for manifests."""
    gateway = current_gateway()
    forms = {
        identifier: gateway.form(*split_identifier(identifier))
        for identifier in dict.fromkeys(identifiers)
        if not is_local(identifier)
    }
    return {identifier: form for identifier, form in forms.items() if form}


async def _outcomes(checks: Sequence[tuple[str, Check]]) -> tuple[list[str], list[str]]:
    """Notes and problems of all checks."""
    outcomes = await asyncio.gather(*(_outcome(check) for _, check in checks), return_exceptions=True)
    notes, problems = [], []
    for (identifier, _), outcome in zip(checks, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            problems.append(f"{identifier}: {await _explained(identifier, outcome)}")
        else:
            notes += [f"{identifier}: {note}" for note in outcome]
    return notes, list(dict.fromkeys(problems))


async def _outcome(check: Check) -> list[str]:
    """The outcome of a check, which is repeated if its connection broke, as servers close idle connections."""
    import openai

    try:
        return await check()
    except openai.APIConnectionError as error:
        if not str(error.__cause__).startswith(_BROKEN):
            raise
        return await check()


async def _check_offline(identifier: str) -> list[str]:
    await llm_picker(identifier, stage=CHECK_STAGE).acomplete("Reply with: ready", max_tokens=16)
    return []


async def _check_llm(identifier: str) -> list[str]:
    import openai

    llm = llm_picker(identifier, stage=CHECK_STAGE)
    limits = llm.additional_kwargs
    prompt = _PROMPT.format(context="\n\n".join([_PASSAGE] * _PASSAGES))
    llm.additional_kwargs = {name: min(limit, ENOUGH_TOKENS) for name, limit in limits.items()}
    try:
        answer = await llm.acomplete(prompt)
    except openai.APIStatusError as error:
        if error.code != FailureKind.EMPTY_ANSWER:
            raise
        llm.additional_kwargs = limits  # for a model with long thinking
        answer = await llm.acomplete(prompt)
    if not answer.text.strip():
        raise DataError("it gave an empty answer to a prompt like those of an experiment")
    return []


async def _check_forms(identifier: str, forms: Sequence[Form]) -> list[str]:
    """Send one request of each form. A single unreadable answer may be bad luck; if most are unreadable, the model is
    unsuitable."""
    llm = judge_llm_picker(identifier, stage=CHECK_STAGE)
    asked = (llm.agenerate(prompt, response_model) for prompt, response_model in forms)
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    unreadable = [error for error in failed if isinstance(error, DataError)]
    for error in failed:
        if not isinstance(error, DataError):
            raise error
    lines = [
        f"its answer is not in the form {response_model.__name__}: {outcome}"
        for (_, response_model), outcome in zip(forms, outcomes, strict=True)
        if isinstance(outcome, DataError)
    ]
    if len(unreadable) > _MOST_UNREADABLE_FORMS * len(forms):
        shown = "; ".join(lines[:2])
        raise DataError(f"{len(unreadable)} of {len(forms)} answers are not in the requested form: {shown}")
    return lines


async def _check_embed_model(identifier: str, chunk_tokens: int | None) -> list[str]:
    """Embed a full batch, and one of its texts alone, which must have nearly the same vector."""
    embed_model = embed_model_picker(identifier, stage=CHECK_STAGE)
    if _is_offline(identifier):
        await embed_model.aget_text_embedding("ready")
        return []
    texts = [f"Note {number} of the station: {_PASSAGE[: 40 + number]}" for number in range(EMBED_BATCH_SIZE)]
    number = len(texts) - 2
    batch = await embed_model.aget_text_embedding_batch(texts)
    alone = await embed_model.aget_text_embedding(texts[number])
    if problem := vectors_problem(batch, alone, number):
        raise DataError(problem)
    return [] if chunk_tokens == 0 else await _check_length(embed_model, chunk_tokens)


async def _check_reranker(identifier: str) -> list[str]:
    await check_rerank_model(identifier)
    return []


async def _check_length(embed_model: "OpenAIEmbedding", chunk_tokens: int | None) -> list[str]:
    """Embed a text of the length of the longest chunk."""
    import openai

    tokens = chunk_tokens or USUAL_CHUNK_TOKENS
    try:
        await embed_model.aget_text_embedding(first_tokens(" ".join([_PASSAGE] * (tokens // 30 + 1)), tokens))
    except openai.APIStatusError as error:
        if chunk_tokens is not None:
            raise
        words = words_of(ModelResponse(error.status_code, error.response.content))
        return [f"chunks of {tokens} tokens cannot be embedded: {words}"]
    return []


def vectors_problem(batch: Sequence[Sequence[float]], alone: Sequence[float], number: int) -> str | None:
    """The reason why a model's vectors cannot be used; None if they can. `alone` is the vector of the text with this
    number when it is embedded by itself."""
    import numpy

    lengths = sorted({len(vector) for vector in [*batch, alone]})
    if len(lengths) > 1:
        return f"its vectors differ in length: {len(batch[0])} numbers in a batch, {len(alone)} for a single text"
    matrix = numpy.array([*batch, alone])
    sizes = numpy.linalg.norm(matrix, axis=1)
    if not numpy.isfinite(matrix).all() or not sizes.all():
        return "some of its vectors are zero or not finite"
    matrix = matrix / sizes[:, None]
    if (matrix[:-1] @ matrix[0] > 1 - 1e-7).all():
        return f"it returns the same vector for {len(batch)} different texts"
    cosine = float(matrix[number] @ matrix[-1])
    if cosine < LEAST_COSINE:
        return f"a text has a different vector in a batch of {len(batch)} than alone (cosine {cosine:.2f})"
    return None


def _elsewhere(identifiers: Iterable[str]) -> list[str]:
    return [identifier for identifier in dict.fromkeys(identifiers) if not _is_offline(identifier)]


def _is_offline(identifier: str) -> bool:
    return split_identifier(identifier)[0] == OFFLINE


def _form_explained(identifier: str) -> list[str]:
    return (
        []
        if _is_offline(identifier) or is_local(identifier)
        else current_gateway().form_explained(*split_identifier(identifier))
    )


async def _explained(identifier: str, error: BaseException) -> str:
    """The cause of a failed check and the remedy, without the client's long exception text."""
    import openai

    for cause in (error, error.__cause__):
        if isinstance(cause, DreamError):
            return str(cause)
    if isinstance(error, openai.APIStatusError):
        return await _refused(identifier, error)
    if isinstance(error, openai.APIConnectionError):
        reason = error.__cause__ or error
        endpoint = split_identifier(identifier)[0]
        return f"the endpoint {endpoint!r} does not answer ({reason}): check its URL and that the server is running"
    return explain(error)


async def _refused(identifier: str, error: "openai.APIStatusError") -> str:
    endpoint, model = split_identifier(identifier)
    response = ModelResponse(error.status_code, error.response.content)
    if isinstance(error.body, Mapping) and error.body.get("type") == NO_ANSWER:
        return explain(error)
    if is_without_credit(response):
        return f"the endpoint {endpoint!r} {without_credit(response)}"
    if is_refused_key(response):
        return f"the endpoint {endpoint!r} refuses the key: check {variable_of(endpoint, 'API_KEY')}"
    if response.status == 404 or is_missing_model(response):
        offered = await offered_models(endpoint)
        if offered is None:
            base_url = await asyncio.to_thread(current_gateway().base_url, endpoint)
            nothing = message_where_nothing_is(base_url, variable_of(endpoint, "BASE_URL"))
            return f"the endpoint {endpoint!r} has no model {model!r} ({explain(error)}), or {nothing}"
        return f"the endpoint {endpoint!r} has no model {model!r}; it offers: {offered}"
    return f"the endpoint {endpoint!r} answers HTTP {response.status}: {words_of(response)}"
